//! The poll counter of `max_polls` under faults: never a poll without a number, never more polls than numbers.

use super::watch::Watched;
use crate::prefect::due;
use crate::support::{Deployment, ROOT, agent};
use serde_json::{Value, json};
use world::{Fault, FaultKind};

async fn with_run(max_polls: u64) -> Watched {
    let mut watched =
        Watched::new(Deployment::with_agent(json!({"prefetch_seconds": 0, "max_polls": max_polls})).await);
    watched.run(due("etl"));
    watched
}

/// A fault of the counter's writes; the status is written by the same operation.
fn of_counter(kind: FaultKind) -> Fault {
    Fault::new("ssm", "PutParameter", kind).when_body_contains("/state/etl/polls")
}

fn count(watched: &Watched) -> u64 {
    watched.deployment.world.parameter(&format!("{ROOT}/state/etl/polls")).map_or(0, |parameter| parameter.version)
}

fn polls_of_prefect(watched: &Watched) -> usize {
    watched.deployment.world.count("prefect1", "get_runs_in_queue")
}

fn number(report: &Value) -> &Value {
    &agent(report, "etl")["poll"]
}

#[tokio::test]
async fn a_number_whose_answer_was_lost_is_found_in_the_history() {
    for kind in [FaultKind::DropAfter, FaultKind::MalformedBody, FaultKind::TruncatedBody] {
        let mut watched = with_run(5).await;
        assert_eq!(number(&watched.polled().await), &json!(1));
        watched.deployment.world.fault(of_counter(kind.clone()));
        assert_eq!(number(&watched.polled().await), &json!(2), "{kind:?}: {}", watched.story());
        assert_eq!(count(&watched), 2, "{kind:?}: no number was taken twice");
        assert_eq!(watched.deployment.world.count("ssm", "GetParameterHistory"), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_number_that_was_never_taken_is_taken_again() {
    for kind in [FaultKind::DropBefore, FaultKind::Html { status: 503 }] {
        let mut watched = with_run(5).await;
        watched.deployment.world.fault(of_counter(kind.clone()));
        assert_eq!(number(&watched.polled().await), &json!(1), "{kind:?}");
        assert_eq!(count(&watched), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn too_many_updates_only_delay_the_number() {
    let mut watched = with_run(5).await;
    watched.polled().await;
    watched.deployment.world.lock().ssm.too_many_updates = 3;
    assert_eq!(number(&watched.polled().await), &json!(2), "{}", watched.story());
    assert_eq!((count(&watched), polls_of_prefect(&watched)), (2, 2));
}

#[tokio::test]
async fn without_a_number_there_is_no_poll() {
    let mut watched = with_run(5).await;
    watched.deployment.world.fault(of_counter(FaultKind::Html { status: 500 }).always());
    let report = watched.failed().await;
    assert_eq!(agent(&report, "etl")["error_kind"], json!("parameter-store"), "{report:#}");
    assert_eq!((polls_of_prefect(&watched), count(&watched)), (0, 0));
    watched.deployment.world.lock().faults.clear();
    assert_eq!(number(&watched.polled().await), &json!(1));
}

#[tokio::test]
async fn whatever_happens_to_its_writes_there_are_exactly_max_polls_polls() {
    let mut watched = with_run(6).await;
    let faults = [
        FaultKind::DropAfter,
        FaultKind::DropBefore,
        FaultKind::Html { status: 500 },
        FaultKind::TruncatedBody,
        FaultKind::AwsError { status: 400, code: "ThrottlingException".into(), message: "Rate exceeded".into() },
        FaultKind::MalformedBody,
    ];
    for (index, kind) in faults.iter().cycle().take(9).enumerate() {
        watched.deployment.world.fault(of_counter(kind.clone()));
        let report = if index % 3 == 2 {
            watched.poll_cold().await;
            watched.answers.last().unwrap().clone().unwrap()
        } else {
            watched.polled().await
        };
        watched.deployment.world.lock().faults.clear();
        let etl = agent(&report, "etl");
        assert_eq!(etl["stopped"], json!(index >= 6), "poll {index}: {report:#}");
        // What is stopped finds nothing due, so the watch's look at the queue does not apply.
        watched.wrong.retain(|wrong| !wrong.contains("silent"));
    }
    assert_eq!((polls_of_prefect(&watched), count(&watched)), (6, 6), "{}", watched.story());
    assert_eq!(watched.wrong, Vec::<String>::new());
}
