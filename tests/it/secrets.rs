//! Secrets: where they belong, and nowhere else.

mod said;

use crate::support::{DEADLINE, Deployment, ROOT, agent, environment, ids, poll, reason};
use serde_json::{Value, json};
use world::prefect1::{FlowRunSpec, FlowSpec, TENANT, Token};
use world::{Fault, FaultKind};

const KEY: &str = "pcu_Very5ecretKey";
const TOKEN: &str = "Very5ecretT0ken";
/// As `infra/cluster.yaml` creates it for this deployment.
const ROLE: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/psa/test/execution";
const STOCK: &str = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole";

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
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [fine], "{report:#}");
    let somebodys = give_secrets(&deployment, &json!([{"name": "DB", "valueFrom": "/db"}]));
    let run_config = json!({"type": "ECSRun", "task_definition_arn": somebodys, "__version__": "1.4.1"});
    let other = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    assert!(reason(agent(&report, "etl"), "failed", &other).contains("api_key_delivery"), "{report:#}");
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

#[tokio::test]
async fn under_auto_a_role_of_anybodys_gets_no_key_to_read_and_the_report_says_once_what_to_do() {
    let deployment = with_secrets(json!({"launch_rate": null, "execution_role_arn": STOCK})).await;
    deployment.schedule_many(5);
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched").len(), 5, "{report:#}");
    let variables = environment(&deployment.world.ecs_tasks()[0]);
    assert_eq!((&*variables["PREFECT__CLOUD__API_KEY"], &*variables["PREFECT__CLOUD__AUTH_TOKEN"]), (KEY, TOKEN));
    let [warning] = etl["warnings"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    let arn = |kind: &str| format!("arn:aws:ssm:us-east-1:123456789012:parameter{ROOT}/secrets/etl/{kind}");
    let parts = [
        STOCK,
        "ssm:GetParameters",
        "kms:Decrypt",
        "then set api_key_delivery to secret",
        &arn("api-key"),
        &arn("auth-token"),
    ];
    for part in parts {
        assert!(warning.as_str().unwrap().contains(part), "{part}: {warning}");
    }
    deployment.agent_without_key(
        "etl",
        json!({"prefect": "0.15", "execution_role_arn": STOCK, "api_key_delivery": "environment"}),
    );
    deployment.schedule(FlowRunSpec::default());
    assert_eq!(agent(&deployment.poll().await, "etl")["warnings"], json!([]), "`environment` silences it");
}

/// The secrets that somebody gave the flow container of the only definition.
fn give_secrets(deployment: &Deployment, secrets: &Value) -> String {
    let mut state = deployment.world.lock();
    let definition = &mut state.ecs.definitions[0];
    definition.description["containerDefinitions"][0]["secrets"] = secrets.clone();
    definition.arn.clone()
}

#[tokio::test]
async fn a_secret_of_a_definition_that_exists_stays_and_no_variable_of_its_name_is_sent_whatever_the_delivery() {
    let users = json!([{"name": "PREFECT__CLOUD__API_KEY", "valueFrom": "/mine/key"},
                       {"name": "PREFECT__CLOUD__AUTH_TOKEN", "valueFrom": "/mine/token"}]);
    for rules in [json!("0.15"), json!(1)] {
        for delivery in ["auto", "secret", "environment"] {
            let deployment = Deployment::empty().await;
            let config = json!({"prefect": rules, "api_key_delivery": delivery, "execution_role_arn": ROLE});
            deployment.agent("etl", config);
            deployment.schedule(FlowRunSpec::default());
            deployment.poll().await;
            let arn = give_secrets(&deployment, &users);
            let run_config = json!({"type": "ECSRun", "task_definition_arn": arn, "__version__": "1.4.1"});
            let run = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
            let report = deployment.poll().await;
            let etl = agent(&report, "etl");
            assert_eq!(
                (ids(etl, "launched"), &etl["warnings"]),
                (vec![run], &json!([])),
                "{rules} {delivery}: {report:#}"
            );
            let tasks = deployment.world.ecs_tasks();
            let variables = environment(&tasks[1]);
            assert_eq!(tasks[1].definition_arn, arn);
            for name in ["PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__AUTH_TOKEN"] {
                assert!(!variables.contains_key(name), "{rules} {delivery}: {variables:?}");
            }
            assert!(variables.contains_key("PREFECT__CLOUD__API"), "{variables:?}");
        }
    }
}

#[tokio::test]
async fn a_secret_of_the_templates_own_stays_as_it_was_written() {
    let users = json!([{"name": "PREFECT__CLOUD__API_KEY", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:k"}]);
    for delivery in ["auto", "secret", "environment"] {
        let container = json!({"name": "flow", "secrets": users});
        let template = json!({"networkMode": "awsvpc", "cpu": 1024, "memory": 2048, "executionRoleArn": ROLE,
                              "containerDefinitions": [container]});
        let deployment =
            Deployment::with_agent(json!({"api_key_delivery": delivery, "task_definition": template})).await;
        let run = deployment.schedule(FlowRunSpec::default());
        let report = deployment.poll().await;
        assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{delivery}: {report:#}");
        assert!(!environment(&deployment.world.ecs_tasks()[0]).contains_key("PREFECT__CLOUD__API_KEY"), "{delivery}");
        let state = deployment.world.lock();
        let secrets = state.ecs.definitions[0].description["containerDefinitions"][0]["secrets"].clone();
        assert_eq!(secrets[0], users[0], "{delivery}: {secrets}");
    }
}

#[tokio::test]
async fn whoever_may_not_describe_definitions_launches_those_that_exist_all_the_same() {
    let deployment = Deployment::empty().await;
    deployment.agent("etl", json!({"prefect": "0.15"}));
    deployment.schedule(FlowRunSpec::default());
    deployment.poll().await;
    let arn = deployment.world.ecs_tasks()[0].definition_arn.clone();
    let denied = FaultKind::Status {
        status: 400,
        body: json!({"__type": "AccessDeniedException", "message": "not authorized to perform: ecs:DescribeTaskDefinition"})
            .to_string(),
        content_type: "application/x-amz-json-1.1".into(),
    };
    deployment.world.fault(Fault::new("ecs", "DescribeTaskDefinition", denied).always());
    let run_config = json!({"type": "ECSRun", "task_definition_arn": arn, "__version__": "1.4.1"});
    let run = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
}
