#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, closed_port, json, text};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

const AGENTS_ROLE: &str = "arn:aws:iam::222222222222:role/launcher";

fn assumed(request: &Request, expiration: &str) -> Reply {
    let key = if request.body.contains("role%2Flauncher") { "AKIDLAUNCHER" } else { "AKIDFLOWS" };
    text(
        200,
        &format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>token-of-{key}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>A:s</AssumedRoleId><Arn>arn:aws:sts::222222222222:assumed-role/l/s</Arn>\
             </AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
        ),
    )
}

async fn any_service() -> Server {
    Server::start(|request: &Request| match request.body.as_str() {
        body if body.contains("Action=AssumeRole") => assumed(request, "2999-01-01T00:00:00Z"),
        body if body.contains("Action=") => text(200, "<R><vpcSet/></R>"),
        _ => json(200, &json!({"taskArns": []})),
    })
    .await
}

fn keys() -> Credentials {
    Credentials::new("AKIDRUN", "secret", Some("token-of-run".into()), None, "test")
}

fn role() -> Option<Map<String, Value>> {
    json!({"RoleArn": "arn:aws:iam::999999999999:role/flows", "RoleSessionName": "s"}).as_object().cloned()
}

/// What signs each request: service, access key and region.
fn signers(server: &Server) -> Vec<(String, String, String)> {
    let signer = |request: &Request| {
        let scope = request.header("authorization").split_once("Credential=").unwrap().1;
        let parts: Vec<_> = scope.split(',').next().unwrap().split('/').map(str::to_owned).collect();
        (parts[3].clone(), parts[0].clone(), parts[2].clone())
    };
    server.requests().iter().map(signer).collect()
}

fn signed(service: &str, key: &str, region: &str) -> (String, String, String) {
    (service.into(), key.into(), region.into())
}

#[tokio::test]
async fn a_runs_own_keys_and_region_sign_all_its_calls() {
    let server = any_service().await;
    let aws = server.clients().await;
    let own = aws.for_agent(None, None).await;
    let account = Account { region: Some("us-west-2".into()), keys: Some(keys()), ..Account::default() };
    let theirs = aws.for_account(&own, &account);
    theirs.renew().await.unwrap();
    theirs.ecs.list_tasks(None, "x").await.unwrap();
    theirs.ec2.default_vpcs().await.unwrap();
    own.ecs.list_tasks(None, "x").await.unwrap();
    assert_eq!(
        signers(&server),
        [
            signed("ecs", "AKIDRUN", "us-west-2"),
            signed("ec2", "AKIDRUN", "us-west-2"),
            signed("ecs", "AKIDOWN", "eu-west-1")
        ]
    );
    assert_eq!(server.requests()[0].header("x-amz-security-token"), "token-of-run");
}

#[tokio::test]
async fn a_role_is_assumed_once_with_the_keys_at_hand() {
    for (keys, agents_role, with) in
        [(Some(keys()), None, "AKIDRUN"), (None, None, "AKIDOWN"), (None, Some(AGENTS_ROLE), "AKIDLAUNCHER")]
    {
        let server = any_service().await;
        let aws = server.clients().await;
        let own = {
            let role = agents_role.map(|arn| RoleToAssume { arn: arn.to_owned(), external_id: None });
            aws.for_agent(None, role.as_ref()).await
        };
        let account = Account { region: Some("us-west-2".into()), keys, role: role(), ..Account::default() };
        let theirs = aws.for_account(&own, &account);
        for _ in 0..2 {
            theirs.renew().await.unwrap();
            theirs.ecs.list_tasks(None, "x").await.unwrap();
            theirs.ec2.default_vpcs().await.unwrap();
        }
        let (assumed, calls): (Vec<_>, Vec<_>) = signers(&server).into_iter().partition(|signer| signer.0 == "sts");
        assert_eq!(assumed.last(), Some(&signed("sts", with, "us-west-2")), "{with}");
        assert_eq!(assumed.len(), 1 + usize::from(agents_role.is_some()), "{with}: {assumed:?}");
        assert!(calls.iter().all(|signer| signer.1 == "AKIDFLOWS"), "{with}: {calls:?}");
    }
}

#[tokio::test]
async fn credentials_that_end_soon_are_renewed_and_a_failed_renewal_does_no_harm_before_their_end() {
    let calls = AtomicUsize::new(0);
    let server = Server::start(move |request: &Request| {
        let soon = time::OffsetDateTime::now_utc() + time::Duration::seconds(100);
        let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => assumed(request, &soon),
            _ => text(403, "<E><Error><Code>AccessDenied</Code></Error></E>"),
        }
    })
    .await;
    let aws = server.clients().await;
    let own = aws.for_agent(None, None).await;
    let theirs = aws.for_account(&own, &Account { role: role(), ..Account::default() });
    for _ in 0..3 {
        theirs.renew().await.unwrap();
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_refused_role_says_what_sts_said() {
    let server = Server::start(|_: &Request| {
        text(403, "<E><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></E>")
    })
    .await;
    let aws = server.clients().await;
    let own = aws.for_agent(None, None).await;
    let theirs = aws.for_account(&own, &Account { role: role(), ..Account::default() });
    let error = theirs.renew().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"), "{error:?}");
    let error = theirs.ecs.list_tasks(None, "x").await.unwrap_err();
    assert!(matches!(error, AwsError::Credentials(_)), "a call without credentials is not sent: {error:?}");
}

#[tokio::test]
async fn an_sts_out_of_reach_is_told_apart_from_one_that_refuses() {
    let (server, nowhere) = (any_service().await, closed_port());
    let aws = server.clients_with(&[("AWS_ENDPOINT_URL_STS", &nowhere)]).await;
    let own = aws.for_agent(None, None).await;
    let theirs = aws.for_account(&own, &Account { role: role(), ..Account::default() });
    assert!(matches!(theirs.renew().await, Err(AwsError::NotSent(_))));
}

#[tokio::test]
async fn an_endpoint_of_the_runs_own_is_for_ecs_and_ec2_alone() {
    let (server, theirs) = (any_service().await, any_service().await);
    let aws = server.clients().await;
    let own = aws.for_agent(None, None).await;
    let account = Account { role: role(), endpoint_url: Some(theirs.url()), ..Account::default() };
    let clients = aws.for_account(&own, &account);
    clients.ecs.list_tasks(None, "x").await.unwrap();
    clients.ec2.default_vpcs().await.unwrap();
    assert_eq!(server.requests().len(), 1, "the role is assumed where roles are assumed");
    assert_eq!(theirs.requests().len(), 2);
}
