//! Never early: runs of the near future are held within the invocation, and looked at again before they are launched.

use crate::support::{DEADLINE, Deployment, agent, ids, poll, reason};
use serde_json::{Value, json};
use std::time::Duration;
use world::prefect1::FlowRunSpec;

fn starts_in(seconds: f64) -> FlowRunSpec {
    FlowRunSpec { start_in_seconds: seconds, ..FlowRunSpec::default() }
}

/// When the claim of a run, and its `RunTask`, came in, in milliseconds since 1970.
fn claimed_and_launched_at(deployment: &Deployment, run: &str) -> (f64, f64) {
    let at = |service: &str, operation: &str| {
        let requests = deployment.world.requests(service, operation);
        let request = requests.iter().find(|request| request.body.contains(run));
        request.unwrap_or_else(|| panic!("no {operation} for {run}")).at_epoch_ms
    };
    (at("prefect1", "set_flow_run_states"), at("ecs", "RunTask"))
}

/// When a run was to start, in milliseconds since 1970.
fn start_of(deployment: &Deployment, run: &str) -> f64 {
    let start = deployment.world.flow_run(run).unwrap().scheduled_start_time;
    (start - time::OffsetDateTime::UNIX_EPOCH).as_seconds_f64() * 1000.0
}

#[tokio::test]
async fn a_run_of_the_near_future_is_held_and_never_launched_early() {
    let deployment = Deployment::with_agent(json!({})).await;
    let (due, soon) = (deployment.schedule(starts_in(-1.0)), deployment.schedule(starts_in(1.3)));
    let start = start_of(&deployment, &soon);
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [due.clone(), soon.clone()], "{report:#}");
    let (claimed, launched) = claimed_and_launched_at(&deployment, &soon);
    assert!(claimed >= start, "claimed {} ms early", start - claimed);
    assert!(launched >= start, "launched {} ms early", start - launched);
    assert!(launched - start < 10_000.0, "launched {} ms late", launched - start);
    let (_, launched) = claimed_and_launched_at(&deployment, &due);
    assert!(launched < start, "the due run did not wait for the other");
}

#[tokio::test]
async fn runs_that_start_in_the_same_second_are_claimed_by_one_request() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    let at = time_of(Duration::from_secs(2));
    let runs: Vec<_> = (0..10)
        .map(|number| {
            let start_time = Some(format!("{at}.{number}00000+00:00"));
            deployment.schedule(FlowRunSpec { start_time, ..FlowRunSpec::default() })
        })
        .collect();
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), runs.len(), "{report:#}");
    // The one at the very beginning of the second is due before the others.
    assert!(deployment.world.count("prefect1", "set_flow_run_states") <= 2);
    for run in &runs {
        assert!(claimed_and_launched_at(&deployment, run).1 >= start_of(&deployment, run));
    }
}

/// The whole second that begins within `from_now`, as text without a fraction.
fn time_of(from_now: Duration) -> String {
    let second = time::OffsetDateTime::now_utc() + from_now;
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    second.format(format).unwrap()
}

#[tokio::test]
async fn a_run_cancelled_during_the_hold_is_dropped() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = deployment.poll_function().await;
    function.ready(DEADLINE).await.unwrap();
    let run = deployment.schedule(starts_in(2.0));
    let cancel = async {
        let seen = |state: &world::State| !state.journal.matching("prefect1", "flow_run").is_empty();
        assert!(deployment.world.wait_until(Duration::from_secs(10), seen).await, "the queue was never read");
        tokio::time::sleep(Duration::from_millis(200)).await;
        deployment.world.cancel_flow_run(&run).unwrap();
    };
    let (report, ()) = tokio::join!(poll(&function), cancel);
    let etl = agent(&report, "etl");
    assert!(reason(etl, "skipped", &run).contains("Cancelled"), "{report:#}");
    assert_eq!(deployment.world.count("ecs", "RunTask"), 0);
    assert_eq!(deployment.state_of(&run), "Cancelled");
}

/// One poll with so much time, and the runs that start then.
async fn poll_within(deadline: Duration, extra: Value, starts: &[f64]) -> (Deployment, Vec<String>, Value) {
    let deployment = Deployment::with_agent(extra).await;
    let runs = starts.iter().map(|start| deployment.schedule(starts_in(*start))).collect();
    let function = deployment.poll_function().await;
    let report = function.invoke(json!({}), deadline).await.unwrap();
    (deployment, runs, report)
}

#[tokio::test]
async fn runs_that_start_after_the_invocation_are_left_to_a_later_one() {
    let (deployment, runs, report) = poll_within(Duration::from_secs(12), json!({}), &[-1.0, 8.0, 180.0]).await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), runs[..1], "{report:#}");
    assert!(reason(etl, "deferred", &runs[1]).contains("after this invocation ends"), "{report:#}");
    assert_eq!(etl["ready"], 2, "the one in three minutes is not even looked for");
    assert_eq!(deployment.state_of(&runs[1]), "Scheduled");
    assert!(etl["duration_ms"].as_u64().unwrap() < 5_000, "nobody waits for a run that is left: {report:#}");
}

#[tokio::test]
async fn nothing_is_claimed_when_no_time_is_left() {
    let (deployment, runs, report) = poll_within(Duration::from_secs(9), json!({}), &[-1.0]).await;
    assert_eq!(ids(agent(&report, "etl"), "deferred"), runs, "{report:#}");
    assert_eq!(deployment.world.count("prefect1", "set_flow_run_states"), 0);
    assert_eq!(deployment.state_of(&runs[0]), "Scheduled");
}

#[tokio::test]
async fn without_prefetch_nothing_is_held() {
    let (_, runs, report) = poll_within(DEADLINE, json!({"prefetch_seconds": 0}), &[-1.0, 3.0]).await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "launched"), &etl["ready"]), (runs[..1].to_vec(), &json!(1)), "{report:#}");
}

#[tokio::test]
async fn runs_beyond_a_full_page_of_held_ones_are_launched_on_time_too() {
    let deployment = Deployment::with_agent(json!({"launch_rate": null})).await;
    for _ in 0..230 {
        deployment.schedule(starts_in(1.5));
    }
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 230, "they all start within this invocation");
}

#[tokio::test]
async fn what_the_launch_rate_leaves_no_room_for_is_not_claimed() {
    let deployment = Deployment::with_agent(json!({"launch_rate": 5})).await;
    let runs = deployment.schedule_many(60);
    let function = deployment.poll_function().await;
    let report = function.invoke(json!({}), Duration::from_secs(13)).await.unwrap();
    let etl = agent(&report, "etl");
    let (launched, deferred) = (ids(etl, "launched"), ids(etl, "deferred"));
    assert!((1..=20).contains(&launched.len()), "three seconds have room for 15 or so: {}", launched.len());
    assert_eq!(launched.len() + deferred.len(), runs.len());
    assert_eq!(launched, runs[..launched.len()], "the oldest ones");
    for run in &deferred {
        assert_eq!(deployment.state_of(run), "Scheduled", "what is claimed is launched");
    }
    assert_eq!(deployment.world.ecs_tasks().len(), launched.len());
}
