#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Reply, Request, Server, json};
use secrecy::ExposeSecret;
use serde_json::json;

#[tokio::test]
async fn all_pages_below_a_path_are_read() {
    let server = Server::start(|request: &Request| {
        let parameter = |name: &str| {
            json!({"Name": name, "Type": "SecureString", "Value": "v", "Version": 7,
                "LastModifiedDate": 1_600_000_000.5, "ARN": format!("arn:{name}")})
        };
        match request.json()["NextToken"].as_str() {
            None => json(200, &json!({"Parameters": [parameter("/r/a")], "NextToken": "more"})),
            Some(_) => json(200, &json!({"Parameters": [parameter("/r/b")]})),
        }
    })
    .await;
    let found = server.clients().await.ssm.parameters_by_path("/r", true, true).await.unwrap();
    let names: Vec<_> = found.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["/r/a", "/r/b"]);
    assert_eq!((found[0].value.expose_secret(), found[0].version), ("v", 7));
    assert_eq!(found[0].arn.as_deref(), Some("arn:/r/a"));
    assert_eq!(found[0].last_modified.unwrap().unix_timestamp(), 1_600_000_000);
    assert!(!format!("{found:?}").contains("\"v\""), "{found:?}");
    let first = server.requests()[0].json();
    assert_eq!(first, json!({"Path": "/r", "Recursive": true, "WithDecryption": true, "MaxResults": 10}));
}

#[tokio::test]
async fn an_answer_without_a_list_is_not_taken_for_no_parameters() {
    let server = Server::start(|request: &Request| match request.json()["Path"].as_str() {
        Some("/empty") => json(200, &json!({"Parameters": []})),
        _ => json(200, &json!({})),
    })
    .await;
    let ssm = server.clients().await.ssm;
    assert!(ssm.parameters_by_path("/empty", true, true).await.unwrap().is_empty());
    assert!(matches!(ssm.parameters_by_path("/r", true, true).await, Err(AwsError::Malformed(_))));
}

#[tokio::test]
async fn a_missing_parameter_is_none_and_a_refusal_an_error() {
    let server = Server::start(|request: &Request| match request.json()["Name"].as_str() {
        Some("/missing") => json(400, &json!({"__type": "ParameterNotFound"})),
        Some("/empty") => json(200, &json!({})),
        _ => json(400, &json!({"__type": "AccessDeniedException", "Message": "no"})),
    })
    .await;
    let ssm = server.clients().await.ssm;
    assert!(ssm.get_parameter("/missing", true).await.unwrap().is_none());
    assert!(matches!(ssm.get_parameter("/empty", true).await, Err(AwsError::Malformed(_))));
    assert_eq!(ssm.get_parameter("/other", true).await.unwrap_err().code(), Some("AccessDeniedException"));
}

#[tokio::test]
async fn writes_are_sent_once() {
    let cases = [
        (json(400, &json!({"__type": "TooManyUpdates", "message": "m"})), "throttled"),
        (json(400, &json!({"__type": "ThrottlingException", "message": "Rate exceeded"})), "throttled"),
        (json(500, &json!({"__type": "InternalServerError"})), "answer"),
        (Reply::Drop, "unknown"),
        (Reply::Hang, "unknown"),
        (json(200, &json!({})), "unknown"),
    ];
    for (reply, expected) in cases {
        let answer = reply.clone();
        let server = Server::start(move |_: &Request| answer.clone()).await;
        let error = server.clients().await.ssm.put_parameter("/p", "v", true).await.unwrap_err();
        let found = match &error {
            error if error.is_throttled() => "throttled",
            AwsError::NoAnswer(_) | AwsError::Malformed(_) => "unknown",
            _ => "answer",
        };
        assert_eq!(found, expected, "{reply:?}: {error:?}");
        let [request] = &server.requests()[..] else { panic!("sent more than once after {reply:?}") };
        assert_eq!(request.operation(), "PutParameter");
        assert_eq!(request.json(), json!({"Name": "/p", "Value": "v", "Type": "String", "Overwrite": true}));
    }
}

#[tokio::test]
async fn secrets_are_decrypted_anew_where_one_was_written_and_where_nobody_can_tell() {
    for (known, listed, decryptions) in [
        (json!({"Version": 1, "LastModifiedDate": 5}), json!({"Version": 1, "LastModifiedDate": 5}), 1),
        (json!({"Version": 1, "LastModifiedDate": 5}), json!({"Version": 2, "LastModifiedDate": 5}), 2),
        (json!({"Version": 1, "LastModifiedDate": 5}), json!({"Version": 1, "LastModifiedDate": 6}), 2),
        (json!({}), json!({}), 2),
    ] {
        let answers = (known.clone(), listed.clone());
        let server = Server::start(move |request: &Request| {
            let is_decrypted = request.json()["WithDecryption"] == json!(true);
            let mut one = if is_decrypted { answers.0.clone() } else { answers.1.clone() };
            one["Name"] = json!("/secrets/a");
            one["Type"] = json!("SecureString");
            json(200, &json!({"Parameters": [one]}))
        })
        .await;
        let ssm = server.clients().await.ssm;
        let first = ssm.secrets_by_path("/secrets", &[]).await.unwrap();
        ssm.secrets_by_path("/secrets", &first).await.unwrap();
        let asked = server.requests();
        let decrypted = asked.iter().filter(|asked| asked.json()["WithDecryption"] == json!(true)).count();
        assert_eq!(decrypted, decryptions, "{known} {listed}");
    }
}
