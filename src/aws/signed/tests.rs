#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::network;

/// AWS's published example: GET Object with the example keys, 24 May 2013.
#[test]
fn signatures_are_those_of_aws() {
    let call = Call {
        service: Service::S3,
        method: http::Method::GET,
        url: "https://examplebucket.s3.amazonaws.com/test.txt".into(),
        headers: vec![("range", "bytes=0-9".into())],
        body: Bytes::new(),
    };
    let credentials =
        Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, None, "example");
    let time = SystemTime::UNIX_EPOCH + Duration::from_hours(380_376);
    let request = signed(&call, credentials, "us-east-1", time).unwrap();
    assert_eq!(
        request.headers()["authorization"],
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
}

#[test]
fn secrets_are_not_printed() {
    let credentials = Credentials::new("AKID", "very-secret", Some("token-secret".into()), None, "test");
    let cached = Cached::new(aws_credential_types::provider::SharedCredentialsProvider::new(credentials));
    let http = network();
    let shown = format!("{:?}", Signed::new("r", Endpoints::default(), http, cached));
    assert!(!shown.contains("very-secret") && !shown.contains("token-secret"), "{shown}");
}
