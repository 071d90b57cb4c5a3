#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::task_events::testing::event_json;
use serde_json::json;

fn event() -> Value {
    event_json("STOPPED", &json!({}))
}

fn record(payload: &Value) -> Value {
    json!({
        "version": "1.0", "timestamp": "2026-11-24T12:00:00Z",
        "requestContext": {"requestId": "r", "functionArn": "arn:x", "condition": "RetriesExhausted"},
        "requestPayload": payload, "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": "TaskEventFailed"},
    })
}

fn received(payloads: &[Value]) -> Value {
    let message = |payload: &Value| json!({"MessageId": "m", "ReceiptHandle": "h", "Body": payload.to_string()});
    json!({"Messages": payloads.iter().map(message).collect::<Vec<_>>()})
}

fn batch(payloads: &[Value]) -> Value {
    let message = |payload: &Value| json!({"messageId": "m", "body": payload.to_string(), "eventSource": "aws:sqs"});
    json!({"Records": payloads.iter().map(message).collect::<Vec<_>>()})
}

fn message(payload: &Value) -> Value {
    received(std::slice::from_ref(payload))["Messages"][0].clone()
}

#[test]
fn an_event_is_found_in_every_envelope_and_in_envelopes_of_envelopes() {
    let one = |given: &Value| <[_; 1]>::try_from(events(given)).unwrap()[0].clone();
    let several = |pack: fn(&[Value]) -> Value| move |given: &Value| pack(std::slice::from_ref(given));
    let packs: [&dyn Fn(&Value) -> Value; 4] = [&record, &message, &several(received), &several(batch)];
    assert_eq!(one(&event()), Ok(event()));
    for first in packs {
        assert_eq!(one(&first(&event())), Ok(event()));
        for second in packs {
            for third in packs {
                let given = third(&second(&first(&event())));
                assert_eq!(one(&given), Ok(event()), "{given}");
                assert_eq!(one(&record(&given)), Ok(event()), "handed back once more: {given}");
                let error = one(&record(&record(&given))).unwrap_err().to_string();
                assert!(error.contains("yet another envelope"), "{error}");
            }
        }
    }
    let read_already = json!({"Messages": [{"Body": record(&event())}]});
    assert_eq!(one(&read_already), Ok(event()));
}

#[test]
fn a_batch_is_its_messages_in_order_and_one_that_is_wrong_leaves_the_others() {
    let other = event_json("RUNNING", &json!({}));
    let given = batch(&[event(), json!("poll"), record(&other)]);
    let found = events(&given);
    assert_eq!((found.len(), &found[0], &found[2]), (3, &Ok(event()), &Ok(other)));
    assert!(found[1].as_ref().unwrap_err().to_string().starts_with("message 2 of 3: "), "{found:?}");
}

#[test]
fn anything_else_is_said_to_be_none_with_what_it_is() {
    let with = |key: &str, value: Value| {
        let mut event = event();
        event[key] = value;
        event
    };
    let mut without_source = event();
    without_source.as_object_mut().unwrap().shift_remove("source");
    for (given, said) in [
        (json!(null), "nothing"),
        (json!([event()]), "a list of 1"),
        (json!({}), "an empty object"),
        (json!({"agents": ["etl"]}), "`agents`"),
        (json!("poll"), "\"poll\""),
        (json!(7), "this is 7"),
        (without_source, "`detail-type`"),
        (with("source", json!("aws.ec2")), "of \"aws.ec2\""),
        (with("detail-type", json!("ECS Service Action")), "ECS Service Action"),
        (with("detail", json!("text")), "no `detail`"),
        (json!({"Messages": []}), "no message"),
        (json!({"Messages": [{"MessageId": "m"}]}), "message 1 of 1: this is an object with `MessageId`"),
        (json!({"Body": "no JSON"}), "the message's body: this is the text \"no JSON\""),
        (json!({"requestPayload": null}), "`requestPayload`: there is nothing"),
        (json!({"Records": {"body": "x"}}), "`Records`"),
    ] {
        let error = events(&given).remove(0).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("what is understood is"), "{given}: {error}");
    }
    let huge = json!({"x".repeat(100_000): "y", "Body": format!("{}", "[".repeat(20_000))});
    let error = events(&huge).remove(0).unwrap_err().to_string();
    assert!(error.len() < 600, "{error}");
}
