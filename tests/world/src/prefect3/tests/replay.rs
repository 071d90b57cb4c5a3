//! Recorded conversations with the real server 3.8.8, sent again: every answer must be the recorded one but for
//! identifiers, times and names that are made up.

use super::send;
use crate::{
    World,
    prefect3::{control, ecs_template},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// Recorded identifiers, and what this world has for them.
type Known = BTreeMap<String, String>;

/// What nobody acts on, or what is made up.
const IGNORED: [&str; 9] = [
    "path",
    "pull_steps",
    "entrypoint",
    "enforce_parameter_schema",
    "estimated_start_time_delta",
    "estimated_run_time",
    "total_run_time",
    "expiration",
    "last_polled",
];

fn is_id(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok()
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && crate::prefect3::times::parse(text).is_some()
}

/// What in `answer` differs from `recorded`; identifiers must differ in the same way everywhere.
fn difference(path: &str, recorded: &Value, answer: &Value, known: &mut Known) -> Option<String> {
    match (recorded, answer) {
        (Value::Object(recorded), Value::Object(answer)) => {
            if let Some(key) = answer.keys().find(|key| !recorded.contains_key(*key)) {
                return Some(format!("{path}.{key} was not there"));
            }
            recorded.iter().filter(|(key, _)| !IGNORED.contains(&key.as_str())).find_map(|(key, value)| {
                let path = format!("{path}.{key}");
                match (key.as_str(), answer.get(key)) {
                    (_, None) => Some(format!("{path} is missing")),
                    ("token", Some(Value::String(own))) => {
                        known.insert(value.as_str()?.to_owned(), own.clone());
                        None
                    }
                    ("base_job_template", Some(own)) if value == "…" => {
                        (*own != ecs_template()).then(|| format!("{path} is {own}"))
                    }
                    (_, Some(own)) => difference(&path, value, own, known),
                }
            })
        }
        (Value::Array(recorded), Value::Array(answer)) if recorded.len() == answer.len() => recorded
            .iter()
            .zip(answer)
            .enumerate()
            .find_map(|(index, (recorded, answer))| difference(&format!("{path}.{index}"), recorded, answer, known)),
        (Value::String(recorded), Value::String(answer)) if is_id(recorded) && is_id(answer) => {
            let expected = known.entry(recorded.clone()).or_insert_with(|| answer.clone());
            (expected != answer).then(|| format!("{path} is {answer}, not {expected} for {recorded}"))
        }
        (Value::String(recorded), Value::String(answer)) if is_time(recorded) && is_time(answer) => None,
        // Names of flow runs.
        (Value::String(recorded), Value::String(_))
            if path.rsplit('.').next() == Some("name") && recorded.contains('-') =>
        {
            None
        }
        _ => (recorded != answer).then(|| format!("{path} is {answer}, not {recorded}")),
    }
}

fn replaced(text: &str, known: &Known) -> String {
    known.iter().fold(text.to_owned(), |text, (recorded, own)| text.replace(recorded, own))
}

async fn replay(name: &str) -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/prefect3").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let capture: Value = serde_json::from_str(&text).unwrap();
    let world = World::new();
    let mut switches = capture["switches"].clone();
    // The recorded times are long past; nothing may be late for that.
    switches["services"] = json!(false);
    let command = |command: &str, body: Value| {
        control(&mut world.lock(), command, body).unwrap_or_else(|error| panic!("{name}: {command}: {error}"))
    };
    command("switches", switches);
    let mut known = Known::new();
    for (index, request) in capture["requests"].as_array().unwrap().iter().enumerate() {
        for before in request["before"].as_array().into_iter().flatten() {
            command(before["command"].as_str().unwrap(), before["body"].clone());
        }
        let headers: Vec<(String, String)> = request["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), replaced(value.as_str().unwrap(), &known)))
            .collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let body = if request["body"].is_null() { String::new() } else { request["body"].to_string() };
        let path = replaced(request["path"].as_str().unwrap(), &known);
        let line = format!("{} {path}", request["method"].as_str().unwrap());
        let answer = send(&world, &line, &headers, &replaced(&body, &known)).await;
        let told = format!("{name}, request {index}, {line} {}: {}", request["label"], answer.body);
        assert_eq!(json!(answer.status), request["status"], "{told}");
        assert_eq!(difference("", &request["response"], &answer.body, &mut known), None, "{told}");
    }
    world
}

#[tokio::test]
async fn what_the_server_said_to_single_requests() {
    replay("rest-experiments.json").await;
}

#[tokio::test]
async fn a_worker_launches_one_run() {
    let world = replay("launch.json").await;
    let run = &world.prefect3_flow_runs()[0];
    assert_eq!(run.history(), ["Scheduled", "Pending", "Submitting"]);
    assert!(run.infrastructure_pid.as_deref().unwrap().contains("::arn:aws:ecs:"), "{run:?}");
    assert_eq!(run.labels["prefect.worker.type"], "ecs");
}

#[tokio::test]
async fn a_container_executes_a_run() {
    let world = replay("flow-run-execute.json").await;
    assert_eq!(world.prefect3_flow_runs()[0].history(), ["Pending", "Running", "Completed"]);
}

#[tokio::test]
async fn a_worker_meets_basic_auth_csrf_and_cancellation() {
    let world = replay("worker-cancellation-auth-csrf.json").await;
    let [pending, running] = &world.prefect3_flow_runs()[..] else { panic!("two runs were recorded") };
    assert_eq!(pending.history(), ["Scheduled", "Pending", "Submitting", "Cancelling", "Cancelled"]);
    assert_eq!(running.history(), ["Scheduled", "Pending", "Submitting", "Running", "Cancelling", "Cancelled"]);
}
