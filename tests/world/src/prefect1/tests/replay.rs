//! Recorded conversations of the real Python agents, sent again: every document must be understood, every answer must
//! have the recorded shape, and every run must end as it did.

use super::{seed, send};
use crate::{
    World,
    prefect1::{AgentConfig, Backend, FailRule, TENANT},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn capture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name);
    serde_json::from_str(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))).unwrap()
}

/// A world as it was before the recording.
fn world_of(capture: &Value) -> World {
    let world = World::new();
    world.prefect1(|prefect1| {
        if capture["backend"] == "server" {
            prefect1.switches.backend = Backend::Server;
        }
        prefect1.agent_configs.push(AgentConfig {
            id: "11111111-0000-4000-8000-000000000009".to_owned(),
            tenant_id: TENANT.to_owned(),
            name: None,
            settings: json!({"labels": ["zzz"], "env_vars": {"A": "b"}, "name": "cfg"}),
        });
    });
    for spec in capture["flow_runs"].as_array().unwrap() {
        seed(&world, spec.clone());
    }
    world
}

/// What in `answer` differs in shape from `recorded`; values count only where the agent acts on them.
fn difference(path: &str, recorded: &Value, answer: &Value) -> Option<String> {
    match (recorded, answer) {
        (Value::Object(recorded), Value::Object(answer)) => recorded.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match answer.get(key) {
                None => Some(format!("{path} is missing")),
                Some(other)
                    if matches!(key.as_str(), "status" | "code" | "flow_run_ids" | "state") && value.is_string() =>
                {
                    (value != other).then(|| format!("{path} is {other}, not {value}"))
                }
                Some(other) => difference(&path, value, other),
            }
        }),
        (Value::Array(recorded), Value::Array(answer)) => {
            if recorded.len() != answer.len() {
                return Some(format!("{path} has {} items, not {}", answer.len(), recorded.len()));
            }
            let pairs = recorded.iter().zip(answer).enumerate();
            pairs
                .into_iter()
                .find_map(|(index, (recorded, answer))| difference(&format!("{path}.{index}"), recorded, answer))
        }
        _ => {
            let same = std::mem::discriminant(recorded) == std::mem::discriminant(answer);
            (!same).then(|| format!("{path} is {answer}, not {recorded}"))
        }
    }
}

async fn replay(name: &str, world: &World, capture: &Value, skip: impl Fn(&Value) -> bool) {
    for (index, request) in capture["requests"].as_array().unwrap().iter().enumerate() {
        if skip(request) {
            continue;
        }
        let headers = request["headers"].as_object().unwrap();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
        let answer = send(world, &headers, request["body"].as_str().unwrap()).await;
        let told = format!("{name}, request {index} ({}): {}", request["operation"], answer.text);
        assert_eq!(Value::from(answer.status), request["status"], "{told}");
        let recorded: Value = serde_json::from_str(request["response"].as_str().unwrap()).unwrap();
        let difference = difference("", &recorded, &answer.json());
        assert_eq!(difference, None, "{told}");
    }
    for (id, end) in capture["ends"].as_object().unwrap() {
        let run = world.flow_run(id).unwrap();
        assert_eq!(json!({"state": run.state(), "version": run.version}), *end, "{name}: {:?}", run.history());
    }
}

async fn whole(name: &str) -> World {
    let capture = capture(name);
    let world = world_of(&capture);
    replay(name, &world, &capture, |_| false).await;
    world
}

#[tokio::test]
async fn cloud_with_key_and_tenant_launches_one_run() {
    let world = whole("cloud-key-tenant-15.json").await;
    let agents = world.prefect1_agents();
    assert_eq!(agents.len(), 1, "{agents:?}");
    assert_eq!(agents[0].agent_config_id.as_deref(), Some("11111111-0000-4000-8000-000000000009"));
    assert_eq!(agents[0].core_version.as_deref(), Some("0.15.0"));
    let logs = world.lock().prefect1.logs.clone();
    assert!(logs[0].message.as_deref().unwrap().starts_with("Submitted for execution: Task arn:"), "{logs:?}");
}

#[tokio::test]
async fn cloud_with_key_looks_its_tenant_up() {
    whole("cloud-key-14.json").await;
}

#[tokio::test]
async fn server_without_a_key() {
    whole("server-14.json").await;
}

#[tokio::test]
async fn a_task_retry_claims_the_task_run_only() {
    let world = whole("retry-15.json").await;
    let run = &world.flow_runs()[0];
    assert_eq!(run.history(), ["Running"]);
    let states: Vec<&str> = run.task_runs.iter().map(super::super::TaskRun::state).collect();
    assert_eq!(states, ["Submitted", "Success"]);
}

#[tokio::test]
async fn labels_decide_which_runs_an_agent_gets() {
    whole("server-unlabelled-vs-labelled-15.json").await;
}

#[tokio::test]
async fn a_key_that_nobody_knows() {
    let capture = capture("bad-key-14.json");
    let world = world_of(&capture);
    world.prefect1(|prefect1| prefect1.api_keys.clear());
    replay("bad-key-14.json", &world, &capture, |_| false).await;
}

#[tokio::test]
async fn a_submitted_run_refuses_an_agent_once() {
    let capture = capture("submitted-lock-14.json");
    let world = world_of(&capture);
    let refusal = "State update failed: this run has already been submitted.";
    world.prefect1(|prefect1| {
        prefect1.switches.fail.push(FailRule { times: 1, ..FailRule::new("set_flow_run_states", refusal) });
    });
    replay("submitted-lock-14.json", &world, &capture, |_| false).await;
}

#[tokio::test]
async fn version_locking_refuses_a_failed_state_with_the_old_version() {
    let capture = capture("version-lock-on-14.json");
    let world = world_of(&capture);
    world.prefect1(|prefect1| prefect1.switches.version_locking = true);
    replay("version-lock-on-14.json", &world, &capture, |_| false).await;
}

/// In the recording the queue stood behind Prefect Server's schema, which demands a tenant; Cloud took none.
#[tokio::test]
async fn token_mode_needs_no_tenant_on_cloud_and_fails_on_server() {
    let capture = capture("token-15.json");
    let world = world_of(&capture);
    let is_queue = |request: &Value| request["operation"] == "get_runs_in_queue";
    replay("token-15.json", &world, &capture, is_queue).await;
    let queue = capture["requests"].as_array().unwrap().iter().find(|request| is_queue(request)).unwrap();
    let headers = [("content-type", "application/json"), ("authorization", "Bearer tok")];
    let body = queue["body"].as_str().unwrap();

    let cloud = send(&world, &headers, body).await;
    assert_eq!(cloud.status, 200, "{}", cloud.text);
    let id = capture["flow_runs"][0]["id"].clone();
    assert_eq!(cloud.json(), json!({"data": {"get_runs_in_queue": {"flow_run_ids": [id]}}}));

    let server = send(&super::server(), &headers, body).await;
    assert_eq!(server.status, 400, "{}", server.text);
    assert_eq!(server.json()["errors"][0]["extensions"]["code"], "INTERNAL_SERVER_ERROR", "{}", server.text);
    assert!(server.json().get("data").is_none(), "{}", server.text);
}
