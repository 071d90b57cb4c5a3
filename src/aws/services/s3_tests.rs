#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::credentials::Cached;
use crate::aws::signed::Endpoints;
use crate::aws::test_server::{Reply, Request, Server, network, text};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

#[tokio::test]
async fn objects_are_read_in_path_style_from_an_overridden_endpoint() {
    let server = Server::start(|_: &Request| text(200, "networkMode: awsvpc")).await;
    let body = server.clients().await.s3.get_object("bucket", "dir/a b+ü.yaml").await.unwrap();
    assert_eq!(body, "networkMode: awsvpc");
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/bucket/dir/a%20b%2B%C3%BC.yaml"));
    assert!(request.header("authorization").contains("/eu-west-1/s3/aws4_request"));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(request.header("x-amz-content-sha256"), empty);
}

fn without_override(region: &str) -> Signed {
    let credentials = SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test"));
    let http = network();
    Signed::new(region, Endpoints::default(), http, Cached::new(credentials))
}

#[test]
fn the_real_s3_is_addressed_by_virtual_hosts() {
    let url = |region, bucket| call(&without_override(region), bucket, "k/y").unwrap().url;
    assert_eq!(url("eu-west-1", "b"), "https://b.s3.eu-west-1.amazonaws.com/k/y");
    assert_eq!(url("eu-west-1", "b.c"), "https://s3.eu-west-1.amazonaws.com/b.c/k/y");
    assert_eq!(url("cn-north-1", "b"), "https://b.s3.cn-north-1.amazonaws.com.cn/k/y");
}

#[tokio::test]
async fn a_bucket_of_another_region_is_found() {
    let server = Server::start(|request: &Request| {
        if request.header("authorization").contains("/us-east-2/s3/") {
            return text(200, "found");
        }
        let region = vec![("x-amz-bucket-region", "us-east-2".to_owned())];
        Reply::Answer(301, region, "<Error><Code>PermanentRedirect</Code></Error>".into())
    })
    .await;
    assert_eq!(server.clients().await.s3.get_object("b", "k").await.unwrap(), "found");
}

#[tokio::test]
async fn errors_keep_what_s3_said() {
    let xml = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>k</Key></Error>";
    let server = Server::start(move |_: &Request| text(404, xml)).await;
    let error = server.clients().await.s3.get_object("b", "k").await.unwrap_err();
    assert_eq!(error.to_string(), "NoSuchKey: The specified key does not exist.");
}
