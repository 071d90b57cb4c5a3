//! What the server says to a claim, and claims whose answers are lost.

use super::scene::Scene;
use crate::support::{ids, reason};
use serde_json::json;
use std::time::Duration;
use world::prefect3::{CollisionStrategy, DeploymentSpec, FailRule, RunSpec};
use world::{Fault, FaultKind};

const CLAIM: &str = "set_state";

fn claims(fault: FaultKind) -> Fault {
    Fault::new("prefect3", CLAIM, fault)
}

fn unavailable_after() -> FaultKind {
    let body = json!({"exception_message": "Service Unavailable"}).to_string();
    FaultKind::StatusAfter { status: 503, body, content_type: "application/json".into() }
}

#[tokio::test]
async fn a_run_that_another_worker_claims_meanwhile_is_left_to_it() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    let world = scene.deployment.world.world();
    world.fault(Fault::new("prefect3", "flows/filter", FaultKind::DelayBefore { ms: 700 }));
    let worker = async {
        let seen = |state: &world::State| !state.journal.matching("prefect3", "flows/filter").is_empty();
        assert!(world.wait_until(Duration::from_secs(20), seen).await);
        world.prefect3_set_state(&run, &json!("PENDING")).unwrap();
    };
    let (report, ()) = tokio::join!(scene.poll(), worker);
    assert_eq!(ids(&report, "skipped"), [run.clone()], "{report:#}");
    assert!(reason(&report, "skipped", &run).contains("PENDING"), "{report:#}");
    assert!(scene.tasks().is_empty() && report["ok"] == true);
}

/// A deployment that lets one run pass at a time.
fn limited(scene: &Scene, strategy: CollisionStrategy) -> [String; 2] {
    let spec = DeploymentSpec {
        name: "limited".into(),
        concurrency_limit: Some(1),
        collision_strategy: Some(strategy),
        ..DeploymentSpec::default()
    };
    let deployment = scene.deployment.world.prefect3_deployment(spec);
    let run = || scene.run(RunSpec { deployment: Some(deployment.clone()), ..RunSpec::default() });
    [run(), run()]
}

#[tokio::test]
async fn a_run_that_finds_no_slot_waits_and_comes_back() {
    let scene = Scene::new().await;
    let [first, second] = limited(&scene, CollisionStrategy::Enqueue);
    let report = scene.poll().await;
    let (launched, waiting) = (ids(&report, "launched"), ids(&report, "skipped"));
    assert_eq!((launched.len(), waiting.len()), (1, 1), "{report:#}");
    assert!(reason(&report, "skipped", &waiting[0]).contains("AwaitingConcurrencySlot"), "{report:#}");
    assert!([first, second].contains(&waiting[0]) && report["ok"] == true);
    let log = scene.deployment.world.prefect3_flow_run_logs(&waiting[0]);
    assert!(log.is_empty(), "its state says that it waits: {log:?}");
    scene.deployment.world.prefect3_set_state(&launched[0], &json!("COMPLETED")).unwrap();
    scene.make_due(&waiting[0]);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), waiting, "{report:#}");
}

#[tokio::test]
async fn a_run_that_the_server_cancels_instead_is_no_error() {
    let scene = Scene::new().await;
    limited(&scene, CollisionStrategy::CancelNew);
    let report = scene.poll().await;
    let cancelled = ids(&report, "skipped");
    assert_eq!((ids(&report, "launched").len(), cancelled.len(), &report["ok"]), (1, 1, &json!(true)), "{report:#}");
    assert_eq!(scene.state(&cancelled[0]).name, "Cancelled");
    assert_eq!(scene.tasks().len(), 1);
}

#[tokio::test]
async fn a_deployment_that_lets_no_run_start_is_said_once_in_each_runs_log() {
    let scene = Scene::new().await;
    let spec = DeploymentSpec { name: "closed".into(), concurrency_limit: Some(0), ..DeploymentSpec::default() };
    let deployment = scene.deployment.world.prefect3_deployment(spec);
    let closed = scene.run(RunSpec { deployment: Some(deployment.clone()), ..RunSpec::default() });
    let function = scene.deployment.poll_function().await;
    for _ in 0..2 {
        let report = scene.poll_by(&function).await;
        assert!(reason(&report, "skipped", &closed).contains("concurrency limit is 0"), "{report:#}");
        assert_eq!((&report["ok"], &report["untold"]), (&json!(true), &json!(0)), "{report:#}");
    }
    scene.poll().await;
    let log = scene.deployment.world.prefect3_flow_run_logs(&closed);
    let [line] = &log[..] else { panic!("once for warm and cold processes: {log:?}") };
    assert!(line.contains("concurrency limit is 0") && line.contains("Raise the concurrency limit"), "{line}");
    let asked = scene.count("logs/filter");
    assert_eq!(asked, 2, "each process looks once whether it was said");
    let other = scene.run(RunSpec { deployment: Some(deployment), ..RunSpec::default() });
    scene.poll_by(&function).await;
    assert_eq!(scene.deployment.world.prefect3_flow_run_logs(&other).len(), 1);
    assert!(scene.tasks().is_empty() && scene.state(&closed).name == "Scheduled");
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_made_once_however_it_is_lost() {
    for fault in [
        FaultKind::DropAfter,
        FaultKind::DropBefore,
        FaultKind::TruncatedBody,
        unavailable_after(),
        FaultKind::Html { status: 502 },
    ] {
        let scene = Scene::new().await;
        let run = scene.run(RunSpec::default());
        scene.deployment.world.fault(claims(fault.clone()));
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run.clone()], "{fault:?}: {report:#}");
        assert_eq!(scene.history(&run), ["Scheduled", "Pending"], "{fault:?}");
        assert_eq!((scene.tasks().len(), scene.count(CLAIM)), (1, 2), "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_understood_is_resolved_by_reading_the_run() {
    for fault in [
        FaultKind::MalformedBody,
        FaultKind::StatusAfter { status: 500, body: "oops".into(), content_type: "text/plain".into() },
    ] {
        let scene = Scene::new().await;
        let run = scene.run(RunSpec::default());
        scene.deployment.world.fault(claims(fault.clone()));
        let report = scene.poll().await;
        assert_eq!(ids(&report, "launched"), [run], "{fault:?}: {report:#}");
        assert_eq!(scene.count(CLAIM), 1, "{fault:?}: nothing is sent again before the run was read");
    }
}

#[tokio::test]
async fn an_observer_may_hide_a_claim_whose_answer_was_lost() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    let world = scene.deployment.world.world();
    world.fault(claims(FaultKind::DropAfter));
    world.fault(claims(FaultKind::DelayBefore { ms: 500 }).skip(1));
    let observer = async {
        let claimed = |state: &world::State| state.prefect3.flow_run(&run).unwrap().state_name() == "Pending";
        assert!(world.wait_until(Duration::from_secs(20), claimed).await);
        let sub_state = json!({"type": "PENDING", "name": "InfrastructurePending", "message": "ECS task is pending."});
        world.prefect3_set_state(&run, &sub_state).unwrap();
    };
    let (report, ()) = tokio::join!(scene.poll(), observer);
    assert_eq!(ids(&report, "launched"), [run], "the history tells: {report:#}");
    assert_eq!(scene.tasks().len(), 1);
}

#[tokio::test]
async fn an_api_that_answers_no_claim_leaves_the_runs_due_and_is_said_not_to_be_well() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.fail.push(FailRule::new(CLAIM, 503)));
    let error = scene.deployment.poll_fails().await;
    let report = crate::support::report_in(&error);
    assert!(reason(&report["agents"]["etl"], "deferred", &run).contains("not answered"), "{report:#}");
    assert_eq!(scene.state(&run).name, "Scheduled");
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.fail.clear());
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
}

#[tokio::test]
async fn one_run_that_always_fails_harms_no_other() {
    let scene = Scene::new().await;
    let runs = scene.runs(3);
    let rule = FailRule::new(CLAIM, 404).when_contains(&runs[1]);
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.fail.push(rule));
    let report = scene.poll().await;
    assert_eq!((ids(&report, "launched").len(), ids(&report, "skipped")), (2, vec![runs[1].clone()]), "{report:#}");
}

#[tokio::test]
async fn a_database_that_is_busy_is_waited_for() {
    let scene = Scene::new().await;
    let runs = scene.runs(10);
    scene.deployment.world.prefect3(|prefect3| {
        prefect3.switches.busy = Some(world::prefect3::Busy { at_once: 4, ms: 5 });
    });
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched").len(), 10, "{report:#}");
    assert_eq!(scene.tasks().len(), 10);
    let labelled = |run: &String| scene.flow_run(run).labels.contains_key("prefect.worker.name");
    assert_eq!((&report["untold"], runs.iter().filter(|run| labelled(run)).count()), (&json!(0), 10), "{report:#}");
}
