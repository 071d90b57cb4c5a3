#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Whole bodies are compared with the golden cases.
use super::*;
use crate::task_events::testing::{NOW, RUN_ID, event, event_json};
use serde_json::json;

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(name, value)| (format!("prefect.io/{name}"), (*value).to_owned())).collect()
}

fn body(event: &TaskEvent, tags: &Tags) -> Value {
    replicated(event, RUN_ID, tags, "3.8.8", NOW).unwrap()
}

#[test]
fn a_task_whose_tags_are_gone_is_still_told_of_its_run() {
    let body = body(&event("STOPPED", &json!({})), &Tags::new());
    assert_eq!(
        body["related"],
        json!([{"prefect.resource.id": format!("prefect.flow-run.{RUN_ID}"), "prefect.resource.role": "flow-run"}])
    );
}

#[test]
fn what_a_tag_does_not_say_is_left_out() {
    let tags =
        tags(&[("deployment-id", "d"), ("flow-id", ""), ("flow-name", "f"), ("worker-name", "ECSWorker 01a2_b")]);
    let body = body(&event("RUNNING", &json!({"clusterArn": null})), &tags);
    assert_eq!(body["event"], "prefect.ecs.task.running");
    assert_eq!(body["resource"].get("ecs.clusterArn"), None);
    assert_eq!(
        body["related"].as_array().unwrap()[1..],
        [
            json!({"prefect.resource.id": "prefect.deployment.d", "prefect.resource.role": "deployment"}),
            json!({
                "prefect.resource.id": "prefect.worker.ecs.ecsworker-01a2-b", "prefect.resource.role": "worker",
                "prefect.resource.name": "ECSWorker 01a2_b", "prefect.worker-type": "ecs", "prefect.version": "3.8.8",
            }),
        ]
    );
}

#[test]
fn times_are_utc_with_six_digits_or_none() {
    for (text, expected) in [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.120Z", "2026-01-02T03:04:05.120000Z"),
        ("2026-01-02T03:04:05.0000004Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05Z"),
    ] {
        let mut event = event_json("STOPPED", &json!({}));
        event["time"] = json!(text);
        assert_eq!(body(&TaskEvent::read(&event).unwrap(), &Tags::new())["occurred"], expected);
    }
    let timeless = TaskEvent { time: None, ..event("STOPPED", &json!({})) };
    assert_eq!(body(&timeless, &Tags::new())["occurred"], "2026-01-02T03:10:00Z");
}

#[test]
fn an_event_without_an_id_would_be_counted_twice_and_is_not_told() {
    for id in [None, Some("7".to_owned())] {
        let event = TaskEvent { id, ..event("STOPPED", &json!({})) };
        assert_eq!(replicated(&event, RUN_ID, &Tags::new(), "3.8.8", NOW), None);
    }
}
