#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};

#[tokio::test]
async fn an_event_is_queued_and_not_waited_for() {
    let server = Server::start(|_: &Request| Reply::Answer(202, vec![], String::new())).await;
    let function = "arn:aws:lambda:eu-west-1:1:function:poll";
    server.clients().await.lambda.invoke_event(function, Bytes::from_static(b"{\"poke\":true}")).await.unwrap();
    let request = &server.requests()[0];
    let target = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A1%3Afunction%3Apoll/invocations";
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", target));
    assert_eq!(request.header("x-amz-invocation-type"), "Event");
    assert_eq!(request.body, "{\"poke\":true}");
    assert!(request.header("authorization").contains("/eu-west-1/lambda/aws4_request"));
}

#[tokio::test]
async fn a_refusal_is_sent_once_and_keeps_its_code() {
    let server = Server::start(|_: &Request| {
        let body =
            serde_json::json!({"Type": "User", "Message": "Rate Exceeded.", "Reason": "CallerRateLimitExceeded"});
        let Reply::Answer(_, _, body) = json(429, &body) else { panic!("an answer") };
        Reply::Answer(429, vec![("x-amzn-errortype", "TooManyRequestsException".into())], body)
    })
    .await;
    let error = server.clients().await.lambda.invoke_event("poll", Bytes::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "TooManyRequestsException: Rate Exceeded.");
    assert!(error.is_throttled());
    assert_eq!(server.requests().len(), 1);
}
