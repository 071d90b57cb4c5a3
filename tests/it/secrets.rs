//! Secrets: where they belong, and nowhere else.

mod said;

use crate::support::{DEADLINE, Deployment, ROOT, agent, environment, ids, poll, reason};
use serde_json::{Value, json};
use world::prefect1::{FlowRunSpec, FlowSpec, TENANT, Token};
use world::{Fault, FaultKind};

const KEY: &str = "pcu_Very5ecretKey";
const TOKEN: &str = "Very5ecretT0ken";
const ROLE: &str = "arn:aws:iam::123456789012:role/execution";

/// An agent of Prefect 0.15 with a key and a token that occur nowhere else.
async fn with_secrets(extra: Value) -> Deployment {
    let deployment = Deployment::empty().await;
    let mut config = json!({"prefect": "0.15"});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    deployment.agent_without_key("etl", config);
    deployment.secret("etl", "api-key", KEY);
    deployment.secret("etl", "auth-token", TOKEN);
    deployment.world.prefect1(|prefect1| {
        prefect1.api_keys.insert(KEY.into(), vec![TENANT.into()]);
        prefect1.tokens.insert(TOKEN.into(), Token { tenant_id: TENANT.into(), scope: "RUNNER".into() });
    });
    deployment
}

/// The lines of a text that hold a secret; for messages.
fn found_in(what: &str, text: &str) -> Option<String> {
    let holds = |line: &&str| [KEY, TOKEN, "pcu_", "5ecret"].iter().any(|secret| line.contains(secret));
    let lines: Vec<_> = text.lines().filter(holds).map(|line| format!("{what} holds a secret: {line}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Every place where a secret was seen, but for the ones where it belongs.
fn leaks(deployment: &Deployment, said: &[(&str, String)]) -> Vec<String> {
    let mut leaks: Vec<_> = said.iter().filter_map(|(what, text)| found_in(what, text)).collect();
    let state = deployment.world.lock();
    for request in state.journal.all() {
        let what = format!("{} {}", request.service, request.operation);
        leaks.extend(found_in(&what, &request.body));
        leaks.extend(found_in(&what, &request.line));
        for (name, value) in &request.headers {
            if (request.service.as_str(), name.as_str()) != ("prefect1", "authorization") {
                leaks.extend(found_in(&format!("{what} {name}"), value));
            }
        }
    }
    for (_, name, version) in state.ssm.all().filter(|(_, name, _)| !name.starts_with(&format!("{ROOT}/secrets"))) {
        leaks.extend(found_in(name, &version.value));
    }
    for log in &state.prefect1.logs {
        leaks.extend(found_in("a run's log", log.message.as_deref().unwrap_or_default()));
    }
    leaks
}

#[tokio::test]
async fn as_container_secrets_they_occur_nowhere_but_in_the_requests_header() {
    let deployment = with_secrets(json!({"execution_role_arn": ROLE})).await;
    let fine = deployment.schedule(FlowRunSpec::default());
    let refused = deployment.schedule(FlowRunSpec {
        run_config: json!({"type": "ECSRun", "cpu": "3 vcpu", "memory": "1 GB", "__version__": "1.4.1"}),
        ..FlowRunSpec::default()
    });
    let broken = deployment.schedule(FlowRunSpec {
        flow: FlowSpec { storage: json!({"type": "Nowhere"}), ..FlowSpec::default() },
        run_config: json!({"type": "Nonsense"}),
        ..FlowRunSpec::default()
    });
    let function = deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
    let report = poll(&function).await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), [fine], "{report:#}");
    assert_eq!(ids(etl, "failed").len(), 2, "{refused} and {broken}: {report:#}");
    assert_eq!(etl["warnings"], json!([]), "{report:#}");

    let said = [("the report", report.to_string()), ("the log", function.output())];
    let leaks = leaks(&deployment, &said);
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));

    let task = &deployment.world.ecs_tasks()[0];
    let variables = environment(task);
    assert!(!variables.contains_key("PREFECT__CLOUD__API_KEY"), "{variables:?}");
    let state = deployment.world.lock();
    let definition = state.ecs.find_definition(&world::route::Scope::default(), &task.definition_arn).unwrap();
    let secrets = definition.container("flow").unwrap()["secrets"].clone();
    let arn = |kind: &str| format!("arn:aws:ssm:us-east-1:123456789012:parameter{ROOT}/secrets/etl/{kind}");
    let named = |name: &str| secrets.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!(named("PREFECT__CLOUD__API_KEY")["valueFrom"], json!(arn("api-key")));
    assert_eq!(named("PREFECT__CLOUD__AUTH_TOKEN")["valueFrom"], json!(arn("auth-token")));
}

#[tokio::test]
async fn trouble_of_every_kind_tells_no_secret() {
    let html = |status| FaultKind::Html { status };
    let echo = FaultKind::Status {
        status: 400,
        body: json!({"errors": [{"message": format!("invalid header Bearer {KEY}")}]}).to_string(),
        content_type: "application/json".into(),
    };
    for kind in [html(502), FaultKind::DropBefore, FaultKind::MalformedBody, FaultKind::TruncatedBody, echo] {
        let deployment = with_secrets(json!({"execution_role_arn": ROLE})).await;
        deployment.schedule(FlowRunSpec::default());
        deployment.world.fault(Fault::new("prefect1", "*", kind.clone()).always());
        let function = deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
        let error = function.invoke(json!({}), DEADLINE).await.unwrap_err();
        let said = [("the error", error.error_message), ("the log", function.output())];
        let leaks = leaks(&deployment, &said);
        assert!(leaks.is_empty(), "{kind:?}: {}", leaks.join("\n"));
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_sent_is_not_shown_either() {
    let deployment = with_secrets(json!({})).await;
    deployment.secret("etl", "api-key", &format!("{KEY}\n"));
    deployment.configure(
        "wrong",
        &format!("prefect: 1\napi_key: {KEY}\nenv_vars: {{A: [{KEY}]}}\napi: https://user:{KEY}@host\n"),
    );
    let function = deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
    let error = function.invoke(json!({}), DEADLINE).await.unwrap_err();
    deployment.world.lock().ssm.delete(&world::route::Scope::default(), &format!("{ROOT}/config/wrong"));
    let leaks = leaks(&deployment, &[("the error", error.error_message), ("the log", function.output())]);
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

#[tokio::test]
async fn environment_delivers_as_python_does() {
    let deployment = with_secrets(json!({"api_key_delivery": "environment"})).await;
    deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    let variables = environment(&deployment.world.ecs_tasks()[0]);
    assert_eq!((&*variables["PREFECT__CLOUD__API_KEY"], &*variables["PREFECT__CLOUD__AUTH_TOKEN"]), (KEY, TOKEN));
    assert_eq!(agent(&report, "etl")["warnings"], json!([]), "that is what was asked for");
}

#[tokio::test]
async fn auto_without_an_execution_role_warns_once_and_delivers_in_the_environment() {
    let deployment = with_secrets(json!({"launch_rate": null})).await;
    deployment.schedule_many(5);
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched").len(), 5);
    let warnings = etl["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].as_str().unwrap().contains("execution_role_arn"), "{warnings:#?}");
    assert_eq!(environment(&deployment.world.ecs_tasks()[0])["PREFECT__CLOUD__API_KEY"], KEY);
}

#[tokio::test]
async fn secret_fails_a_run_whose_definition_is_not_ours() {
    let deployment = with_secrets(json!({"api_key_delivery": "secret", "execution_role_arn": ROLE})).await;
    let fine = deployment.schedule(FlowRunSpec::default());
    let run_config = json!({"type": "ECSRun", "task_definition_arn": "somebodys:1", "__version__": "1.4.1"});
    let other = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), [fine], "{report:#}");
    assert!(reason(etl, "failed", &other).contains("api_key_delivery"), "{report:#}");
    assert_eq!(deployment.state_of(&other), "Failed");
}

#[tokio::test]
async fn a_key_in_another_account_than_the_task_is_no_container_secret() {
    let extra = json!({
        "assume_role_arn": "arn:aws:iam::210987654321:role/launcher",
        "execution_role_arn": "arn:aws:iam::210987654321:role/execution",
    });
    let deployment = with_secrets(extra).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), [run], "{report:#}");
    assert!(etl["warnings"][0].as_str().unwrap().contains("210987654321"), "{report:#}");
    assert_eq!(environment(&deployment.world.ecs_tasks()[0])["PREFECT__CLOUD__API_KEY"], KEY);
}
