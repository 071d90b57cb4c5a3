//! What a run asks of ECS otherwise than with Python's worker or agent: said by `init`, and so done by the function.

use super::{API_KEY, POOL, deployed, init, pool, role, stock};
use crate::command::process::end;
use crate::support::{Deployment, KEY, ROOT, ids};
use serde_json::{Value, json};
use world::prefect1::FlowRunSpec;
use world::prefect3::{Auth, RunSpec};

/// A role that may read the deployment's secrets, by its path.
fn own_role() -> String {
    role(&format!("prefect-serverless-agent{ROOT}/exec"))
}

fn of(request: &str, path: &str, theirs: Value, ours: Value) -> Value {
    json!({"request": request, "path": path, "theirs": theirs, "ours": ours})
}

fn named(agent: &str) -> [Value; 2] {
    let token = of("RunTask", "clientToken", Value::Null, json!("[of the run and its turn]"));
    [token, of("RunTask", "startedBy", Value::Null, json!(format!("prefect/{agent}/[flow run id]")))]
}

fn tag() -> Value {
    let path = "tags.prefect-serverless-agent:definition";
    of("RegisterTaskDefinition", path, Value::Null, json!("[hash of what it says]"))
}

/// The differences of the key's delivery as a secret: of `RunTask`, and of the definition.
fn as_secret(agent: &str, variable: &str, secret: &str) -> [Value; 2] {
    let arn = format!("arn:aws:ssm:us-east-1:{}:parameter{ROOT}/secrets/{agent}/api-key", world::ACCOUNT);
    [
        of("RunTask", variable, json!("[redacted]"), Value::Null),
        of("RegisterTaskDefinition", secret, Value::Null, json!(arn)),
    ]
}

fn launch<'a>(outcome: &'a Value, asker: &str) -> &'a Value {
    let launches = outcome["launches"].as_array().unwrap();
    launches.iter().find(|launch| launch["asker"] == asker).unwrap_or_else(|| panic!("{asker}: {outcome:#}"))
}

/// The service of a Python worker or agent.
fn service(deployment: &Deployment, environment: Value, command: &str) {
    let definition = json!({
        "family": "python", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "executionRoleArn": role("ecsTaskExecutionRole"),
        "containerDefinitions": [{
            "name": "python", "image": "prefecthq/prefect", "environment": environment, "command": ["sh", "-c", command],
        }],
    });
    deployment.world.ecs_service("infra", "python", &definition);
}

fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

#[tokio::test]
async fn a_run_of_a_worker_is_sent_as_the_worker_sends_it_but_for_what_is_said() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.ecs_cluster("flows");
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![API_KEY.into()] });
    deployed(&deployment, "daily", json!({}));
    let stock = end(init(&deployment, folder.path(), &format!("--yes --root {ROOT} --agent etl"))).await.well();
    let expected = "\
A run's RunTask is the worker's, but for:
  clientToken: [of the run and its turn] (a launch happens once)
  startedBy: prefect/etl/[flow run id] (its task is found again)
The RegisterTaskDefinition of a run's own definition is the worker's, but for:
  tags.prefect-serverless-agent:definition: [hash of what it says] (found again, it is not registered again)
";
    assert!(stock.stdout.contains(expected), "{stock:?}");

    let own = deployed(&deployment, "own", json!({"execution_role_arn": own_role()}));
    deployed(&deployment, "gone", json!({"task_definition_arn": "team:7"}));
    deployed(&deployment, "wrong", json!({"vpc_id": 7, "network_configuration": {"subnets": ["subnet-1"]}}));
    let url = deployment.world.prefect3_url();
    let environment = json!([variable("PREFECT_API_URL", &url), variable("PREFECT_API_KEY", API_KEY)]);
    service(&deployment, environment, &format!("prefect worker start --pool {POOL} --type ecs"));
    deployed(&deployment, "named", json!({"task_definition_arn": "python:1"}));
    let line = format!("--from-service infra/python --write --yes --root {ROOT} --agent etl");
    let from_service = |line: &str| {
        let mut command = init(&deployment, folder.path(), line);
        command.env_remove("PREFECT_API_URL").env_remove("PREFECT_API_KEY");
        command
    };
    let outcome = end(from_service(&format!("{line} --json"))).await.well().json();
    let [token, started_by] = named("etl");
    let daily = json!([token, started_by, tag()]);
    assert_eq!(launch(&outcome, "hello/daily")["differences"], daily, "{outcome:#}");
    let [variable, secret] = as_secret(
        "etl",
        "overrides.containerOverrides[0].environment.PREFECT_API_KEY",
        "containerDefinitions[0].secrets.PREFECT_API_KEY",
    );
    let differences = &launch(&outcome, "hello/own")["differences"];
    assert_eq!(*differences, json!([variable, token, started_by, secret, tag()]), "{outcome:#}");
    assert_eq!(launch(&outcome, "hello/named")["differences"], json!([token, started_by]), "{outcome:#}");
    assert_eq!(launch(&outcome, "hello/gone")["differences"], Value::Null, "the request is not known");
    assert_eq!(launch(&outcome, "hello/wrong").get("differences"), None, "there is no request");
    let shown = end(from_service(&line)).await.well().stdout;
    assert!(
        shown.contains("theirs is [redacted] (a container secret holds it); hello/own only\n")
            && shown.contains("environment); hello/own only\n")
            && !shown.contains("hello/gone only")
            && !format!("{shown}{outcome}").contains(API_KEY),
        "{shown}"
    );

    // The function sends what was said.
    let run = deployment.world.prefect3_run(RunSpec { deployment: Some(own), ..RunSpec::default() });
    let report = deployment.poll().await;
    assert_eq!(ids(&report["agents"]["etl"], "launched"), [run.clone()], "{report:#}");
    let sent = |operation: &str| -> Value {
        let requests = deployment.world.requests("ecs", operation);
        serde_json::from_str(&requests.last().unwrap().body).unwrap()
    };
    let (run_task, definition) = (sent("RunTask"), sent("RegisterTaskDefinition"));
    assert_eq!(run_task["startedBy"], format!("prefect/etl/{run}"), "{run_task:#}");
    assert!(
        run_task["clientToken"].as_str().is_some_and(|token| !token.is_empty() && token.len() <= 64),
        "{run_task:#}"
    );
    assert!(!run_task.to_string().contains("\"PREFECT_API_KEY\""), "{run_task:#}");
    assert_eq!(definition["containerDefinitions"][0]["secrets"][0]["valueFrom"], secret["ours"], "{definition:#}");
    let tags = definition["tags"].as_array().unwrap();
    assert!(tags.iter().any(|tag| tag["key"] == "prefect-serverless-agent:definition"), "{definition:#}");
    // And nothing else: what stands in the request is what was rendered for it.
    let rendered = launch(&outcome, "hello/own")["run_task"].as_object().unwrap();
    let added = run_task.as_object().unwrap().keys().filter(|key| !rendered.contains_key(*key));
    let mut added: Vec<&str> = added.map(String::as_str).collect();
    added.sort_unstable();
    assert_eq!(added, ["clientToken", "networkConfiguration", "startedBy", "taskDefinition"], "{run_task:#}");
}

#[tokio::test]
async fn a_run_of_prefect_1_is_sent_as_its_agent_sends_it_but_for_what_is_said() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let url = deployment.world.prefect1_url();
    let environment = json!([variable("PREFECT__CLOUD__API", &url), variable("PREFECT__CLOUD__API_KEY", KEY)]);
    service(&deployment, environment, "prefect agent ecs start --label prod --cluster flows --name etl");
    let line = format!("--from-service infra/python --yes --force --root {ROOT}");
    let shown = end(init(&deployment, folder.path(), &line)).await.well();
    let expected = "\
A run's RunTask is the agent's, but for:
  clientToken: [of the run and its turn] (a launch happens once)
  startedBy: prefect/etl/[flow run id] (its task is found again)
The RegisterTaskDefinition of a run's own definition is the agent's, but for:
";
    assert!(shown.stdout.contains(expected), "{shown:?}");

    let run_config = json!({"type": "ECSRun", "execution_role_arn": own_role()});
    let labels = crate::support::labels(&["prod"]);
    deployment.schedule(FlowRunSpec { run_config, labels, ..FlowRunSpec::default() });
    let outcome = end(init(&deployment, folder.path(), &format!("{line} --json"))).await.well().json();
    let [token, started_by] = named("etl");
    // Prefect 1 knows the key by two names.
    let [[key, key_secret], [other, other_secret]] =
        ["PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__AUTH_TOKEN"].map(|name| {
            let variable = format!("overrides.containerOverrides[0].environment.{name}");
            as_secret("etl", &variable, &format!("containerDefinitions[0].secrets.{name}"))
        });
    let expected = json!([key, other, token, started_by, other_secret, key_secret, tag()]);
    assert_eq!(launch(&outcome, "My Flow")["differences"], expected, "{outcome:#}");
    assert!(!format!("{outcome}{}", shown.stdout).contains(KEY), "{outcome:#}");
}
