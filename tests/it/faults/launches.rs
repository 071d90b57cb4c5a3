//! What becomes of a launch whose answer is lost, refused, or another's.

use super::watch::Watched;
use crate::prefect::due;
use crate::support::{Deployment, agent, ids};
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use world::ecs::Stop;
use world::prefect1::FlowRunSpec;
use world::{Fault, FaultKind};

/// A deployment that holds nothing, and so many due runs.
async fn with_runs(extra: Value, runs: usize) -> Watched {
    let mut config = json!({"prefetch_seconds": 0});
    config.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
    let mut watched = Watched::new(Deployment::with_agent(config).await);
    (0..runs).for_each(|_| watched.run(due("etl")));
    watched
}

fn aws(code: &str, message: &str) -> FaultKind {
    FaultKind::AwsError { status: 400, code: code.to_owned(), message: message.to_owned() }
}

/// The run's state: type, message, our mark, and in how many seconds it starts.
fn state(watched: &Watched, run: &str) -> (String, String, Value, f64) {
    let run = watched.deployment.world.flow_run(run).unwrap();
    let state = run.current().unwrap();
    let starts_in = state.start_time().map_or(0.0, |start| (start - OffsetDateTime::now_utc()).as_seconds_f64());
    let mark = state.context()["prefect_serverless_agent"].clone();
    (state.kind().to_owned(), state.message().unwrap_or_default().to_owned(), mark, starts_in)
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_bytes() {
    let mut watched = with_runs(json!({}), 1).await;
    watched.deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DropAfter));
    let report = watched.polled().await;
    let sent = watched.deployment.world.requests("ecs", "RunTask");
    assert_eq!(sent.len(), 2, "{}", watched.story());
    assert_eq!(sent[0].body, sent[1].body);
    let tasks = watched.deployment.world.ecs_tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(agent(&report, "etl")["launched"][0]["task_arn"], json!(tasks[0].arn), "{report:#}");
}

/// The run was launched, and is then seen as it was before: by an agent that reads a late replica, past the server's
/// weak lock.
fn seen_as_before(watched: &Watched, run: &str) {
    watched.deployment.world.prefect1(|prefect1| {
        let run = prefect1.flow_runs.iter_mut().find(|one| one.id == run).unwrap();
        run.states.truncate(1);
        run.version = 1;
    });
}

#[tokio::test]
async fn the_task_of_another_agent_for_the_same_turn_is_adopted() {
    let mut watched = with_runs(json!({}), 1).await;
    watched.deployment.agent("other", json!({"prefetch_seconds": 0}));
    watched.deployment.world.prefect1(|prefect1| prefect1.switches.submitted_lock_seconds = 0.0);
    let function = watched.deployment.poll_function().await;
    let limit = Duration::from_secs(40);
    function.invoke(json!({"agents": ["other"]}), limit).await.unwrap();
    seen_as_before(&watched, &watched.runs[0]);
    let report = function.invoke(json!({"agents": ["etl"]}), limit).await.unwrap();
    let tasks = watched.deployment.world.ecs_tasks();
    assert_eq!(tasks.len(), 1, "{}", watched.story());
    assert_eq!(tasks[0].started_by, Some(format!("prefect/other/{}", watched.runs[0])));
    let launched = &agent(&report, "etl")["launched"][0];
    assert_eq!((&launched["task_arn"], &launched["adopted"]), (&json!(tasks[0].arn), &json!(true)), "{report:#}");
    let refused = watched.deployment.world.requests("ecs", "RunTask");
    assert_eq!(refused.last().unwrap().status, Some(400), "the token came with another startedBy");
    watched.function = Some(function);
}

#[tokio::test]
async fn a_task_that_has_stopped_already_is_no_launch() {
    for by_another in [false, true] {
        let watched = with_runs(json!({}), 1).await;
        let run = watched.runs[0].clone();
        watched.deployment.world.prefect1(|prefect1| prefect1.switches.submitted_lock_seconds = 0.0);
        let first = if by_another { "other" } else { "etl" };
        watched.deployment.agent("other", json!({"prefetch_seconds": 0}));
        let function = watched.deployment.poll_function().await;
        let limit = Duration::from_secs(40);
        function.invoke(json!({"agents": [first]}), limit).await.unwrap();
        let dead = watched.deployment.world.ecs_tasks()[0].arn.clone();
        watched.deployment.world.ecs_age(&dead, Duration::from_mins(1));
        watched.deployment.world.ecs_stop(&dead, &Stop::failed_to_start("CannotPullContainerError: no such image"));
        seen_as_before(&watched, &run);
        let report = function.invoke(json!({"agents": ["etl"]}), limit).await.unwrap();
        assert_eq!(ids(agent(&report, "etl"), "deferred"), std::slice::from_ref(&run), "{report:#}");
        let (kind, message, mark, starts_in) = state(&watched, &run);
        assert_eq!(kind, "Scheduled", "{message}");
        assert!(message.contains("CannotPullContainerError") && message.contains(&dead), "{message}");
        assert!(mark["attempt"] == 1 && starts_in > 30.0, "{mark} {starts_in}");
        watched.time_passes(60);
        let report = function.invoke(json!({"agents": ["etl"]}), limit).await.unwrap();
        assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "a new turn, a new token: {report:#}");
        let tasks = watched.deployment.world.ecs_tasks();
        assert_eq!((tasks.len(), tasks[0].client_token == tasks[1].client_token), (2, false));
    }
}

#[tokio::test]
async fn what_aws_refuses_for_good_fails_that_run_with_reason_and_remedy_and_no_other() {
    let refusals = [
        ("InvalidParameterException", "Invalid 'cpu' setting for task", "cpu and memory pair"),
        ("ClientException", "Container.image contains invalid characters.", "Check the name of the image"),
        (
            "InvalidParameterException",
            "Override for container named other is not a container in the TaskDefinition.",
            "overrides",
        ),
        ("ClientException", "Role is not valid", "role exists"),
    ];
    for (code, message, remedy) in refusals {
        let mut watched = with_runs(json!({}), 0).await;
        // The run brings what is complained about, a role for one.
        let run_config = json!({"type": "ECSRun", "task_role_arn": "arn:aws:iam::123456789012:role/no"});
        watched.run(FlowRunSpec { run_config, ..due("etl") });
        (0..2).for_each(|_| watched.run(due("etl")));
        let bad = watched.runs[0].clone();
        watched
            .deployment
            .world
            .fault(Fault::new("ecs", "RunTask", aws(code, message)).when_body_contains(&bad).always());
        let report = watched.polled().await;
        let etl = agent(&report, "etl");
        assert_eq!((ids(etl, "failed"), ids(etl, "launched").len()), (vec![bad.clone()], 2), "{report:#}");
        assert_eq!(etl["ok"], json!(true), "one run's failure is not the poll's");
        let (kind, said, ..) = state(&watched, &bad);
        assert_eq!(kind, "Failed");
        assert!(said.contains(message) && said.contains(remedy), "{said}");
        let log = watched.deployment.world.flow_run_logs(&bad);
        assert!(log.iter().any(|line| line.level == "ERROR" && line.message.as_deref() == Some(&said)), "{log:?}");
    }
}

#[tokio::test]
async fn a_definition_that_aws_refuses_fails_the_runs_that_need_it_and_no_other() {
    let mut watched = with_runs(json!({}), 2).await;
    watched.run(FlowRunSpec { run_config: json!({"type": "ECSRun", "image": "not an image"}), ..due("etl") });
    let refusal = aws("ClientException", "Container.image contains invalid characters.");
    watched
        .deployment
        .world
        .fault(Fault::new("ecs", "RegisterTaskDefinition", refusal).when_body_contains("not an image").always());
    let report = watched.polled().await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "failed"), ids(etl, "launched").len()), (vec![watched.runs[2].clone()], 2), "{report:#}");
    assert_eq!(state(&watched, &watched.runs[2]).0, "Failed");
}

#[tokio::test]
async fn want_of_capacity_gives_the_run_back_for_later_with_the_reason_and_counts_the_attempt() {
    let mut watched = with_runs(json!({}), 2).await;
    let run = watched.runs[0].clone();
    watched.refuse("RESOURCE:MEMORY", &run, 1);
    let report = watched.polled().await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "deferred"), ids(etl, "launched")), (vec![run.clone()], vec![watched.runs[1].clone()]));
    let (kind, message, mark, starts_in) = state(&watched, &run);
    assert_eq!(kind, "Scheduled");
    assert!(message.contains("RESOURCE:MEMORY"), "{message}");
    assert!(starts_in > 30.0 && starts_in < 60.0, "past Prefect's lock of 30 s: {starts_in}");
    assert_eq!((&mark["attempt"], &mark["capacity_refusals"]), (&json!(1), &json!(1)));
    let early = watched.polled().await;
    assert_eq!(agent(&early, "etl")["ready"], json!(0), "not due yet");
    watched.time_passes(60);
    let later = watched.polled().await;
    assert_eq!(ids(agent(&later, "etl"), "launched"), [run], "{later:#}");
    watched.ends_well();
}

#[tokio::test]
async fn after_the_last_attempt_the_run_fails_with_the_story() {
    let mut watched = with_runs(json!({"max_launch_attempts": 3}), 1).await;
    let run = watched.runs[0].clone();
    watched.refuse("RESOURCE:ENI", &run, 100);
    let mut delays = Vec::new();
    for _ in 0..2 {
        watched.polled().await;
        let (kind, _, _, starts_in) = state(&watched, &run);
        assert_eq!(kind, "Scheduled");
        delays.push(starts_in);
        watched.time_passes(601);
    }
    assert!(delays[1] > delays[0] * 1.5, "each wait is longer: {delays:?}");
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "failed"), std::slice::from_ref(&run), "{report:#}");
    let (kind, message, ..) = state(&watched, &run);
    assert_eq!(kind, "Failed");
    assert!(message.contains("after 3 attempts") && message.contains("RESOURCE:ENI"), "{message}");
    assert!(watched.deployment.world.ecs_tasks().is_empty());
}

#[tokio::test]
async fn without_permission_claims_are_given_back_uncounted_and_the_poll_fails_but_no_run() {
    let mut watched = with_runs(json!({"max_launch_attempts": 2}), 3).await;
    let denied =
        aws("AccessDeniedException", "User: poll is not authorized to perform: ecs:RunTask on resource: family");
    watched.deployment.world.fault(Fault::new("ecs", "RunTask", denied).always());
    for _ in 0..3 {
        let report = watched.failed().await;
        let etl = agent(&report, "etl");
        assert_eq!(etl["error_kind"], json!("aws"), "{report:#}");
        assert!(etl["error"].as_str().unwrap().contains("ecs:RunTask"), "{report:#}");
        assert_eq!((ids(etl, "deferred").len(), ids(etl, "failed").len()), (3, 0), "{report:#}");
        for run in &watched.runs {
            let (kind, message, mark, _) = state(&watched, run);
            assert_eq!(kind, "Scheduled", "{message}");
            assert!(mark.is_null() || mark["attempt"] == 0, "no attempt of the run: {mark}");
        }
        watched.time_passes(601);
    }
    watched.deployment.world.lock().faults.clear();
    watched.poll_until_quiet(true).await;
    watched.ends_well();
}

#[tokio::test]
async fn spot_gives_way_to_on_demand_after_so_many_refusals() {
    let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    let subnets = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}});
    let kwargs = json!({"capacityProviderStrategy": spot, "networkConfiguration": subnets});
    let mut watched = with_runs(json!({"spot_fallback_after": 2, "run_task_kwargs": kwargs}), 1).await;
    watched.refuse("RESOURCE:FARGATE_SPOT Capacity is unavailable at this time", "FARGATE_SPOT", 100);
    for _ in 0..2 {
        let report = watched.polled().await;
        assert_eq!(ids(agent(&report, "etl"), "deferred"), watched.runs, "{report:#}");
        watched.time_passes(601);
    }
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), watched.runs, "{}", watched.story());
    let task = &watched.deployment.world.ecs_tasks()[0];
    assert_eq!(task.request["capacityProviderStrategy"], json!([{"capacityProvider": "FARGATE", "weight": 1}]));
}

#[tokio::test]
async fn a_definition_that_was_deregistered_meanwhile_is_registered_again_in_the_same_poll() {
    let mut watched = with_runs(json!({}), 1).await;
    watched.warm_up().await;
    watched.deployment.world.lock().ecs.definitions.iter_mut().for_each(|definition| definition.active = false);
    watched.run(due("etl"));
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [watched.runs[1].clone()], "{}", watched.story());
    assert_eq!(watched.deployment.world.lock().ecs.definitions.iter().filter(|one| one.active).count(), 1);
}
