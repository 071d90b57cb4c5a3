//! Whole services that are away, refuse us, or answer something else.

use super::watch::Watched;
use crate::prefect::due;
use crate::support::{DEADLINE, Deployment, KEY, ROOT, agent, ids};
use serde_json::{Value, json};
use world::{Fault, FaultKind};

/// An address where nobody listens: connections are refused.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn with_run(extra: Value) -> Watched {
    let mut config = json!({"prefetch_seconds": 0});
    config.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
    let mut watched = Watched::new(Deployment::with_agent(config).await);
    watched.run(due("etl"));
    watched
}

/// The health page: status and body.
async fn health(deployment: &Deployment) -> (Value, Value) {
    let function = deployment.options("health").start().await.unwrap();
    let event = json!({
        "version": "2.0", "rawPath": "/api/health", "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/api/health"}, "authorizer": {"iam": {}}},
    });
    let answer = function.invoke(event, DEADLINE).await.unwrap();
    (answer["statusCode"].clone(), serde_json::from_str(answer["body"].as_str().unwrap()).unwrap())
}

#[tokio::test]
async fn an_api_that_is_away_fails_the_invocation_and_health_says_why() {
    let mut watched = with_run(json!({"api": nobody().await})).await;
    let report = watched.failed().await;
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], json!("api-unreachable"), "{report:#}");
    let (status, body) = health(&watched.deployment).await;
    assert_eq!((status, &body["status"]), (json!(503), &json!("failing")), "{body:#}");
    assert_eq!(body["agents"]["etl"]["error"], json!("api-unreachable"), "{body:#}");
    assert_eq!(watched.deployment.world.count("ecs", "*"), 0, "nothing to launch, nothing asked");

    watched.deployment.agent("etl", json!({"prefetch_seconds": 0}));
    watched.poll_cold().await;
    watched.ends_well();
    let (status, body) = health(&watched.deployment).await;
    assert_eq!((status, &body["agents"]["etl"]["error"]), (json!(200), &Value::Null), "{body:#}");
}

#[tokio::test]
async fn an_api_that_closes_every_connection_is_away_too() {
    let mut watched = with_run(json!({})).await;
    watched.deployment.world.fault(Fault::new("prefect1", "*", FaultKind::DropBefore).always());
    let report = watched.failed().await;
    assert_eq!(agent(&report, "etl")["error_kind"], json!("api-unreachable"), "{report:#}");
}

#[tokio::test]
async fn one_agents_api_is_away_and_the_others_launch() {
    let mut watched = with_run(json!({})).await;
    watched.deployment.agent("lost", json!({"api": nobody().await}));
    let report = watched.failed().await;
    assert_eq!(agent(&report, "lost")["error_kind"], json!("api-unreachable"));
    let etl = agent(&report, "etl");
    assert_eq!((&etl["ok"], ids(etl, "launched")), (&json!(true), watched.runs.clone()), "{report:#}");
    let (status, body) = health(&watched.deployment).await;
    assert_eq!((status, &body["agents"]["etl"]["status"]), (json!(503), &json!("ok")), "{body:#}");
    // The watch expects that etl fails with the invocation, which is not so here.
    watched.wrong.clear();
}

#[tokio::test]
async fn a_refused_key_is_unauthorised_and_a_new_one_counts_in_the_warm_process() {
    let mut watched = with_run(json!({})).await;
    let parameter = format!("{ROOT}/secrets/etl/api-key");
    watched.deployment.world.put_secret(&parameter, "pcu_a-key-that-was-revoked");
    let report = watched.failed().await;
    assert_eq!(agent(&report, "etl")["error_kind"], json!("unauthorised"), "{report:#}");
    assert!(!watched.function.as_ref().unwrap().output().contains("pcu_a-key"), "a key was written");
    let (_, body) = health(&watched.deployment).await;
    assert_eq!(body["agents"]["etl"]["error"], json!("unauthorised"), "{body:#}");

    watched.deployment.world.put_secret(&parameter, KEY);
    let report = watched.polled().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), watched.runs, "{report:#}");
    assert_eq!(watched.wrong, Vec::<String>::new());
}

#[tokio::test]
async fn html_in_place_of_the_api_fails_the_poll_and_is_shown_in_part() {
    for status in [200, 403, 404, 503] {
        let mut watched = with_run(json!({})).await;
        let page = format!("<html><h1>Maintenance</h1>{}</html>", "x".repeat(100_000));
        let kind = FaultKind::Status { status, body: page, content_type: "text/html".into() };
        watched.deployment.world.fault(Fault::new("prefect1", "*", kind).always());
        let report = watched.failed().await;
        let etl = agent(&report, "etl");
        let expected = if status == 403 { "unauthorised" } else { "api-error" };
        assert_eq!(etl["error_kind"], json!(expected), "{status}: {report:#}");
        let error = etl["error"].as_str().unwrap();
        assert!(error.contains("Maintenance") && error.len() < 1000, "{status}: {error}");
        watched.deployment.world.lock().faults.clear();
        watched.poll_until_quiet(true).await;
        watched.ends_well();
    }
}

#[tokio::test]
async fn a_server_that_repeats_the_key_in_its_error_gets_it_into_no_output() {
    let mut watched = with_run(json!({})).await;
    let body = json!({"errors": [{"message": format!("no such key: Bearer {KEY}")}]}).to_string();
    let kind = FaultKind::Status { status: 500, body, content_type: "application/json".into() };
    watched.deployment.world.fault(Fault::new("prefect1", "*", kind).always());
    watched.failed().await;
    assert_eq!(watched.wrong, Vec::<String>::new(), "{}", watched.story());
    let status = watched.deployment.world.parameter(&format!("{ROOT}/state/etl/status")).unwrap();
    assert!(!status.value.contains(KEY), "{}", status.value);
}

#[tokio::test]
async fn without_connection_to_an_aws_service_nothing_is_claimed_and_nothing_lost() {
    for service in ["ECS", "EC2"] {
        let mut watched = with_run(json!({})).await;
        let options = watched.deployment.options("poll").env(&format!("AWS_ENDPOINT_URL_{service}"), &nobody().await);
        watched.function = Some(options.start().await.unwrap());
        let report = watched.polled().await;
        assert_eq!(ids(agent(&report, "etl"), "deferred"), watched.runs, "{service}: {report:#}");
        assert_eq!(watched.deployment.state_of(&watched.runs[0]), "Scheduled", "{service}");
        assert_eq!(watched.deployment.world.count("prefect1", "set_flow_run_states"), 0, "{service}");
        watched.poll_cold().await;
        watched.ends_well();
    }
}

#[tokio::test]
async fn without_parameter_store_the_invocation_fails_and_says_what_cannot_be_read() {
    let mut watched = with_run(json!({})).await;
    let options = watched.deployment.options("poll").env("AWS_ENDPOINT_URL_SSM", &nobody().await);
    let function = options.start().await.unwrap();
    let error = function.invoke(json!({}), DEADLINE).await.unwrap_err();
    assert_eq!(error.error_type, "PollFailed");
    assert!(error.error_message.contains(ROOT) && error.error_message.contains("connect"), "{error:?}");
    watched.poll().await;
    watched.ends_well();
}

#[tokio::test]
async fn the_first_agent_counts_in_a_process_that_found_none() {
    let deployment = Deployment::empty().await;
    let function = deployment.poll_function().await;
    let error = function.invoke(json!({}), DEADLINE).await.unwrap_err();
    assert_eq!(error.error_type, "ConfigurationError", "{error:?}");
    deployment.agent("etl", json!({"prefetch_seconds": 0}));
    let run = deployment.schedule(due("etl"));
    let report = function.invoke(json!({}), DEADLINE).await.unwrap();
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
}
