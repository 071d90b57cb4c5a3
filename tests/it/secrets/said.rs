//! What AWS and Prefect quote back, and what blocks bring in: nothing of it is said anywhere.

use crate::command::process::{agent as command, end};
use crate::prefect::{Phase, Prefect};
use crate::support::{DEADLINE, Deployment, ROOT, agent, ids};
use serde_json::{Map, Value, json};
use world::ecs::Stop;
use world::prefect3::{BlockSpec, RunSpec};
use world::{Fault, FaultKind, LambdaProcess};

const KEY: &str = "pnu_Very5ecretKey";
const AUTH_STRING: &str = "admin:Very5ecretPassword";
/// As it stands in `Authorization: Basic`.
const ENCODED: &str = "YWRtaW46VmVyeTVlY3JldFBhc3N3b3Jk";
/// Every secret and every part of one that is looked for.
const SECRETS: [&str; 4] = ["5ecret", "YWRtaW46", "sesame", "AKIATEAM"];

/// What a service says that quotes all it was sent.
fn quoting() -> String {
    format!("refused: Bearer {KEY}, Basic {ENCODED}, {AUTH_STRING}")
}

/// An agent whose secrets go into the environment of its runs, where AWS sees them.
async fn deployment(prefect: Prefect) -> Deployment {
    let deployment = prefect.deployment(json!({"api_key_delivery": "environment"})).await;
    deployment.secret("etl", "api-key", KEY);
    match prefect {
        Prefect::One => {
            deployment.world.prefect1(|one| one.api_keys.insert(KEY.into(), vec![world::prefect1::TENANT.into()]));
        }
        Prefect::Three => {}
    }
    // Prefect 1 does not use it; a secret it is all the same.
    deployment.secret("etl", "auth-string", AUTH_STRING);
    deployment
}

async fn start(deployment: &Deployment, handler: &str) -> LambdaProcess {
    deployment.options(handler).env("RUST_LOG", "trace").start().await.unwrap()
}

/// Fails when a secret was said: by the function, to Prefect or in a status.
fn says_no_secret(deployment: &Deployment, said: &[&str]) {
    let mut texts: Vec<String> = said.iter().map(|text| (*text).to_owned()).collect();
    let requests = ["prefect1", "prefect3"].map(|service| deployment.world.requests(service, "*"));
    texts.extend(requests.iter().flatten().map(|request| format!("{} {}", request.line, request.body)));
    let status = deployment.world.parameter(&format!("{ROOT}/state/etl/status"));
    texts.extend(status.map(|status| status.value));
    for line in texts.iter().flat_map(|text| text.lines()) {
        assert!(!SECRETS.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

#[tokio::test]
async fn what_aws_quotes_of_a_request_is_said_nowhere() {
    let quoting_error = FaultKind::AwsError { status: 400, code: "ClientException".into(), message: quoting() };
    let json = |body: Value| FaultKind::Status {
        status: 200,
        body: body.to_string(),
        content_type: "application/x-amz-json-1.1".into(),
    };
    let failure = json!({"arn": "arn:x", "reason": format!("ODD {KEY}"), "detail": quoting()});
    let html = FaultKind::Status {
        status: 400,
        // Cut in the middle of the key.
        body: format!("<p>{}{KEY} {}", "x".repeat(186), "y".repeat(900)),
        content_type: "text/html".into(),
    };
    for prefect in Prefect::BOTH {
        for (operation, kind) in [
            ("RegisterTaskDefinition", quoting_error.clone()),
            ("RunTask", quoting_error.clone()),
            ("RunTask", json(json!({"tasks": [], "failures": [failure]}))),
            ("RunTask", html.clone()),
        ] {
            let deployment = deployment(prefect).await;
            let run = prefect.due_run(&deployment.world);
            deployment.world.fault(Fault::new("ecs", operation, kind.clone()).always());
            let function = start(&deployment, "poll").await;
            let answer = function.invoke(json!({}), DEADLINE).await;
            let report = answer.map_or_else(|error| error.error_message, |report| report.to_string());
            assert!(report.contains("[redacted]"), "{prefect:?} {operation} {kind:?}: {report}");
            says_no_secret(&deployment, &[&report, &function.output()]);
            assert_eq!(deployment.world.ecs_tasks().len(), 0, "{run}");
        }
    }
}

#[tokio::test]
async fn why_a_task_stopped_is_told_without_secrets() {
    for prefect in Prefect::BOTH {
        let deployment = deployment(prefect).await;
        let run = prefect.due_run(&deployment.world);
        let report = deployment.poll().await;
        assert_eq!(ids(agent(&report, "etl"), "launched"), [run.clone()], "{report:#}");
        let task = deployment.world.ecs_tasks()[0].arn.clone();
        let stop = Stop {
            container_reason: Some(format!("CannotStartContainerError: env {}", quoting())),
            ..Stop::failed_to_start(&format!("ResourceInitializationError: {}", quoting()))
        };
        assert!(deployment.world.ecs_stop(&task, &stop));
        let function = start(&deployment, "task-events").await;
        let told = function.invoke(deployment.world.task_event(&task), DEADLINE).await.unwrap();
        let after = prefect.run(&deployment.world, &run);
        assert_eq!(after.phase, Phase::Dead, "{told}");
        assert!(after.message.contains("[redacted]"), "{after:?}");
        says_no_secret(&deployment, &[&told.to_string(), &function.output()]);
    }
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A run whose template brings in the values of blocks and keys of its own.
async fn with_blocks() -> (Deployment, String) {
    let deployment = deployment(Prefect::Three).await;
    let block = |kind: &str, name: &str, data: Value, secret_fields: &[&str]| BlockSpec {
        block_type: kind.into(),
        name: name.into(),
        data: map(data),
        secret_fields: secret_fields.iter().map(|path| (*path).to_owned()).collect(),
        ..BlockSpec::default()
    };
    let aws = json!({"aws_access_key_id": "AKIATEAM", "aws_secret_access_key": "sesame-of-aws"});
    for block in [
        block("secret", "token", json!({"value": "open sesame; please"}), &["value"]),
        block("secret", "short", json!({"value": "a1"}), &["value"]),
        block("secret", "pin", json!({"value": 4711}), &["value"]),
        block("aws-credentials", "team", aws, &["aws_secret_access_key"]),
        block("string", "plain", json!({"value": "in the open"}), &[]),
    ] {
        deployment.world.prefect3_block(block);
    }
    let env = json!({
        "TOKEN": "{{ prefect.blocks.secret.token }}", "URL": "https://u:{{ prefect.blocks.secret.token }}@host",
        "SHORT": "{{ prefect.blocks.secret.short }}", "PIN": "{{ prefect.blocks.secret.pin }}",
        "PLAIN": "{{ prefect.blocks.string.plain }}", "ID": "{{ prefect.blocks.aws-credentials.team.aws_access_key_id }}",
        "AWS": "{{ prefect.blocks.aws-credentials.team.aws_secret_access_key }}", "CODE": "a1b a10",
    });
    let job_variables = map(json!({
        "env": env, "labels": {"tag": "{{ prefect.blocks.secret.token }}"},
        "command": "echo \"{{ prefect.blocks.secret.token }}\"",
    }));
    let run = deployment.world.prefect3_run(RunSpec { job_variables, ..RunSpec::default() });
    (deployment, run)
}

#[tokio::test]
async fn a_dry_run_shows_no_value_of_a_secret_block_and_a_poll_sends_it() {
    let (deployment, _) = with_blocks().await;
    let ended = end(command(&deployment, &format!("poll --root {ROOT} --dry-run --json"))).await.well();
    says_no_secret(&deployment, &[&ended.stdout, &ended.stderr]);
    let requests = ended.json()["requests"].as_array().unwrap().clone();
    let run_task = requests.iter().find(|request| request["operation"] == "RunTask").unwrap();
    let shown = &run_task["body"]["overrides"]["containerOverrides"][0]["environment"];
    let value = |list: &Value, name: &str| {
        list.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap()["value"].clone()
    };
    for name in ["TOKEN", "SHORT", "PIN", "AWS", "ID", "PREFECT_API_KEY"] {
        assert_eq!(value(shown, name), "[redacted]", "{name}: {shown:#}");
    }
    assert_eq!(value(shown, "URL"), "https://u:[redacted]@host");
    assert_eq!((value(shown, "PLAIN"), value(shown, "CODE")), (json!("in the open"), json!("a1b a10")));

    // What is sent is what it should be.
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched").len(), 1, "{report:#}");
    let sent = deployment.world.requests("ecs", "RunTask")[0].json();
    let sent = &sent["overrides"]["containerOverrides"][0]["environment"];
    assert_eq!(value(sent, "TOKEN"), "open sesame; please");
    assert_eq!(value(sent, "URL"), "https://u:open sesame; please@host");
    assert_eq!((value(sent, "SHORT"), value(sent, "AWS")), (json!("a1"), json!("sesame-of-aws")));
    assert_eq!(value(sent, "PREFECT_API_KEY"), KEY);
}

#[tokio::test]
async fn what_aws_quotes_of_a_block_is_said_nowhere() {
    let (deployment, run) = with_blocks().await;
    let message = "bad value open sesame; please, or sesame-of-aws".to_owned();
    let kind = FaultKind::AwsError { status: 400, code: "ClientException".into(), message };
    deployment.world.fault(Fault::new("ecs", "RunTask", kind).always());
    let function = start(&deployment, "poll").await;
    let report = function.invoke(json!({}), DEADLINE).await.unwrap().to_string();
    assert!(report.contains("bad value [redacted]"), "{report}");
    says_no_secret(&deployment, &[&report, &function.output()]);
    let message = Prefect::Three.run(&deployment.world, &run).message;
    assert!(message.contains("bad value [redacted], or [redacted]"), "{message}");
}

#[tokio::test]
async fn an_answer_of_another_shape_that_quotes_a_secret_is_reported_without_it() {
    let deployment = deployment(Prefect::Three).await;
    Prefect::Three.due_run(&deployment.world);
    let body = format!("<html>{} {}", quoting(), "z".repeat(2000));
    let kind = FaultKind::Status { status: 200, body, content_type: "text/html".into() };
    deployment.world.fault(Fault::new("prefect3", "*", kind).always());
    let function = start(&deployment, "poll").await;
    let error = function.invoke(json!({}), DEADLINE).await.unwrap_err();
    says_no_secret(&deployment, &[&error.error_message, &function.output()]);
}

#[tokio::test]
async fn the_command_names_no_secret_of_its_environment_or_of_its_api() {
    let deployment = Deployment::empty().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let api = "http://someone:Very5ecretPassword@127.0.0.1:9/api";
    std::fs::write(file.path(), json!({"prefect": 3, "api": api, "work_pool": "p"}).to_string()).unwrap();
    let mut poll = command(&deployment, &format!("poll --config {}", file.path().display()));
    poll.env("PREFECT_API_KEY", KEY).env("RUST_LOG", "trace");
    let ended = end(poll).await;
    assert_ne!(ended.code, Some(0));
    says_no_secret(&deployment, &[&ended.stdout, &ended.stderr]);
}
