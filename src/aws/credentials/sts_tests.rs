#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, clients, closed_port, text};
use serde_json::json;
use std::time::SystemTime;

async fn sts(server: &Server) -> Sts {
    Sts::new(server.clients().await.own.clone())
}

fn session(expiration: &str) -> Reply {
    text(
        200,
        &format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s&amp;t\
             </SecretAccessKey><SessionToken>token</SessionToken>{expiration}</Credentials></AssumeRoleResult>\
             </AssumeRoleResponse>"
        ),
    )
}

fn refused(status: u16, code: &str) -> Reply {
    text(status, &format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"))
}

#[tokio::test]
async fn every_parameter_of_assume_role_is_passed_on() {
    let server = Server::start(|_: &Request| session("<Expiration>2026-11-27T12:00:00Z</Expiration>")).await;
    let parameters = json!({
        "RoleArn": "arn:aws:iam::999999999999:role/flows", "ExternalId": "a b+c", "DurationSeconds": 900,
        "PolicyArns": [{"arn": "p1"}, {"arn": "p2"}], "Tags": [{"Key": "team", "Value": "etl"}],
        "TransitiveTagKeys": ["team"], "SourceIdentity": null,
    });
    let credentials = sts(&server).await.assume_role(parameters.as_object().unwrap()).await.unwrap();
    assert_eq!((credentials.access_key_id(), credentials.secret_access_key()), ("ASIA", "s&t"));
    assert_eq!(credentials.session_token(), Some("token"));
    let end: SystemTime = time::macros::datetime!(2026-11-27 12:00 UTC).into();
    assert_eq!(credentials.expiry(), Some(end));
    assert_eq!(
        server.requests()[0].body,
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A999999999999%3Arole%2Fflows\
         &ExternalId=a%20b%2Bc&DurationSeconds=900&PolicyArns.member.1.arn=p1&PolicyArns.member.2.arn=p2\
         &Tags.member.1.Key=team&Tags.member.1.Value=etl&TransitiveTagKeys.member.1=team"
    );
}

#[tokio::test]
async fn credentials_without_an_end_are_none() {
    for expiration in ["", "<Expiration>soon</Expiration>"] {
        let server = Server::start(move |_: &Request| session(expiration)).await;
        let error = sts(&server).await.assume_role(&Map::new()).await.unwrap_err();
        assert!(matches!(error, AwsError::Malformed(_)), "{expiration}: {error:?}");
    }
}

#[tokio::test]
async fn a_refusal_comes_with_its_code_and_is_not_repeated() {
    let server = Server::start(|_: &Request| refused(403, "AccessDenied")).await;
    let error = sts(&server).await.assume_role(&Map::new()).await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn who_calls_is_asked_once() {
    let server = Server::start(|_: &Request| {
        text(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>",
        )
    })
    .await;
    let aws = server.clients().await;
    for _ in 0..2 {
        assert_eq!(aws.account().await.as_deref(), Ok("123456789012"));
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].body, "Action=GetCallerIdentity&Version=2011-06-15");
    assert!(requests[0].header("authorization").contains("/eu-west-1/sts/aws4_request"));
}

#[tokio::test]
async fn who_calls_is_asked_again_when_nobody_answered() {
    let nowhere = closed_port();
    let aws = clients(&nowhere, &[]).await;
    assert!(matches!(aws.account().await, Err(AwsError::NotSent(_))));
    assert!(matches!(aws.account().await, Err(AwsError::NotSent(_))), "no failure is remembered");
}
