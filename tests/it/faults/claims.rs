//! Claims whose answers are lost, and what is believed about them.

use super::watch::Watched;
use crate::prefect::due;
use crate::support::{Deployment, agent, ids};
use serde_json::json;
use std::time::Duration;
use world::prefect1::FailRule;
use world::{Fault, FaultKind};

const REFUSED: &str = "State update failed: this run has already been submitted.";

async fn with_runs(runs: usize) -> Watched {
    let mut watched = Watched::new(Deployment::with_agent(json!({"prefetch_seconds": 0})).await);
    (0..runs).for_each(|_| watched.run(due("etl")));
    watched
}

/// How often claims and reads were sent.
fn sent(watched: &Watched) -> (usize, usize) {
    let world = &watched.deployment.world;
    (world.count("prefect1", "set_flow_run_states"), world.count("prefect1", "flow_run"))
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_known_by_our_mark() {
    let mut watched = with_runs(2).await;
    watched.deployment.world.fault(Fault::new("prefect1", "set_flow_run_states", FaultKind::DropAfter));
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), watched.runs, "{report:#}");
    assert_eq!(sent(&watched), (1, 2), "claimed once, read back once: {}", watched.story());
    assert_eq!(watched.deployment.world.ecs_tasks().len(), 2);
}

#[tokio::test]
async fn a_claim_that_never_arrived_is_made_again() {
    let mut watched = with_runs(2).await;
    watched.deployment.world.fault(Fault::new("prefect1", "set_flow_run_states", FaultKind::DropBefore));
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), watched.runs, "{report:#}");
    assert_eq!(sent(&watched), (2, 2), "{}", watched.story());
    for run in &watched.runs {
        assert_eq!(watched.deployment.world.flow_run(run).unwrap().history(), ["Scheduled", "Submitted"]);
    }
}

#[tokio::test]
async fn a_refusal_of_a_repeated_claim_is_not_believed() {
    let mut watched = with_runs(1).await;
    // The first claim arrives late, just before the second one, which the lock then refuses.
    let refusal = json!({
        "data": {"r0": null},
        "errors": [{"message": REFUSED, "path": ["r0"], "extensions": {"code": "INTERNAL_SERVER_ERROR"}}],
    });
    let late =
        FaultKind::StatusAfter { status: 200, body: refusal.to_string(), content_type: "application/json".into() };
    let world = &watched.deployment.world;
    world.fault(Fault::new("prefect1", "set_flow_run_states", FaultKind::DropBefore));
    world.fault(Fault::new("prefect1", "set_flow_run_states", late).skip(1));
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), watched.runs, "{report:#}");
    assert_eq!(sent(&watched).0, 2, "{}", watched.story());
}

#[tokio::test]
async fn a_claim_that_is_refused_at_first_is_believed_and_is_no_error() {
    let mut watched = with_runs(2).await;
    let rule = FailRule { contains: watched.runs[0].clone(), ..FailRule::new("set_flow_run_states", REFUSED) };
    watched.deployment.world.prefect1(|prefect1| prefect1.switches.fail.push(rule));
    let report = watched.polled().await;
    let etl = agent(&report, "etl");
    assert_eq!(
        (ids(etl, "skipped"), ids(etl, "launched")),
        (vec![watched.runs[0].clone()], vec![watched.runs[1].clone()])
    );
    assert!(etl["skipped"][0]["reason"].as_str().unwrap().contains("already been submitted"), "{report:#}");
    assert_eq!(sent(&watched), (1, 1), "nothing to look for: {}", watched.story());
}

#[tokio::test]
async fn a_claim_of_another_agent_is_not_taken_for_ours_when_the_answer_is_lost() {
    let mut watched = with_runs(1).await;
    let run = watched.runs[0].clone();
    let world = watched.deployment.world.world();
    world.fault(Fault::new("prefect1", "set_flow_run_states", FaultKind::DropBefore));
    world.fault(Fault::new("prefect1", "flow_run", FaultKind::DelayBefore { ms: 700 }).skip(1));
    let other_agent = async {
        let seen = |state: &world::State| !state.journal.matching("prefect1", "set_flow_run_states").is_empty();
        assert!(world.wait_until(Duration::from_secs(20), seen).await);
        let claim = json!({"type": "Submitted", "message": "Submitted for execution", "state": {"type": "Scheduled"}});
        world.set_flow_run_state(&run, &claim).unwrap();
    };
    let (report, ()) = tokio::join!(watched.polled(), other_agent);
    assert_eq!(ids(agent(&report, "etl"), "skipped"), [run], "{report:#}");
    assert!(world.ecs_tasks().is_empty());
    assert_eq!(sent(&watched).0, 1, "{}", watched.story());
}

#[tokio::test]
async fn a_run_cancelled_while_its_claim_was_unclear_is_not_launched() {
    let mut watched = with_runs(1).await;
    let run = watched.runs[0].clone();
    let world = watched.deployment.world.world();
    world.fault(Fault::new("prefect1", "set_flow_run_states", FaultKind::DropAfter));
    world.fault(Fault::new("prefect1", "flow_run", FaultKind::DelayBefore { ms: 700 }).skip(1));
    let person = async {
        let claimed = |state: &world::State| state.prefect1.flow_run(&run).unwrap().state() == "Submitted";
        assert!(world.wait_until(Duration::from_secs(20), claimed).await);
        world.cancel_flow_run(&run).unwrap();
    };
    let (report, ()) = tokio::join!(watched.polled(), person);
    assert_eq!(ids(agent(&report, "etl"), "skipped"), std::slice::from_ref(&run), "{report:#}");
    assert!(world.ecs_tasks().is_empty());
    assert_eq!(world.flow_run(&run).unwrap().state(), "Cancelled");
}

#[tokio::test]
async fn a_run_cancelled_while_its_launch_was_refused_stays_cancelled() {
    let mut watched = with_runs(1).await;
    let run = watched.runs[0].clone();
    let world = watched.deployment.world.world();
    let refusal =
        FaultKind::AwsError { status: 400, code: "ClientException".into(), message: "Container.image is bad".into() };
    world.fault(Fault::new("ecs", "RunTask", FaultKind::DelayBefore { ms: 700 }));
    world.fault(Fault::new("ecs", "RunTask", refusal));
    let person = async {
        let sent = |state: &world::State| !state.journal.matching("ecs", "RunTask").is_empty();
        assert!(world.wait_until(Duration::from_secs(20), sent).await);
        world.cancel_flow_run(&run).unwrap();
    };
    let (report, ()) = tokio::join!(watched.polled(), person);
    assert_eq!(ids(agent(&report, "etl"), "skipped"), std::slice::from_ref(&run), "{report:#}");
    assert_eq!(world.flow_run(&run).unwrap().state(), "Cancelled");
}
