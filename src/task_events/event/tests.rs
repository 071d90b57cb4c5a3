#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::task_events::testing::{TASK_ARN, event_json};
use serde_json::json;
use time::macros::datetime;

#[test]
fn everything_that_matters_is_read() {
    let event = TaskEvent::read(&event_json(
        "STOPPED",
        &json!({
            "desiredStatus": "STOPPED", "startedBy": "prefect/etl/x", "stopCode": "EssentialContainerExited",
            "stoppedReason": "Essential container in task exited", "version": 7, "group": "family:fam",
            "launchType": "FARGATE", "capacityProviderName": "FARGATE_SPOT", "startedAt": "2026-01-02T03:05:00Z",
            "stoppedAt": "2026-01-02T03:06:00.5Z",
            "containers": [{"name": "flow", "containerArn": "arn:c", "exitCode": 137, "reason": "OutOfMemoryError",
                            "lastStatus": "STOPPED", "networkInterfaces": []}],
            "overrides": {"containerOverrides": [{"name": "flow", "environment": [{"name": "KEY", "value": "secret"}]}]},
        }),
    ))
    .unwrap();
    assert!(event.is_stopped());
    assert_eq!(event.task_arn, TASK_ARN);
    assert_eq!(event.task_id(), "0123456789abcdef0123456789abcdef");
    assert_eq!(event.time, Some(datetime!(2026-01-02 03:04:05 UTC)));
    assert_eq!(event.task.created_at, Some(datetime!(2026-01-02 03:04:01.123 UTC)));
    assert_eq!(event.task.stopped_at, Some(datetime!(2026-01-02 03:06:00.5 UTC)));
    assert_eq!(event.task.started_by.as_deref(), Some("prefect/etl/x"));
    assert_eq!(event.task.version, Some(7));
    assert_eq!(event.task.containers[0].exit_code, Some(137));
    assert_eq!(event.task.capacity_provider_name.as_deref(), Some("FARGATE_SPOT"));
    assert!(!format!("{event:?}").contains("secret"), "values of variables are not kept");
}

#[test]
fn null_is_as_good_as_absent() {
    let keys = ["clusterArn", "containers", "overrides", "version", "createdAt", "stopCode", "startedBy"];
    let nulls: Value =
        keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect::<serde_json::Map<_, _>>().into();
    let event = TaskEvent::read(&event_json("RUNNING", &nulls)).unwrap();
    assert_eq!(
        event.task,
        EventTask { task_definition_arn: event.task.task_definition_arn.clone(), ..EventTask::default() }
    );
}

#[test]
fn a_time_that_cannot_be_read_is_none() {
    let event = TaskEvent::read(&event_json("RUNNING", &json!({"createdAt": "yesterday"}))).unwrap();
    assert_eq!(event.task.created_at, None);
}

#[test]
fn a_time_that_has_no_place_in_utc_is_none() {
    for text in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"] {
        let mut event = event_json("RUNNING", &json!({"createdAt": text}));
        event["time"] = text.into();
        let event = TaskEvent::read(&event).unwrap();
        assert_eq!((event.time, event.task.created_at), (None, None), "{text}");
    }
    let described = json!({"taskArn": TASK_ARN, "lastStatus": "RUNNING", "createdAt": -99_999_999_999.0});
    assert_eq!(instant_of(&described, "createdAt"), None);
    assert_eq!(TaskEvent::of_description(&described).unwrap().task.created_at, None);
}

#[test]
fn what_is_no_event_of_a_task_is_ignored_with_a_reason() {
    let valid = event_json("STOPPED", &json!({}));
    let with = |pointer: &str, value: Value| {
        let mut event = valid.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        TaskEvent::read(&event).unwrap_err().to_string()
    };
    for event in [json!(null), json!([]), json!("text"), json!({}), json!({"agents": ["etl"]})] {
        assert!(TaskEvent::read(&event).unwrap_err().to_string().contains("not an event"), "{event}");
    }
    assert!(with("/detail-type", json!("ECS Deployment State Change")).contains("not an event"));
    assert!(with("/source", json!("my.own")).contains("not an event"));
    assert!(with("/detail/taskArn", json!(null)).contains("no taskArn"));
    assert!(with("/detail/lastStatus", json!("")).contains("no lastStatus"));
    assert!(with("/detail", json!(null)).contains("no taskArn"));
    assert!(with("/detail/containers", json!({"a": 1})).contains("not of the documented shape"));
    assert!(with("/detail/version", json!("five")).contains("not of the documented shape"));
}
