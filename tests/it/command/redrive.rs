//! `prefect-serverless-agent redrive`: what could not be told comes back to the queue of task events, whatever is around it.

use super::check::scene::{DEAD_LETTERS, FAILURES, QUEUE, STACK, Scene};
use super::process::{Ended, agent, end};
use crate::support::ROOT;
use serde_json::{Value, json};
use time::OffsetDateTime;
use world::{Fault, FaultKind};

fn event(number: usize) -> Value {
    let task = format!("arn:aws:ecs:us-east-1:123456789012:task/blue/{number:032}");
    json!({
        "id": format!("e{number}"), "source": "aws.ecs", "detail-type": "ECS Task State Change",
        "detail": {"taskArn": task, "lastStatus": "STOPPED"}, "resources": [task],
    })
}

/// What Lambda leaves in the queue of failures.
fn record(event: &Value) -> Value {
    json!({"version": "1.0", "requestContext": {"condition": "RetriesExhausted"}, "requestPayload": event})
}

impl Scene {
    fn waits(&self, queue: &str, bodies: impl IntoIterator<Item = Value>) {
        let mut state = self.deployment.world.lock();
        let queue = state.sqs.queue(queue).unwrap();
        bodies.into_iter().for_each(|body| queue.send(&body.to_string(), OffsetDateTime::UNIX_EPOCH));
    }

    fn bodies(&self, queue: &str) -> Vec<Value> {
        let mut state = self.deployment.world.lock();
        let messages = &state.sqs.queue(queue).unwrap().messages;
        messages.iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect()
    }

    async fn redrive(&self, line: &str) -> Ended {
        end(agent(&self.deployment, &format!("redrive --root {ROOT} {line}"))).await
    }
}

#[tokio::test]
async fn everything_that_waits_is_sent_again_without_what_is_around_it() {
    let scene = Scene::healthy().await;
    scene.waits(DEAD_LETTERS, (0..25).map(event));
    scene.waits(FAILURES, [record(&event(25)), json!({"Records": [{"body": event(26).to_string()}]})]);
    let ended = scene.redrive("").await.well();
    assert_eq!(
        ended.stdout,
        format!(
            "{STACK}-task-events-dead-letters: 25 events sent again\n{STACK}-task-events-failures: 2 events sent again\n"
        )
    );
    let mut sent = scene.bodies(QUEUE);
    sent.sort_by_key(|event| event["detail"]["taskArn"].to_string());
    assert_eq!(sent, (0..27).map(event).collect::<Vec<_>>());
    assert!(scene.bodies(DEAD_LETTERS).is_empty() && scene.bodies(FAILURES).is_empty());
    let ended = scene.redrive("").await.well();
    assert!(ended.stdout.contains("dead-letters: nothing waits there"), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_event_stays_and_is_named() {
    let scene = Scene::healthy().await;
    scene.waits(DEAD_LETTERS, [event(1), json!({"hello": "world"})]);
    let ended = scene.redrive("--json").await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = ended.json();
    assert_eq!((&said["queues"][0]["events"], &said["queues"][1]["events"]), (&json!(1), &json!(0)), "{said}");
    let why = said["queues"][0]["kept"][0].as_str().unwrap();
    assert!(why.starts_with("this is an object with `hello`"), "{why}");
    assert_eq!((scene.bodies(DEAD_LETTERS), scene.bodies(QUEUE)), (vec![json!({"hello": "world"})], vec![event(1)]));
    let again = scene.redrive("").await;
    assert_eq!(again.code, Some(3), "it is there, and not hidden: {again:?}");
}

#[tokio::test]
async fn nothing_is_deleted_that_was_not_sent() {
    let scene = Scene::healthy().await;
    scene.waits(DEAD_LETTERS, [event(1)]);
    let kind = FaultKind::AwsError { status: 403, code: "AccessDeniedException".into(), message: "no".into() };
    scene.deployment.world.fault(Fault::new("sqs", "SendMessage", kind).always());
    let ended = scene.redrive("").await;
    assert!(ended.code == Some(1) && ended.stderr.contains("AccessDenied"), "{ended:?}");
    assert_eq!((scene.bodies(DEAD_LETTERS).len(), scene.bodies(QUEUE).len()), (1, 0));
    // What was refused may be received again at once.
    scene.deployment.world.lock().faults.clear();
    let ended = scene.redrive("").await.well();
    assert!(ended.stdout.contains("1 event sent again"), "{ended:?}");
    scene.deployment.world.lock().cloudformation.stacks.clear();
    let ended = scene.redrive("").await;
    assert!(ended.stderr.contains("no stack of us-east-1 has /psa/test as its ParameterRoot"), "{ended:?}");
}

#[tokio::test]
async fn a_stack_of_an_earlier_version_has_no_queue_to_send_to() {
    let scene = Scene::healthy().await;
    scene.deploy_former();
    let ended = scene.redrive("").await;
    assert!(ended.code == Some(1) && ended.stderr.contains("has no queue of task events"), "{ended:?}");
}
