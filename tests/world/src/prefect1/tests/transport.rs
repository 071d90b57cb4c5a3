//! Bodies and headers.

use super::{ask, send, server};
use crate::World;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn variables_come_as_object_as_text_or_not_at_all() {
    let world = server();
    let query = "query($n: Int) { tenant(limit: $n) { id } }";
    for (variables, rows) in [(json!({"n": 0}), 0), (json!("{\"n\": 0}"), 0), (json!("null"), 1), (Value::Null, 1)] {
        let answer = send(&world, &[JSON], &json!({"query": query, "variables": variables}).to_string()).await.json();
        assert_eq!(answer["data"]["tenant"].as_array().unwrap().len(), rows, "{variables}: {answer}");
    }
    let answer = send(&world, &[JSON], &json!({"query": "{ hello }"}).to_string()).await;
    assert_eq!(answer.json(), json!({"data": {"hello": "👋"}}));
}

#[tokio::test]
async fn other_content_types_and_bodies_are_answered_in_html() {
    let world = server();
    let cases = [
        (&[("content-type", "text/plain")][..], r#"{"query": "{ hello }"}"#, 500),
        (&[][..], r#"{"query": "{ hello }"}"#, 500),
        (&[JSON][..], "hello", 400),
        (&[JSON][..], "[]", 400),
        (&[JSON][..], "{}", 400),
        (&[JSON][..], r#"{"query": "{ hello }", "variables": "{"}"#, 400),
    ];
    for (headers, body, status) in cases {
        let answer = send(&world, headers, body).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (status, "text/html; charset=utf-8"), "{body}");
    }
    let big = json!({"query": "{ hello }", "more": "x".repeat(5 * 1024 * 1024)}).to_string();
    assert_eq!(send(&world, &[JSON], &big).await.status, 413);
}

#[tokio::test]
async fn cloud_wants_a_key_it_knows_for_a_tenant_of_that_key() {
    let world = World::new();
    let body = json!({"query": "{ auth_info { tenant_id } }"}).to_string();
    let unknown = "11111111-0000-4000-8000-000000000000";
    let cases = [
        (vec![], 401),
        (vec![("authorization", "pcu_fakekey")], 401),
        (vec![("authorization", "Bearer nobody")], 401),
        (vec![("authorization", "Bearer pcu_fakekey"), ("x-prefect-tenant-id", unknown)], 401),
        (vec![("authorization", "Bearer pcu_fakekey"), ("x-prefect-tenant-id", crate::prefect1::TENANT)], 200),
        (vec![("authorization", "Bearer pcu_fakekey")], 200),
    ];
    for (mut headers, status) in cases {
        headers.push(JSON);
        let answer = send(&world, &headers, &body).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
    }
    super::switch(&world, |switches| switches.unauthenticated_is_200 = true);
    let answer = send(&world, &[JSON], &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_token_tells_its_scope_and_not_its_tenant() {
    let world = World::new();
    let body = json!({"query": "{ auth_info { tenant_id api_token_scope } }"}).to_string();
    let token = send(&world, &[JSON, ("authorization", "Bearer tok")], &body).await;
    assert_eq!(token.json(), json!({"data": {"auth_info": {"tenant_id": null, "api_token_scope": "RUNNER"}}}));
    let key = ask(&world, "{ auth_info { tenant_id api_token_scope } }", Value::Null).await;
    let tenant = crate::prefect1::TENANT;
    assert_eq!(key.json(), json!({"data": {"auth_info": {"tenant_id": tenant, "api_token_scope": null}}}));
}
