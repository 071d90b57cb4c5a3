//! The server says the same again, with another id, at any moment: the turn goes on.

use super::scene::Scene;
use crate::support::{DEADLINE, ids, poll, reason};
use serde_json::json;
use std::time::Duration;
use world::ecs::Refusal;
use world::prefect3::{DeploymentSpec, FailRule, LateBefore, RunSpec};
use world::{Fault, FaultKind};

const QUEUE: &str = "get_scheduled_flow_runs";
const READ_BY_ID: &str = "any_";

/// What is known of a run for longer than this is looked at again before its claim.
const TOO_OLD: FaultKind = FaultKind::DelayAfter { ms: 5_200 };

fn slow_queue(scene: &Scene, kind: FaultKind) {
    scene.deployment.world.fault(Fault::new("prefect3", QUEUE, kind));
}

/// The Late service is at work in the moment in which such a request about this run arrives.
fn late_before(scene: &Scene, operation: &str, run: &str) {
    let late = LateBefore::new(operation, run);
    scene.deployment.world.prefect3(|prefect3| prefect3.switches.late = Some(late));
}

#[tokio::test]
async fn runs_that_become_late_between_two_looks_are_launched_in_this_poll() {
    let scene = Scene::new().await;
    let runs = scene.runs(12);
    slow_queue(&scene, TOO_OLD);
    late_before(&scene, "flow_runs/filter", READ_BY_ID);
    let report = scene.poll().await;
    assert_eq!((ids(&report, "launched").len(), &report["skipped"]), (12, &json!([])), "{report:#}");
    for run in &runs {
        let late = scene.history(run).contains(&"Late".to_owned());
        assert!(late, "the look that was to find it Late came: {:?}", scene.history(run));
    }
    assert_eq!(scene.tasks().len(), 12);
}

#[tokio::test]
async fn a_run_that_becomes_late_in_the_moment_of_its_claim_is_launched() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    late_before(&scene, "set_state", &run);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run.clone()], "{report:#}");
    assert_eq!(scene.history(&run), ["Scheduled", "Late", "Pending"]);
}

#[tokio::test]
async fn a_claim_that_did_not_arrive_is_made_again_though_the_run_became_late() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    scene.deployment.world.prefect3(|prefect3| {
        prefect3.switches.fail.push(FailRule::new("set_state", 500).times(1));
    });
    late_before(&scene, "flow_runs/filter", &run);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run.clone()], "{report:#}");
    assert_eq!(scene.history(&run), ["Scheduled", "Late", "Pending"]);
    assert_eq!((scene.tasks().len(), scene.count("set_state")), (1, 2));
}

#[tokio::test]
async fn a_late_run_of_a_deleted_deployment_is_cancelled_in_this_poll() {
    let scene = Scene::new().await;
    let old = DeploymentSpec { name: "old".into(), ..DeploymentSpec::default() };
    let deployment = scene.deployment.world.prefect3_deployment(old);
    let gone = scene.run(RunSpec { deployment: Some(deployment.clone()), ..RunSpec::default() });
    scene.deployment.world.prefect3_forget_deployment(&deployment);
    late_before(&scene, "flow_runs/filter", &gone);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "cancelled"), [gone.clone()], "{report:#}");
    assert_eq!(scene.history(&gone), ["Scheduled", "Late", "Cancelled"]);
}

/// Two invocations see the run in different states of one turn, so that their claims have different names.
async fn one_sees_it_scheduled_and_the_other_late(claim_of_the_first: Option<FaultKind>) {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    let [first, second] = [scene.deployment.poll_function().await, scene.deployment.poll_function().await];
    for function in [&first, &second] {
        function.ready(DEADLINE).await.unwrap();
    }
    slow_queue(&scene, FaultKind::DelayAfter { ms: 1_500 });
    let world = scene.deployment.world.world();
    let by_second = async {
        let asked = |state: &world::State| state.journal.matching("prefect3", QUEUE).len() == 1;
        assert!(world.wait_until(Duration::from_secs(20), asked).await);
        world.prefect3(|prefect3| prefect3.switches.late_after_seconds = -60);
        let report = scene.poll_by(&second).await;
        if let Some(fault) = claim_of_the_first {
            world.fault(Fault::new("prefect3", "set_state", fault));
        }
        report
    };
    let (by_first, by_second) = tokio::join!(poll(&first), by_second);
    let by_first = &by_first["agents"]["etl"];
    assert_eq!(ids(&by_second, "launched"), [run.clone()], "{by_second:#}");
    assert_eq!(ids(by_first, "skipped"), [run.clone()], "it is another's claim: {by_first:#}");
    assert_eq!(scene.history(&run), ["Scheduled", "Late", "Pending"]);
    let [task] = scene.tasks().try_into().unwrap();
    assert_eq!(task.client_token, scene.state(&run).details.transition_id);
}

#[tokio::test]
async fn two_invocations_that_saw_different_states_of_one_turn_launch_it_once() {
    one_sees_it_scheduled_and_the_other_late(None).await;
}

#[tokio::test]
async fn of_two_such_invocations_the_one_whose_refusal_is_lost_finds_anothers_claim() {
    one_sees_it_scheduled_and_the_other_late(Some(FaultKind::DropAfter)).await;
    one_sees_it_scheduled_and_the_other_late(Some(FaultKind::MalformedBody)).await;
}

#[tokio::test]
async fn a_run_given_back_between_two_looks_is_another_turn() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    let [first, second] = [scene.deployment.poll_function().await, scene.deployment.poll_function().await];
    for function in [&first, &second] {
        function.ready(DEADLINE).await.unwrap();
    }
    slow_queue(&scene, TOO_OLD);
    let refusal = Refusal { reason: "RESOURCE:MEMORY".into(), detail: None, body_contains: None, count: 1 };
    scene.deployment.world.ecs_refuse(refusal);
    let world = scene.deployment.world.world();
    let by_second = async {
        let asked = |state: &world::State| state.journal.matching("prefect3", QUEUE).len() == 1;
        assert!(world.wait_until(Duration::from_secs(20), asked).await);
        let report = scene.poll_by(&second).await;
        // As if it had been given back for the very same time.
        let [scheduled, .., back] = &scene.flow_run(&run).states[..] else { panic!("{:?}", scene.history(&run)) };
        let (at, back) = (scheduled.details.scheduled_time, back.id.clone());
        scene.change(&run, |run| {
            run.next_scheduled_start_time = at;
            run.states.iter_mut().filter(|state| state.id == back).for_each(|state| state.details.scheduled_time = at);
        });
        report
    };
    let (by_first, by_second) = tokio::join!(poll(&first), by_second);
    let by_first = &by_first["agents"]["etl"];
    assert_eq!(ids(&by_second, "deferred"), [run.clone()], "{by_second:#}");
    assert!(reason(by_first, "skipped", &run).contains("changed before its launch"), "{by_first:#}");
    assert_eq!((scene.history(&run).last().unwrap().as_str(), scene.tasks().len()), ("AwaitingRetry", 0));
}

#[tokio::test]
async fn an_orphan_that_became_late_before_its_claim_is_known_without_its_mark() {
    let scene = Scene::new().await;
    let run = scene.run(RunSpec::default());
    late_before(&scene, "set_state", &run);
    scene.deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DropBefore).times(20));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "deferred"), [run.clone()], "{report:#}");
    scene.deployment.world.lock().faults.clear();
    scene.age(&run, 10);
    scene.change(&run, |run| run.states.iter_mut().for_each(|state| state.data = json!(null)));
    scene.deployment.world.prefect3_set_state(&run, &json!({"type": "PENDING", "name": "Submitting"})).unwrap();
    scene.age(&run, 5);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), [run.clone()], "{report:#}");
    let [task] = scene.tasks().try_into().unwrap();
    let claim = scene.flow_run(&run).states.into_iter().find(|state| state.name == "Pending").unwrap();
    assert_eq!(task.client_token, claim.details.transition_id);
}
