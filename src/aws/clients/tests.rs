#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::AwsError;
use crate::aws::test_server::{Reply, Request, Server, clients, closed_port, json, text};
use serde_json::json;

const ROLE: &str = "arn:aws:iam::222222222222:role/launcher";

fn role(external_id: Option<&str>) -> RoleToAssume {
    RoleToAssume { arn: ROLE.to_owned(), external_id: external_id.map(str::to_owned) }
}

fn sts_answer() -> Reply {
    text(
        200,
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
         <AssumedRoleId>A:s</AssumedRoleId><Arn>arn:aws:sts::222222222222:assumed-role/launcher/s</Arn>\
         </AssumedRoleUser><Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>rs</SecretAccessKey>\
         <SessionToken>role-token</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>",
    )
}

fn vpcs() -> Reply {
    text(200, "<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>")
}

async fn any_service() -> Server {
    Server::start(|request: &Request| match request.body.as_str() {
        body if body.contains("Action=AssumeRole") => sts_answer(),
        body if body.contains("Action=DescribeVpcs") => vpcs(),
        _ => json(200, &json!({"taskArns": []})),
    })
    .await
}

/// Answers every request with its URL.
#[derive(Debug)]
struct Echo(std::sync::mpsc::Sender<String>);

impl crate::http::Exchange for Echo {
    fn exchange(
        &self,
        request: crate::http::Request,
    ) -> futures_util::future::BoxFuture<'_, Result<crate::http::Answer, crate::http::SendError>> {
        let _ = self.0.send(request.url);
        let body = "{\"taskArns\": []}".into();
        Box::pin(async { Ok(crate::http::Answer { status: 200, headers: http::HeaderMap::new(), body }) })
    }
}

#[tokio::test]
async fn all_requests_leave_by_the_way_that_is_given_the_sdks_and_those_that_we_sign() {
    let (sender, urls) = std::sync::mpsc::channel();
    let environment = [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let aws = AwsClients::over(Http::over(Echo(sender)), &environment).unwrap().for_agent(None, None).await;
    assert_eq!(aws.ecs.list_tasks(None, "prefect/etl/1").await, Ok(Vec::new()));
    assert!(aws.ec2.default_vpcs().await.is_err(), "no XML");
    let hosts: Vec<String> = urls.try_iter().map(|url| url.split('/').nth(2).unwrap().to_owned()).collect();
    assert_eq!(hosts[..2], ["ecs.eu-west-1.amazonaws.com", "ec2.eu-west-1.amazonaws.com"]);
}

#[tokio::test]
async fn every_service_honours_its_own_endpoint() {
    let (ecs, ec2, sts, ssm) = (any_service().await, any_service().await, any_service().await, any_service().await);
    let nowhere = closed_port();
    let variables = [
        ("AWS_ENDPOINT_URL_ECS", ecs.url()),
        ("AWS_ENDPOINT_URL_EC2", ec2.url()),
        ("AWS_ENDPOINT_URL_STS", sts.url()),
        ("AWS_ENDPOINT_URL_SSM", ssm.url()),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let aws = clients(&nowhere, &variables).await;
    let agent = aws.for_agent(None, Some(&role(None))).await;
    agent.ecs.list_tasks(None, "x").await.unwrap();
    agent.ec2.default_vpcs().await.unwrap();
    aws.ssm.parameter_history("/p").await.unwrap();
    let counts = [&ecs, &ec2, &sts, &ssm].map(|server| server.requests().len());
    assert_eq!(counts, [1, 1, 1, 1], "ecs, ec2, sts, ssm");
}

#[tokio::test]
async fn an_endpoint_of_ones_own_is_taken_as_it_is() {
    let server = any_service().await;
    let switches = [("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "true")];
    let aws = server.clients_with(&switches).await;
    let agent = aws.for_agent(None, Some(&role(None))).await;
    agent.ecs.list_tasks(None, "x").await.unwrap();
    agent.ec2.default_vpcs().await.unwrap();
    aws.ssm.parameter_history("/p").await.unwrap();
    assert_eq!(server.requests().len(), 4, "the role is assumed there too: {:?}", server.requests());
}

#[tokio::test]
async fn a_switch_that_is_neither_on_nor_off_is_told() {
    let environment = HashMap::from([("AWS_USE_FIPS_ENDPOINT".to_owned(), "1".to_owned())]);
    let error = AwsClients::from_default_chain(&environment).await.unwrap_err().to_string();
    assert!(error.contains("AWS_USE_FIPS_ENDPOINT is \"1\": allowed are true and false"), "{error}");
}

#[tokio::test]
async fn a_role_is_asked_for_with_the_id_that_it_wants_and_without_one_otherwise() {
    for (external_id, sent) in [(None, false), (Some("6f1d/2c3b"), true)] {
        let server = any_service().await;
        let agent = server.clients().await.for_agent(None, Some(&role(external_id))).await;
        agent.ecs.list_tasks(None, "x").await.unwrap();
        let body = &server.requests()[0].body;
        assert!(body.contains("Action=AssumeRole"), "{body}");
        assert_eq!(body.contains("ExternalId=6f1d%2F2c3b"), sent, "{body}");
        assert_eq!(body.contains("ExternalId"), sent, "{body}");
    }
}

#[tokio::test]
async fn an_agents_role_is_assumed_once_and_used_for_all_its_calls() {
    let server = any_service().await;
    let aws = server.clients().await;
    let agent = aws.for_agent(Some("us-east-2"), Some(&role(None))).await;
    for _ in 0..2 {
        agent.ecs.list_tasks(None, "x").await.unwrap();
        agent.ec2.default_vpcs().await.unwrap();
    }
    let requests = server.requests();
    let (sts, others): (Vec<_>, Vec<_>) = requests.iter().partition(|r| r.body.contains("Action=AssumeRole"));
    assert_eq!(sts.len(), 1);
    assert!(sts[0].body.contains("RoleSessionName=prefect-serverless-agent"), "{}", sts[0].body);
    assert!(sts[0].body.contains("role%2Flauncher"), "{}", sts[0].body);
    assert!(sts[0].header("authorization").contains("AKIDOWN/"), "{}", sts[0].header("authorization"));
    assert!(sts[0].header("authorization").contains("/eu-west-1/sts/"), "{}", sts[0].header("authorization"));
    assert_eq!(others.len(), 4);
    for request in others {
        let authorization = request.header("authorization");
        assert!(authorization.contains("AKIDROLE/") && authorization.contains("/us-east-2/"), "{authorization}");
        assert_eq!(request.header("x-amz-security-token"), "role-token");
    }
}

#[tokio::test]
async fn a_role_that_refuses_is_a_matter_of_credentials() {
    let server = Server::start(|_: &Request| {
        text(
            403,
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: \
             sts:AssumeRole</Message></Error></ErrorResponse>",
        )
    })
    .await;
    let agent = server.clients().await.for_agent(None, Some(&role(None))).await;
    for error in [agent.ecs.list_tasks(None, "x").await.unwrap_err(), agent.ec2.default_vpcs().await.unwrap_err()] {
        let AwsError::Credentials(text) = &error else { panic!("{error:?}") };
        assert!(text.contains("not authorized"), "{text}");
    }
    let asked = server.requests().iter().all(|request| request.body.contains("AssumeRole"));
    assert!(asked, "only STS may be asked: {:?}", server.requests());
}

#[tokio::test]
async fn sts_out_of_reach_is_a_matter_of_credentials_too() {
    let nowhere = closed_port();
    let agent = clients(&nowhere, &[]).await.for_agent(None, Some(&role(None))).await;
    let error = agent.ecs.list_tasks(None, "x").await.unwrap_err();
    assert!(matches!(error, AwsError::Credentials(_)), "{error:?}");
}

#[tokio::test]
async fn clients_are_built_once_per_region_and_role() {
    let aws = clients("http://127.0.0.1:9", &[]).await;
    assert_eq!(aws.region, "eu-west-1");
    let own = aws.for_agent(None, None).await;
    assert!(Arc::ptr_eq(&own, &aws.for_agent(Some("eu-west-1"), None).await));
    assert!(!Arc::ptr_eq(&own, &aws.for_agent(Some("eu-west-2"), None).await));
    assert!(!Arc::ptr_eq(&own, &aws.for_agent(None, Some(&role(None))).await));
}

#[tokio::test]
async fn a_certificate_bundle_must_be_readable() {
    let environment = HashMap::from([("AWS_CA_BUNDLE".to_owned(), "/nonexistent/ca.pem".to_owned())]);
    let error = AwsClients::from_default_chain(&environment).await.unwrap_err();
    assert!(error.to_string().contains("AWS_CA_BUNDLE /nonexistent/ca.pem"), "{error}");
}
