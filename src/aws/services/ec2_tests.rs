#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, text};

async fn ec2(server: &Server) -> Ec2 {
    server.clients().await.for_agent(None, None).await.ec2.clone()
}

#[tokio::test]
async fn the_default_vpc_is_asked_for_in_the_query_protocol() {
    let server = Server::start(|_: &Request| {
        text(
            200,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeVpcsResponse \
             xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n  <requestId>r</requestId>\n  <vpcSet>\n    <item>\n \
             <vpcId>vpc-1</vpcId><tagSet><item><key>Name</key><value>a &amp; b</value></item></tagSet></item>\n    \
             <item><vpcId>vpc-2</vpcId></item>\n  </vpcSet>\n</DescribeVpcsResponse>",
        )
    })
    .await;
    assert_eq!(ec2(&server).await.default_vpcs().await.unwrap(), ["vpc-1", "vpc-2"]);
    let request = &server.requests()[0];
    let expected = "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=isDefault&Filter.1.Value.1=true";
    assert_eq!((request.method.as_str(), request.target.as_str(), request.body.as_str()), ("POST", "/", expected));
    assert!(request.header("authorization").contains("/eu-west-1/ec2/aws4_request"));
    assert!(request.header("content-type").starts_with("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn all_pages_of_subnets_are_read() {
    let server = Server::start(|request: &Request| {
        let (id, next) = match request.body.rsplit_once("&NextToken=") {
            None => ("subnet-1", "<nextToken>a+b=</nextToken>"),
            Some((_, "a%2Bb%3D")) => ("subnet-2", "<nextToken/>"),
            Some((_, other)) => panic!("unexpected token {other}"),
        };
        let item = format!("<item><subnetId>{id}</subnetId></item>");
        text(200, &format!("<DescribeSubnetsResponse><subnetSet>{item}</subnetSet>{next}</DescribeSubnetsResponse>"))
    })
    .await;
    assert_eq!(ec2(&server).await.subnets("vpc-1").await.unwrap(), ["subnet-1", "subnet-2"]);
    assert!(server.requests()[0].body.contains("Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1"));
}

#[tokio::test]
async fn no_vpc_is_an_empty_answer() {
    let server = Server::start(|_: &Request| text(200, "<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>")).await;
    assert!(ec2(&server).await.default_vpcs().await.unwrap().is_empty());
}

fn error_xml(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>You said \
         &quot;x&quot;</Message></Error></Errors><RequestID>r</RequestID></Response>"
    )
}

#[tokio::test]
async fn errors_keep_what_aws_said() {
    let cases = [
        (403, error_xml("UnauthorizedOperation"), "UnauthorizedOperation", "You said \"x\"", 1),
        (503, error_xml("RequestLimitExceeded"), "RequestLimitExceeded", "You said \"x\"", 3),
        (502, "<html><p>Bad gateway".to_owned(), "", "<html><p>Bad gateway", 3),
    ];
    for (status, body, code, message, requests) in cases {
        let answer = body.clone();
        let server = Server::start(move |_: &Request| text(status, &answer)).await;
        let error = ec2(&server).await.default_vpcs().await.unwrap_err();
        let expected =
            AwsError::Answer { status, code: code.into(), message: message.into(), resource_ids: Vec::new() };
        assert_eq!(error, expected, "{body}");
        assert_eq!(server.requests().len(), requests, "{body}");
    }
}

#[tokio::test]
async fn a_cut_off_or_foreign_answer_is_no_network() {
    let server = Server::start(|_: &Request| text(200, "<DescribeVpcsResponse><vpcSet>")).await;
    assert!(matches!(ec2(&server).await.default_vpcs().await, Err(AwsError::Malformed(_))));
    let server = Server::start(|_: &Request| text(200, "<html><h1>Sign in</h1></html>")).await;
    assert!(matches!(ec2(&server).await.default_vpcs().await, Err(AwsError::Malformed(_))));
    let server = Server::start(|_: &Request| Reply::Drop).await;
    assert!(matches!(ec2(&server).await.default_vpcs().await, Err(AwsError::NoAnswer(_))));
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let endless = "<R><subnetSet/><nextToken>again</nextToken></R>";
    let server = Server::start(move |_: &Request| text(200, endless)).await;
    assert!(matches!(ec2(&server).await.subnets("vpc-1").await, Err(AwsError::Malformed(_))));
    assert_eq!(server.requests().len(), MAX_PAGES);
}
