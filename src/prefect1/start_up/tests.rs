#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::Setup;
use super::super::test_support::{AGENT_ID, KEY, Reply, Seen, Server, TENANT, ok, one, prefect, secret, setup, window};
use super::*;
use crate::config::{AgentSecrets, Rules};

/// A server that knows everything a start asks for.
fn answer(seen: &Seen, _: usize) -> Reply {
    match seen.operation() {
        "register_agent" => ok(json!({"register_agent": {"id": AGENT_ID}})),
        "agent_config" => ok(json!({"agent_config": [{"settings": {"name": "cfg", "labels": ["b", "a"], "zzz": 1}}]})),
        "auth_info" => ok(json!({"auth_info": {"tenant_id": TENANT, "api_token_scope": "RUNNER"}})),
        "tenant" => ok(json!({"tenant": [{"id": TENANT}, {"id": "another"}]})),
        "get_runs_in_queue" => ok(json!({"get_runs_in_queue": {"flow_run_ids": []}})),
        _ => ok(json!({"flow_run": []})),
    }
}

fn token_setup(api: &str) -> Setup {
    let mut setup = setup(api);
    setup.secrets = AgentSecrets { api_key: None, auth_token: Some(secret("legacy-token")), ..AgentSecrets::default() };
    one(&mut setup.config).rules = Rules::V0_15;
    setup
}

#[tokio::test]
async fn a_known_tenant_needs_one_request_and_the_id_goes_with_every_later_one() {
    let server = Server::start(answer).await;
    let prefect = prefect(setup(&server.api));
    let registration = prefect.connect(None).await.unwrap().unwrap();
    assert_eq!((registration.agent_id.as_str(), registration.tenant_id.as_deref()), (AGENT_ID, Some(TENANT)));
    prefect.due_runs(&window()).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].variables["input"]["type"], "ECSAgent");
    assert_eq!(seen[0].header("x-prefect-tenant-id"), Some(TENANT));
    assert_eq!(seen[0].header("x-prefect-agent-id"), None);
    assert_eq!(seen.len(), 3);
    assert!(seen[1..].iter().all(|seen| seen.header("x-prefect-agent-id") == Some(AGENT_ID)));
    let shown = format!("{registration:?}");
    assert!(!shown.contains(KEY), "{shown}");
}

#[tokio::test]
async fn what_was_registered_before_is_not_registered_again() {
    let server = Server::start(answer).await;
    let registration = prefect(setup(&server.api)).connect(None).await.unwrap().unwrap();
    let mut relabelled = setup(&server.api);
    one(&mut relabelled.config).labels = vec!["dev".into()];
    let mut other_key = setup(&server.api);
    other_key.secrets.api_key = Some(secret("another key"));
    let mut other_rules = setup(&server.api);
    one(&mut other_rules.config).rules = Rules::V0_15;
    let mut renamed = setup(&server.api);
    renamed.config.name = "x".into();
    let mut other_tenant = setup(&server.api);
    one(&mut other_tenant.config).tenant_id = Some("t".into());

    let again = prefect(setup(&server.api));
    assert_eq!(again.connect(Some(&registration)).await.unwrap(), Some(registration.clone()));
    assert_eq!(server.seen().len(), 1, "nothing is sent for a registration that fits");
    again.due_runs(&window()).await.unwrap();
    assert!(server.seen().iter().skip(1).all(|seen| seen.header("x-prefect-agent-id") == Some(AGENT_ID)));

    for changed in [relabelled, other_key, other_rules, renamed, other_tenant] {
        let before = server.seen().len();
        let new = prefect(changed).connect(Some(&registration)).await.unwrap().unwrap();
        assert_ne!(new.identity, registration.identity);
        assert_eq!(server.seen().len(), before + 1, "registered for what it is now");
    }
}

#[tokio::test]
async fn labels_in_another_order_are_the_same_agent() {
    let server = Server::start(answer).await;
    let labelled = |labels: [&str; 2]| {
        let mut setup = setup(&server.api);
        one(&mut setup.config).labels = labels.map(str::to_owned).to_vec();
        prefect(setup)
    };
    let registration = labelled(["a", "b"]).connect(None).await.unwrap();
    assert_eq!(labelled(["b", "a"]).connect(registration.as_ref()).await.unwrap(), registration);
}

#[tokio::test]
async fn the_tenant_is_looked_up_when_it_is_not_configured() {
    for (backend, look_up) in [(Backend::Cloud, "auth_info"), (Backend::Server, "tenant")] {
        let server = Server::start(answer).await;
        let unknown = || {
            let mut setup = setup(&server.api);
            one(&mut setup.config).tenant_id = None;
            one(&mut setup.config).backend = backend;
            prefect(setup)
        };
        let registration = unknown().connect(None).await.unwrap().unwrap();
        assert_eq!(server.operations(), [look_up, "register_agent"]);
        assert_eq!(server.seen()[0].header("x-prefect-tenant-id"), None);
        assert_eq!(server.seen()[1].variables["input"]["tenant_id"], TENANT);
        unknown().connect(Some(&registration)).await.unwrap();
        assert_eq!(server.seen().len(), 2, "the tenant is remembered too");
    }
}

#[tokio::test]
async fn a_server_without_keys_gets_no_credentials_and_no_tenant_header() {
    let server = Server::start(answer).await;
    let mut setup = setup(&server.api);
    setup.secrets = AgentSecrets::default();
    one(&mut setup.config).backend = Backend::Server;
    let prefect = prefect(setup);
    prefect.connect(None).await.unwrap();
    prefect.due_runs(&window()).await.unwrap();
    for seen in server.seen() {
        assert_eq!((seen.header("authorization"), seen.header("x-prefect-tenant-id")), (None, None));
    }
}

#[tokio::test]
async fn look_ups_that_find_nothing_say_what_is_wrong() {
    let error = |backend: Backend, data: serde_json::Value| async move {
        let server = Server::start(move |_, _| ok(data.clone())).await;
        let mut setup = setup(&server.api);
        one(&mut setup.config).tenant_id = None;
        one(&mut setup.config).backend = backend;
        prefect(setup).connect(None).await.unwrap_err().to_string()
    };
    let cloud = error(Backend::Cloud, json!({"auth_info": {"tenant_id": null}})).await;
    assert!(cloud.contains("belongs to no tenant"), "{cloud}");
    let server = error(Backend::Server, json!({"tenant": []})).await;
    assert!(server.contains("has no tenants"), "{server}");
}

#[tokio::test]
async fn a_token_must_have_the_runner_scope_and_names_no_tenant() {
    let server = Server::start(answer).await;
    let registration = prefect(token_setup(&server.api)).connect(None).await.unwrap().unwrap();
    assert_eq!(registration.tenant_id, None);
    assert_eq!(server.operations(), ["auth_info", "register_agent"]);
    let seen = server.seen();
    assert_eq!(seen[1].header("authorization"), Some("Bearer legacy-token"));
    assert_eq!(seen[1].header("x-prefect-tenant-id"), None);
    assert_eq!(seen[1].variables["input"]["tenant_id"], serde_json::Value::Null);

    let again = prefect(token_setup(&server.api));
    again.connect(Some(&registration)).await.unwrap();
    assert_eq!(server.seen().len(), 2);

    let user = Server::start(|_, _| ok(json!({"auth_info": {"api_token_scope": "USER"}}))).await;
    let error = prefect(token_setup(&user.api)).connect(None).await.unwrap_err();
    assert!(
        matches!(&error, ApiError::Unauthorised(text) if text.contains("RUNNER") && text.contains("USER")),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_counts_for_nothing_beside_a_key_or_under_the_rules_of_prefect_1() {
    let server = Server::start(answer).await;
    let mut both = token_setup(&server.api);
    both.secrets.api_key = Some(secret(KEY));
    prefect(both).connect(None).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Bearer pcu_fakekey"));

    let mut newer = token_setup(&server.api);
    one(&mut newer.config).rules = Rules::V1;
    let error = prefect(newer).connect(None).await.unwrap_err();
    assert!(matches!(error, ApiError::Unauthorised(_)), "{error}");
    assert_eq!(server.seen().len(), 1, "without a credential nothing is sent to the cloud");
}

#[tokio::test]
async fn settings_of_the_backend_come_first_and_make_the_identity() {
    let server = Server::start(answer).await;
    let configured = || {
        let mut setup = setup(&server.api);
        one(&mut setup.config).agent_config_id = Some("11111111-0000-4000-8000-000000000009".into());
        prefect(setup)
    };
    let first = configured();
    let registration = first.connect(None).await.unwrap().unwrap();
    assert_eq!(server.operations(), ["agent_config", "register_agent"]);
    let input = &server.seen()[1].variables["input"];
    assert_eq!((&input["name"], &input["labels"]), (&json!("cfg"), &json!(["b", "a"])));
    assert_eq!(input["agent_config_id"], "11111111-0000-4000-8000-000000000009");
    assert_eq!(first.effective_config().name, "cfg");
    assert_eq!(first.warnings(), ["unknown setting zzz"]);
    assert_eq!(registration.settings.as_ref().unwrap()["name"], "cfg");

    let second = configured();
    second.connect(Some(&registration)).await.unwrap();
    assert_eq!(server.operations()[2..], ["agent_config"], "settings are fetched at each start, registered is once");
    assert_eq!(second.effective_config().name, "cfg");
}

#[tokio::test]
async fn an_unknown_agent_config_stops_the_start() {
    let server = Server::start(|_, _| ok(json!({"agent_config": []}))).await;
    let mut setup = setup(&server.api);
    one(&mut setup.config).agent_config_id = Some("nobody".into());
    let error = prefect(setup).connect(None).await.unwrap_err();
    assert!(matches!(&error, ApiError::Configuration(text) if text.contains("nobody")), "{error}");
}

#[tokio::test]
async fn trouble_at_registration_is_told() {
    let html = Server::start(|_, _| Reply::Text(200, ("content-type", "text/html"), "<html>x</html>")).await;
    assert!(matches!(prefect(setup(&html.api)).connect(None).await, Err(ApiError::Malformed(_))));
    let no_id = Server::start(|_, _| ok(json!({"register_agent": {"id": null}}))).await;
    assert!(matches!(prefect(setup(&no_id.api)).connect(None).await, Err(ApiError::Malformed(_))));
    let bad_key = Server::start(|_, _| Reply::Json(401, json!({"errors": [{"message": "Unauthenticated"}]}))).await;
    assert!(matches!(prefect(setup(&bad_key.api)).connect(None).await, Err(ApiError::Unauthorised(_))));
}

#[tokio::test]
async fn a_dry_run_registers_nothing_and_shows_no_sign_of_life() {
    let server = Server::start(answer).await;
    let mut dry = setup(&server.api);
    dry.read_only = true;
    let prefect = prefect(dry);
    assert_eq!(prefect.connect(None).await.unwrap(), None);
    prefect.due_runs(&window()).await.unwrap();
    assert_eq!(server.operations(), ["flow_run"]);
    assert_eq!(server.seen()[0].header("x-prefect-agent-id"), None);
}

#[tokio::test]
async fn a_dry_run_uses_a_remembered_registration_without_its_id() {
    let server = Server::start(answer).await;
    let registration = prefect(setup(&server.api)).connect(None).await.unwrap();
    let mut dry = setup(&server.api);
    dry.read_only = true;
    let prefect = prefect(dry);
    assert_eq!(prefect.connect(registration.as_ref()).await.unwrap(), registration);
    prefect.due_runs(&window()).await.unwrap();
    assert_eq!(server.operations()[1..], ["flow_run"]);
    assert_eq!(server.seen()[1].header("x-prefect-agent-id"), None);
}
