//! An agent introduces itself to Prefect: with a key, with a token, to a server; once, and remembered.

use crate::support::{Deployment, KEY, agent, ids, labels, report_in};
use serde_json::json;
use world::prefect1::{Backend, FlowRunSpec, TENANT, TOKEN, Token};

#[tokio::test]
async fn with_key_and_tenant_it_registers_first_and_then_always_says_who_it_is() {
    let deployment = Deployment::with_agent(json!({"tenant_id": TENANT, "labels": ["prod"]})).await;
    deployment.schedule(FlowRunSpec { labels: labels(&["prod"]), ..FlowRunSpec::default() });
    deployment.poll().await;

    let agents = deployment.world.prefect1_agents();
    assert_eq!(agents.len(), 1);
    assert_eq!((agents[0].name.as_deref(), agents[0].kind.as_str()), (Some("etl"), "ECSAgent"));
    assert_eq!(agents[0].labels, ["prod"]);
    assert_eq!(agents[0].core_version.as_deref(), Some("1.4.1"));
    assert!(agents[0].last_queried.is_some(), "the queue was not asked in the agent's name");

    let requests = deployment.prefect_requests();
    assert_eq!(requests[0].operation, "register_agent", "the tenant is known: nothing to look up");
    assert!(requests.len() >= 4, "registration, look, claim and log at least");
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer pcu_fakekey"), "{}", request.operation);
        assert_eq!(request.header("x-prefect-tenant-id"), Some(TENANT), "{}", request.operation);
    }
    for request in &requests[1..] {
        assert_eq!(request.header("x-prefect-agent-id"), Some(agents[0].id.as_str()), "{}", request.operation);
    }
}

#[tokio::test]
async fn without_a_tenant_it_asks_whose_key_it_is() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
    assert_eq!(deployment.world.count("prefect1", "auth_info"), 1);
    assert_eq!(deployment.world.prefect1_agents()[0].tenant_id, TENANT);
}

#[tokio::test]
async fn without_any_key_nothing_is_sent_to_prefect_cloud() {
    let deployment = Deployment::empty().await;
    deployment.agent_without_key("etl", json!({}));
    let report = report_in(&deployment.poll_fails().await);
    assert_eq!(agent(&report, "etl")["error_kind"], "unauthorised", "{report:#}");
    assert!(deployment.prefect_requests().is_empty());
}

#[tokio::test]
async fn a_key_that_prefect_refuses_fails_the_poll() {
    let deployment = Deployment::with_agent(json!({"tenant_id": TENANT})).await;
    deployment.world.prefect1(|prefect1| prefect1.api_keys.clear());
    let report = report_in(&deployment.poll_fails().await);
    assert_eq!(agent(&report, "etl")["error_kind"], "unauthorised", "{report:#}");
    assert_eq!(deployment.status("etl")["error"], "unauthorised");
}

/// An agent of Prefect 0.15 that has a token only.
async fn with_token(scope: &str) -> Deployment {
    let deployment = Deployment::empty().await;
    deployment.agent_without_key("etl", json!({"prefect": "0.15"}));
    deployment.secret("etl", "auth-token", TOKEN);
    let token = Token { tenant_id: TENANT.to_owned(), scope: scope.to_owned() };
    deployment.world.prefect1(|prefect1| prefect1.tokens.insert(TOKEN.to_owned(), token));
    deployment
}

#[tokio::test]
async fn a_legacy_token_stands_for_its_tenant() {
    let deployment = with_token("RUNNER").await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
    assert_eq!(deployment.world.prefect1_agents()[0].tenant_id, TENANT);
    for request in deployment.prefect_requests() {
        assert_eq!(request.header("authorization"), Some("Bearer tok"), "{}", request.operation);
        assert_eq!(request.header("x-prefect-tenant-id"), None, "{}", request.operation);
        assert_eq!(request.header("x-prefect-core-version"), Some("0.15.0"), "{}", request.operation);
    }
}

#[tokio::test]
async fn a_token_of_another_scope_is_refused_before_registering() {
    let deployment = with_token("TENANT").await;
    let report = report_in(&deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "unauthorised");
    let error = etl["error"].as_str().unwrap();
    assert!(error.contains("RUNNER") && error.contains("TENANT"), "{error}");
    assert!(deployment.world.prefect1_agents().is_empty());
}

#[tokio::test]
async fn an_api_key_beats_a_token() {
    let deployment = with_token("TENANT").await;
    deployment.secret("etl", "api-key", KEY);
    deployment.poll().await;
    assert!(deployment.prefect_requests().iter().all(|one| one.header("authorization") == Some("Bearer pcu_fakekey")));
}

/// A Prefect Server, reached over plain http by name, and an agent without any secret.
async fn with_server() -> Deployment {
    let deployment = Deployment::empty().await;
    deployment.world.prefect1(|prefect1| prefect1.switches.backend = Backend::Server);
    let api = deployment.world.prefect1_url().replace("127.0.0.1", "localhost");
    deployment.agent_without_key("etl", json!({"backend": "server", "api": api}));
    deployment
}

#[tokio::test]
async fn a_prefect_server_needs_no_key_and_gives_its_first_tenant() {
    let deployment = with_server().await;
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
    assert_eq!(deployment.world.count("prefect1", "tenant"), 1);
    assert!(deployment.prefect_requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn a_server_without_tenants_is_told_to_have_one() {
    let deployment = with_server().await;
    deployment.world.prefect1(|prefect1| prefect1.tenants.clear());
    let report = report_in(&deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "configuration");
    assert!(etl["error"].as_str().unwrap().contains("prefect server create-tenant"), "{etl:#}");
}

#[tokio::test]
async fn the_registration_is_remembered_by_the_next_cold_process() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.poll().await;
    let agent_id = deployment.world.prefect1_agents()[0].id.clone();
    assert_eq!(deployment.status("etl")["registration"]["agent_id"], json!(agent_id));

    let before = deployment.prefect_requests().len();
    deployment.poll().await;
    let requests = deployment.prefect_requests();
    let second: Vec<_> = requests[before..].iter().map(|request| request.operation.as_str()).collect();
    assert_eq!(second.len(), 3, "two looks and the sign of life are all that is sent: {second:?}");
    for request in &requests[before..] {
        assert_eq!(request.header("x-prefect-agent-id"), Some(agent_id.as_str()), "{}", request.operation);
    }
}

#[tokio::test]
async fn an_agent_of_other_labels_or_another_name_is_another_agent() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.poll().await;
    deployment.agent("etl", json!({"labels": ["gpu"]}));
    deployment.poll().await;
    deployment.agent("etl", json!({"labels": ["gpu"], "name": "renamed"}));
    deployment.poll().await;
    assert_eq!(deployment.world.prefect1_agents().len(), 3);
}
