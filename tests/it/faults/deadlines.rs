//! Invocations whose time is short: they end by themselves, and what they claimed is launched.

use super::watch::Watched;
use crate::prefect::due;
use crate::support::{Deployment, agent, ids};
use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use world::{Fault, FaultKind};

async fn with_runs(extra: Value, runs: usize) -> Watched {
    let mut config = json!({"prefetch_seconds": 0});
    config.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
    let mut watched = Watched::new(Deployment::with_agent(config).await);
    (0..runs).for_each(|_| watched.run(due("etl")));
    watched
}

/// One invocation of `deadline_ms` in which every answer comes `latency_ms` late.
async fn short(deadline_ms: u64, latency_ms: u64) -> Result<usize, String> {
    let mut watched = with_runs(json!({"launch_rate": 1}), 8).await;
    watched.deployment.world.latency(Duration::from_millis(latency_ms));
    watched.deadline = Duration::from_millis(deadline_ms);
    let started = Instant::now();
    watched.poll().await;
    let took = started.elapsed();
    let world = &watched.deployment.world;
    let tasks = world.ecs_tasks();
    let has_task = |run: &str| tasks.iter().any(|task| task.started_by == Some(format!("prefect/etl/{run}")));
    let lost: Vec<_> =
        watched.runs.iter().filter(|run| watched.deployment.state_of(run) != "Scheduled" && !has_task(run)).collect();
    let name = format!("{deadline_ms} ms with {latency_ms} ms of latency, took {took:?}");
    if !lost.is_empty() {
        watched.wrong.push(format!("claimed and not launched: {lost:?}"));
    }
    let launched = tasks.len();
    world.latency(Duration::ZERO);
    watched.deadline = Duration::from_secs(40);
    watched.deployment.agent("etl", json!({"prefetch_seconds": 0, "launch_rate": null}));
    watched.poll_until_quiet(false).await;
    watched.check_end();
    if watched.wrong.is_empty() {
        Ok(launched)
    } else {
        Err(format!("=== {name}\n{}\n{}", watched.wrong.join("\n"), watched.story()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_short_the_time_what_is_claimed_is_launched() {
    let deadlines = [3000, 10_400, 11_000, 12_000, 13_000, 15_000];
    let cases = deadlines.into_iter().flat_map(|deadline| [(deadline, 20), (deadline, 300), (deadline, 700)]);
    // A few at a time, so that the processes do not wait for each other instead of for their answers.
    let outcomes = iter(cases).map(|(deadline, latency)| short(deadline, latency)).buffer_unordered(9);
    let outcomes: Vec<_> = outcomes.collect().await;
    let wrong: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).cloned().collect();
    assert!(wrong.is_empty(), "{} cases went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    let launched: Vec<_> = outcomes.into_iter().flatten().collect();
    println!("launched within the short time: {launched:?}");
    let partly = launched.iter().any(|launched| (1..8).contains(launched));
    assert!(launched.contains(&0) && partly, "too alike to show anything: {launched:?}");
}

#[tokio::test]
async fn an_ecs_that_never_answers_does_not_get_the_invocation_killed() {
    let mut watched = with_runs(json!({}), 2).await;
    watched.deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DelayAfter { ms: 60_000 }).always());
    watched.deadline = Duration::from_secs(14);
    let report = watched.polled().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "deferred").len(), 2, "{report:#}");
    assert!(etl["deferred"][0]["reason"].as_str().unwrap().contains("unknown whether"), "{report:#}");
    assert_eq!(watched.deployment.world.ecs_tasks().len(), 2, "each token started one task");
    assert_eq!(watched.wrong, Vec::<String>::new());
}

#[tokio::test]
async fn a_prefect_that_never_answers_does_not_get_the_invocation_killed() {
    let operations = ["flow_run", "get_runs_in_queue", "register_agent", "set_flow_run_states", "write_run_logs"];
    join_all(operations.map(never_answered)).await;
}

async fn never_answered(operation: &str) {
    let mut watched = with_runs(json!({}), 1).await;
    watched.deployment.world.fault(Fault::new("prefect1", operation, FaultKind::DelayBefore { ms: 60_000 }).always());
    watched.deadline = Duration::from_secs(17);
    watched.poll().await;
    let launched = watched.deployment.world.ecs_tasks().len();
    // The queue's sign of life is waited for only a moment, the log not at all.
    let expected = usize::from(matches!(operation, "get_runs_in_queue" | "write_run_logs"));
    assert_eq!(launched, expected, "{operation}: {}", watched.story());
    let failed = watched.answers[0].is_err();
    assert_eq!(failed, operation != "write_run_logs", "{operation}: {}", watched.story());
    assert_eq!(watched.wrong, Vec::<String>::new(), "{operation}");
}
