#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json as reply};
use std::sync::atomic::{AtomicBool, Ordering};

async fn lines(server: &Server, region: Option<&str>) -> Result<Vec<String>, AwsError> {
    let aws = server.clients().await.for_agent(None, None).await;
    aws.logs.last_lines(region, "/prefect/flows", "p/flow/0123", 2).await
}

#[tokio::test]
async fn the_last_lines_of_a_stream_are_asked_for() {
    let server = Server::start(|_: &Request| {
        reply(200, &json!({"events": [{"timestamp": 1, "message": "one"}, {"timestamp": 2, "message": "two"}]}))
    })
    .await;
    assert_eq!(lines(&server, None).await.unwrap(), ["one", "two"]);
    let request = &server.requests()[0];
    assert_eq!(request.header("x-amz-target"), "Logs_20140328.GetLogEvents");
    assert!(request.header("authorization").contains("/eu-west-1/logs/aws4_request"));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let expected = json!({
        "logGroupName": "/prefect/flows", "logStreamName": "p/flow/0123", "limit": 2, "startFromHead": false,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn another_region_is_asked_there() {
    let server = Server::start(|_: &Request| reply(200, &json!({"events": []}))).await;
    assert!(lines(&server, Some("us-east-2")).await.unwrap().is_empty());
    assert!(server.requests()[0].header("authorization").contains("/us-east-2/logs/aws4_request"));
}

#[tokio::test]
async fn a_stream_that_does_not_exist_has_no_lines_and_a_refusal_is_an_error() {
    for (code, missing) in [("ResourceNotFoundException", true), ("AccessDeniedException", false)] {
        let server = Server::start(move |_: &Request| -> Reply {
            reply(400, &json!({"__type": code, "message": "The specified log stream does not exist."}))
        })
        .await;
        assert_eq!(lines(&server, None).await.is_ok(), missing, "{code}");
    }
}

#[tokio::test]
async fn an_answer_without_a_list_of_events_is_not_taken_for_no_lines() {
    for odd in [json!({}), json!({"events": null}), json!([]), json!(7)] {
        let answer = odd.clone();
        let server = Server::start(move |_: &Request| reply(200, &answer)).await;
        assert!(matches!(lines(&server, None).await, Err(AwsError::Malformed(_))), "{odd}");
    }
}

#[tokio::test]
async fn throttling_that_comes_as_a_bad_request_is_waited_out() {
    let first = AtomicBool::new(true);
    let server = Server::start(move |_: &Request| -> Reply {
        if first.swap(false, Ordering::SeqCst) {
            return reply(400, &json!({"__type": "ThrottlingException", "message": "Rate exceeded"}));
        }
        reply(200, &json!({"events": [{"message": "one"}]}))
    })
    .await;
    assert_eq!(lines(&server, None).await.unwrap(), ["one"]);
    assert_eq!(server.requests().len(), 2);
}
