//! What comes around an event when a person hands it back: the failures' queue holds records of Lambda's failure destination
//! and what `EventBridge` could not deliver, and each is read and handed on in its own way. Nothing is lost silently.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use serde_json::{Value, json};
use world::ecs::Stop;

/// What Lambda leaves in the queue.
fn record(event: &Value) -> Value {
    json!({
        "version": "1.0", "timestamp": "2026-11-24T12:00:00.000Z",
        "requestContext": {"requestId": "r", "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": event, "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": "TaskEventFailed", "errorMessage": "agent etl: no answer"},
    })
}

/// What `aws sqs receive-message` prints.
fn received(bodies: &[Value]) -> Value {
    let message =
        |body: &Value| json!({"MessageId": "m", "ReceiptHandle": "h", "MD5OfBody": "x", "Body": body.to_string()});
    json!({"Messages": bodies.iter().map(message).collect::<Vec<_>>()})
}

/// What Lambda reads from a queue.
fn batch(bodies: &[Value]) -> Value {
    let message =
        |body: &Value| json!({"messageId": "m", "body": body.to_string(), "eventSource": "aws:sqs", "attributes": {}});
    json!({"Records": bodies.iter().map(message).collect::<Vec<_>>()})
}

#[tokio::test]
async fn an_event_is_told_in_whatever_it_is_handed_back() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let envelopes: [&dyn Fn(&Value) -> Value; 7] = [
            &record,
            &|event| received(&[event.clone()]),
            &|event| received(&[record(event)]),
            &|event| received(&[record(event)])["Messages"][0].clone(),
            &|event| batch(&[record(event)]),
            &|event| record(&received(&[record(event)])),
            &|event| batch(&[record(&received(&[record(event)])["Messages"][0])]),
        ];
        for envelope in envelopes {
            let (run, task) = scene.running().await;
            scene.world().ecs_stop(&task, &Stop::exited(1));
            let given = envelope(&scene.world().task_event(&task));
            let told = scene.told(given.clone()).await;
            assert!(done(&told).contains(&"ended"), "{prefect:?} {given}: {told}");
            assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}");
        }
    }
}

#[tokio::test]
async fn every_event_of_a_batch_is_told_and_an_error_says_which_were_not() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let ((first, first_task), (second, second_task)) = (scene.running().await, scene.running().await);
        for task in [&first_task, &second_task] {
            scene.world().ecs_stop(task, &Stop::exited(1));
        }
        let events = [&first_task, &second_task].map(|task| record(&scene.world().task_event(task)));
        let with_a_stranger = received(&[events[0].clone(), json!({"agents": ["etl"]}), events[1].clone()]);
        let error = scene.deliver(with_a_stranger).await.unwrap_err();
        assert_eq!(error.error_type, "TaskEventFailed", "{error:?}");
        assert!(
            error.error_message.contains("1 of 3 events") && error.error_message.contains("message 2 of 3"),
            "{error:?}"
        );
        assert_eq!(
            (scene.phase(&first), scene.phase(&second)),
            (Phase::Dead, Phase::Dead),
            "{prefect:?}: the others are told"
        );

        let told = scene.told(batch(&events)).await;
        assert_eq!(told["events"].as_array().unwrap().len(), 2, "{told}");
    }
}

#[tokio::test]
async fn what_is_no_event_of_a_task_is_an_error_that_says_what_it_is() {
    let scene = Scene::new(Prefect::One).await;
    let (run, task) = scene.launched().await;
    scene.world().ecs_stop(&task, &Stop::exited(1));
    let (event, before) = (scene.world().task_event(&task), scene.before(&run));
    let with = |key: &str, value: Option<Value>| {
        let mut event = event.clone();
        match value {
            Some(value) => event[key] = value,
            None => drop(event.as_object_mut().unwrap().remove(key)),
        }
        event
    };
    let others = [
        with("source", Some(json!("aws.ec2"))),
        with("source", None),
        with("detail-type", Some(json!("ECS Service Action"))),
        with("detail", Some(json!("text"))),
        with("detail", None),
        json!({}),
        json!([]),
        json!(null),
        json!("poll"),
        json!({"agents": ["etl"]}),
        received(&[]),
        json!({"Messages": [{"Body": "{\"requestPayload\": "}]}),
        json!({"requestPayload": {"agents": []}}),
    ];
    for other in others {
        let error = scene.deliver(other.clone()).await.expect_err("what is lost is not told of");
        assert_eq!(error.error_type, "TaskEventFailed", "{other}");
        assert!(error.error_message.contains("ECS Task State Change"), "{other}: {error:?}");
    }
    scene.is_unchanged(&before);
    assert_eq!(scene.world().count("prefect1", "watched"), 0);
}
