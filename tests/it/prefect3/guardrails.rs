//! What a run asks for beyond its agent's guardrails: the run ends with a sentence, one line of the log tells those who look
//! after it, and nothing is registered or started.

use super::scene::Scene;
use crate::command::process::{agent as command, end};
use crate::support::{ROOT, ids};
use serde_json::{Value, json};

fn only_our_images(mode: &str) -> Value {
    json!({"guardrails": {"mode": mode, "images": ["registry.example.com/flows/*"], "public_ip": false}})
}

const ALLOWED: &str = "registry.example.com/flows/etl:1";

#[tokio::test]
async fn a_run_that_asks_for_more_ends_and_the_others_are_launched() {
    let scene = Scene::with(only_our_images("enforce")).await;
    let bad = scene.run_with(json!({"image": "evil.example.com/x:1"}));
    let good = scene.run_with(json!({"image": ALLOWED}));
    let function = scene.deployment.poll_function().await;
    let report = scene.poll_by(&function).await;
    assert_eq!((ids(&report, "failed"), ids(&report, "launched")), (vec![bad.clone()], vec![good]), "{report:#}");
    let message = scene.state(&bad).message.unwrap_or_default();
    let expected = "`images`: evil.example.com/x:1 in RegisterTaskDefinition.containerDefinitions[0].image (allowed: \
                    registry.example.com/flows/*)";
    assert!(message.contains(expected), "{message}");
    assert_eq!(scene.deployment.world.count("ecs", "RunTask"), 1);
    for request in scene.deployment.world.requests("ecs", "*") {
        assert!(!request.body.contains("evil.example.com"), "{}", request.body);
    }
    let log = function.stdout();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audit: Vec<&Value> =
        lines.iter().filter(|line| line.to_string().contains("asks for more than is allowed")).collect();
    let [audit] = audit.as_slice() else { panic!("one line: {audit:?}") };
    let said = audit.to_string();
    for part in ["\"etl\"", &bad, "\"images\"", "evil.example.com/x:1", "registry.example.com/flows/*", "deployment"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[tokio::test]
async fn in_report_mode_it_is_launched_and_told() {
    let scene = Scene::with(only_our_images("report")).await;
    let run = scene.run_with(json!({"image": "evil.example.com/x:1"}));
    let report = scene.poll().await;
    assert_eq!(ids(&report, "launched"), [run], "{report:#}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("asks for more than the guardrails allow") && warnings.contains("evil"), "{warnings}");
}

#[tokio::test]
async fn a_dry_run_shows_it() {
    let scene = Scene::with(only_our_images("enforce")).await;
    scene.run_with(json!({"image": "evil.example.com/x:1"}));
    let ended = end(command(&scene.deployment, &format!("poll --root {ROOT} --dry-run --json"))).await;
    let shown = ended.json();
    let operations: Vec<&str> =
        shown["requests"].as_array().unwrap().iter().filter_map(|request| request["operation"].as_str()).collect();
    assert_eq!(operations, ["claim", "fail", "log"], "{shown:#}");
    assert!(shown.to_string().contains("`images`: evil.example.com/x:1"), "{shown:#}");
}

#[tokio::test]
async fn a_network_that_nobody_named_is_private() {
    let scene = Scene::with(only_our_images("enforce")).await;
    scene.run_with(json!({"image": ALLOWED}));
    scene.poll().await;
    let network = scene.tasks()[0].request["networkConfiguration"]["awsvpcConfiguration"].clone();
    assert_eq!(network["assignPublicIp"], "DISABLED", "{network}");
}
