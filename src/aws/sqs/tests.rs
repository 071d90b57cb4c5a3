#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::AwsClients;
use crate::aws::test_server::{Reply, Request, Server, json as reply};
use crate::config::Environment;

const HIDDEN: Duration = Duration::from_mins(6);

async fn answering(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Server, Sqs) {
    let server = Server::start(answer).await;
    let sqs = server.clients().await.sqs.clone();
    (server, sqs)
}

#[tokio::test]
async fn each_operation_is_what_sqs_takes() {
    let (server, sqs) = answering(|request| match request.operation() {
        "ReceiveMessage" => reply(200, &json!({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "b"}]})),
        "SendMessage" => reply(200, &json!({"MessageId": "m", "MD5OfMessageBody": "x"})),
        _ => Reply::Answer(200, Vec::new(), String::new()),
    })
    .await;
    let received = sqs.receive("https://q", HIDDEN).await.unwrap();
    assert_eq!(received, [Message { receipt_handle: "r".into(), body: "b".into() }]);
    sqs.send("https://q", "b", Duration::from_mins(1)).await.unwrap();
    sqs.hide("https://q", "r", Duration::from_mins(15)).await.unwrap();
    sqs.delete("https://q", "r").await.unwrap();
    let asked: Vec<_> = server.requests().iter().map(|one| (one.operation().to_owned(), one.json())).collect();
    let of = |operation: &str, body: Value| (operation.to_owned(), body);
    let received =
        json!({"QueueUrl": "https://q", "MaxNumberOfMessages": 10, "VisibilityTimeout": 360, "WaitTimeSeconds": 1});
    let hidden = json!({"QueueUrl": "https://q", "ReceiptHandle": "r", "VisibilityTimeout": 900});
    let expected = [
        of("ReceiveMessage", received),
        of("SendMessage", json!({"QueueUrl": "https://q", "MessageBody": "b", "DelaySeconds": 60})),
        of("ChangeMessageVisibility", hidden),
        of("DeleteMessage", json!({"QueueUrl": "https://q", "ReceiptHandle": "r"})),
    ];
    assert_eq!(asked, expected);
    assert!(server.requests().iter().all(|one| one.header("content-type") == "application/x-amz-json-1.0"));
}

#[tokio::test]
async fn nothing_received_is_no_message_and_what_is_odd_is_an_error() {
    for (answer, count) in [
        (json!({}), Some(0)),
        (json!({"Messages": []}), Some(0)),
        (json!([]), None),
        (json!("ok"), None),
        (json!(null), None),
        (json!({"Messages": null}), None),
        (json!({"Messages": {}}), None),
        (json!({"Messages": [{"Body": "b"}]}), None),
        (json!({"Messages": [{"ReceiptHandle": "r", "Body": 7}]}), None),
    ] {
        let said = answer.clone();
        let (_server, sqs) = answering(move |_| reply(200, &said)).await;
        assert_eq!(sqs.receive("https://q", HIDDEN).await.ok().map(|found| found.len()), count, "{answer}");
    }
}

#[test]
fn a_queue_is_found_by_its_arn_in_its_own_region() {
    let environment: Environment =
        [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let sqs = AwsClients::from_env(&environment).unwrap().sqs;
    let url = sqs.url_of("arn:aws:sqs:us-east-2:123456789012:psa-task-events").unwrap();
    assert_eq!(url, "https://sqs.us-east-2.amazonaws.com/123456789012/psa-task-events");
    let url = sqs.url_of("arn:aws-cn:sqs:cn-north-1:123456789012:q").unwrap();
    assert_eq!(url, "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q");
    for odd in ["", "q", "arn:aws:sns:us-east-2:123456789012:q", "arn:aws:sqs:us-east-2::q", "arn:aws:sqs:us-east-2:1:"]
    {
        assert!(matches!(sqs.url_of(odd), Err(AwsError::NotSent(_))), "{odd}");
    }
}
