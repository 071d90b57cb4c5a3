//! Runs that bring AWS credentials of their own along: they are launched where those lead, and only they notice when
//! something is wrong with them.

use super::scene::{Scene, map};
use crate::support::{agent, ids, reason, report_in};
use serde_json::{Value, json};
use world::prefect3::BlockSpec;
use world::{Fault, FaultKind, Request};

const ROLE: &str = "arn:aws:iam::999999999999:role/flows";

/// Job variables with a role in another account and region.
fn role() -> Value {
    json!({"aws_credentials": {"assume_role_arn": ROLE, "region_name": "eu-central-1",
        "assume_role_kwargs": {"ExternalId": "ext-1", "DurationSeconds": 900}}})
}

fn denied() -> FaultKind {
    FaultKind::AwsError {
        status: 403,
        code: "AccessDenied".into(),
        message: format!(
            "User: arn:aws:sts::123456789012:assumed-role/poll/x is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
        ),
    }
}

fn of_sts(kind: FaultKind) -> Fault {
    Fault::new("sts", "AssumeRole", kind)
}

/// The access key that signed a request.
fn signer(request: &Request) -> &str {
    let authorization = request.header("authorization").unwrap();
    authorization.split_once("Credential=").unwrap().1.split('/').next().unwrap()
}

#[tokio::test]
async fn a_role_is_assumed_once_for_all_its_runs_beside_those_of_the_agents_own_account() {
    let scene = Scene::new().await;
    let theirs: Vec<_> = (0..10).map(|_| scene.run_with(role())).collect();
    let own = scene.runs(2);
    let function = scene.deployment.poll_function().await;
    let report = scene.poll_by(&function).await;
    assert_eq!(ids(&report, "launched").len(), 12, "{report:#}");
    scene.run_with(role());
    scene.poll_by(&function).await;
    let world = &scene.deployment.world;
    let [assumed] = world.requests("sts", "AssumeRole").try_into().unwrap();
    for parameter in ["ExternalId=ext-1", "DurationSeconds=900", "RoleSessionName=prefect-session-"] {
        assert!(assumed.body.contains(parameter), "{}", assumed.body);
    }
    assert!(assumed.header("authorization").unwrap().contains("/eu-central-1/sts/"), "{assumed:?}");
    let place = |run: &str| {
        let task = scene.tasks().into_iter().find(|task| task.started_by.as_deref().unwrap().ends_with(run));
        task.unwrap_or_else(|| panic!("no task of {run}")).arn
    };
    assert!(theirs.iter().all(|run| place(run).starts_with("arn:aws:ecs:eu-central-1:999999999999:task/")));
    assert!(own.iter().all(|run| place(run).starts_with("arn:aws:ecs:us-east-1:123456789012:task/")));
    let pid = scene.flow_run(&theirs[0]).infrastructure_pid.unwrap();
    assert!(pid.starts_with("arn:aws:ecs:eu-central-1:999999999999:cluster/default::"), "{pid}");
}

#[tokio::test]
async fn keys_of_a_block_sign_the_launch_and_are_told_nowhere() {
    let scene = Scene::new().await;
    scene.deployment.world.prefect3_block(BlockSpec {
        block_type: "aws-credentials".into(),
        name: "team".into(),
        data: map(json!({
            "aws_access_key_id": "AKIATEAM", "aws_secret_access_key": "sesame-sesame", "region_name": "eu-west-2",
            "aws_session_token": null, "assume_role_arn": null, "profile_name": null,
            "aws_client_parameters": {"use_ssl": true, "verify": true, "endpoint_url": null, "config": null},
        })),
        secret_fields: vec!["aws_secret_access_key".into()],
        ..BlockSpec::default()
    });
    let run = scene.run_with(json!({"aws_credentials": "{{ prefect.blocks.aws-credentials.team }}"}));
    let function = scene.deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
    let report = scene.poll_by(&function).await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    for service in ["ecs", "ec2"] {
        let requests = scene.deployment.world.requests(service, "*");
        assert!(!requests.is_empty() && requests.iter().all(|request| signer(request) == "AKIATEAM"), "{service}");
    }
    let told = format!("{report} {}", function.output());
    assert!(!told.contains("sesame-sesame"), "{told}");
}

#[tokio::test]
async fn an_endpoint_that_nobody_allows_is_not_asked() {
    let scene = Scene::new().await;
    let there = format!("http://{}", scene.deployment.world.addr());
    let keys = json!({"aws_access_key_id": "AKIATEAM", "aws_secret_access_key": "sesame-sesame",
                      "aws_client_parameters": {"endpoint_url": there}});
    let run = scene.run_with(json!({"aws_credentials": keys}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched").len(), 0, "{report:#}");
    let message = scene.state(&run).message.unwrap();
    assert!(
        message.contains("`aws_client_parameters.endpoint_url`") && message.contains("`allowed_hosts`"),
        "{message}"
    );
    assert!(scene.deployment.world.requests("ecs", "*").iter().all(|request| signer(request) != "AKIATEAM"));
}

#[tokio::test]
async fn a_role_that_refuses_is_that_runs_trouble_alone() {
    let scene = Scene::new().await;
    scene.deployment.world.fault(of_sts(denied()).always());
    let (bad, good) = (scene.run_with(role()), scene.runs(1));
    let report = scene.poll().await;
    assert_eq!((ids(&report, "launched"), &report["ok"]), (good, &json!(true)), "{report:#}");
    assert_eq!(scene.history(&bad), ["Scheduled", "Pending", "Crashed"]);
    let message = scene.state(&bad).message.unwrap();
    assert!(message.contains("(AccessDenied) when calling the AssumeRole operation"), "{message}");
    assert!(message.contains("trust policy"), "it says what to do: {message}");
}

#[tokio::test]
async fn a_role_that_the_pool_names_and_that_refuses_is_the_agents_trouble() {
    let scene = Scene::new().await;
    scene.deployment.world.prefect3(|prefect3| {
        let properties = &mut prefect3.work_pools[0].base_job_template["variables"]["properties"];
        properties["aws_credentials"]["default"] = role()["aws_credentials"].clone();
    });
    scene.deployment.world.fault(of_sts(denied()).always());
    let run = scene.run(world::prefect3::RunSpec::default());
    let report = report_in(&scene.deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "aws", "{report:#}");
    assert_eq!(ids(etl, "deferred"), std::slice::from_ref(&run));
    assert_eq!(scene.history(&run), ["Scheduled"], "nothing was claimed");
}

#[tokio::test]
async fn an_sts_that_is_busy_or_away_leaves_the_run_for_the_next_poll() {
    let busy = FaultKind::AwsError { status: 400, code: "Throttling".into(), message: "Rate exceeded".into() };
    for kind in [busy, FaultKind::DropBefore, FaultKind::Html { status: 503 }] {
        let scene = Scene::new().await;
        // As often as it is tried in one poll.
        scene.deployment.world.fault(of_sts(kind.clone()).times(3));
        let run = scene.run_with(role());
        let report = scene.poll().await;
        assert_eq!(
            (ids(&report, "deferred"), &report["ok"]),
            (vec![run.clone()], &json!(true)),
            "{kind:?}: {report:#}"
        );
        assert!(reason(&report, "deferred", &run).contains("AssumeRole"), "{report:#}");
        assert_eq!(scene.history(&run), ["Scheduled"], "{kind:?}: nothing was claimed");
        assert_eq!(ids(&scene.poll().await, "launched"), [run], "{kind:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_honoured_crashes_the_run_with_a_sentence() {
    let scene = Scene::new().await;
    let run = scene.run_with(json!({"aws_credentials": {"profile_name": "prod"}}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "failed"), std::slice::from_ref(&run), "{report:#}");
    let message = scene.state(&run).message.unwrap();
    assert!(message.contains("`profile_name` of `aws_credentials` cannot be used"), "{message}");
}

#[tokio::test]
async fn a_cancelled_runs_task_is_stopped_in_its_own_account() {
    let scene = Scene::new().await;
    let run = scene.run_with(role());
    let function = scene.deployment.poll_function().await;
    scene.poll_by(&function).await;
    scene.deployment.world.prefect3_cancel(&run).unwrap();
    scene.poll_by(&function).await;
    assert_eq!(scene.state(&run).name, "Cancelled");
    let [task] = scene.tasks().try_into().unwrap();
    assert_eq!(task.desired_status, "STOPPED", "{task:?}");
    let stopped = scene.deployment.world.requests("ecs", "StopTask");
    assert!(signer(&stopped[0]).starts_with("ASIAWORLD"), "{stopped:?}");
}

#[tokio::test]
async fn a_claim_without_a_task_is_finished_in_its_own_account() {
    let scene = Scene::with(json!({"orphan_after_seconds": 60})).await;
    for operation in ["RunTask", "ListTasks"] {
        // Nobody says whether the task was started: the claim waits.
        scene.deployment.world.fault(Fault::new("ecs", operation, FaultKind::DropAfter).always());
    }
    let run = scene.run_with(role());
    scene.poll().await;
    assert_eq!(scene.history(&run), ["Scheduled", "Pending"]);
    scene.deployment.world.lock().faults.clear();
    scene.age(&run, 2);
    let report = scene.poll().await;
    assert_eq!(ids(&report, "recovered"), std::slice::from_ref(&run), "{report:#}");
    assert_eq!(scene.tasks().len(), 1, "the token is the claim's");
    let pid = scene.flow_run(&run).infrastructure_pid.unwrap();
    assert!(pid.contains(":999999999999:"), "{pid}");
}
