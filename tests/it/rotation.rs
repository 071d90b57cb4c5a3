//! Credentials are replaced while the function is warm.

use crate::support::{DEADLINE, Deployment, KEY, ROOT, agent, ids, poll, report_in};
use serde_json::json;
use std::time::Duration;
use world::prefect1::{FlowRunSpec, TENANT};

/// Prefect forgets the old key and knows a new one.
fn rotate_at_prefect(deployment: &Deployment) {
    deployment.world.prefect1(|prefect1| {
        prefect1.api_keys.clear();
        prefect1.api_keys.insert("pcu_new".into(), vec![TENANT.into()]);
    });
}

#[tokio::test]
async fn a_replaced_key_is_used_within_the_same_invocation() {
    for extra in [json!({}), json!({"max_polls": 10})] {
        let deployment = Deployment::with_agent(extra).await;
        let function = deployment.poll_function().await;
        poll(&function).await;
        rotate_at_prefect(&deployment);
        deployment.secret("etl", "api-key", "pcu_new");
        let run = deployment.schedule(FlowRunSpec::default());
        let report = poll(&function).await;
        let etl = agent(&report, "etl");
        assert_eq!(ids(etl, "launched"), [run], "{report:#}");
        assert_eq!(etl["poll"], 2, "it is still one poll: {report:#}");
        let keys: Vec<_> = deployment.prefect_requests().iter().filter_map(|one| one.status).collect();
        assert!(keys.contains(&401), "the old key was tried first");
        assert_eq!(deployment.status("etl")["error"], json!(null));
    }
}

#[tokio::test]
async fn a_key_that_was_not_replaced_fails_the_poll_and_the_next_one_has_the_new_key() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = deployment.poll_function().await;
    poll(&function).await;
    rotate_at_prefect(&deployment);
    let run = deployment.schedule(FlowRunSpec::default());
    let report = report_in(&function.invoke(json!({}), DEADLINE).await.unwrap_err());
    assert_eq!(agent(&report, "etl")["error_kind"], "unauthorised");
    assert_eq!(deployment.state_of(&run), "Scheduled");

    deployment.secret("etl", "api-key", "pcu_new");
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
}

#[tokio::test]
async fn an_unchanged_key_that_prefect_refuses_is_not_tried_twice() {
    let deployment = Deployment::with_agent(json!({"tenant_id": TENANT})).await;
    let function = deployment.poll_function().await;
    poll(&function).await;
    rotate_at_prefect(&deployment);
    let before = deployment.prefect_requests().len();
    function.invoke(json!({}), DEADLINE).await.unwrap_err();
    assert_eq!(deployment.prefect_requests().len() - before, 3, "each look and the sign of life, once");
    assert_ne!(KEY, "pcu_new");
}

#[tokio::test]
async fn a_new_key_of_another_agent_leaves_this_one_alone() {
    let deployment = Deployment::empty().await;
    deployment.world.prefect1(|prefect1| prefect1.api_keys.insert("pcu_b".into(), vec![TENANT.into()]));
    deployment.agent("a", json!({}));
    deployment.agent_without_key("b", json!({"labels": ["b"]}));
    deployment.secret("b", "api-key", "pcu_b");
    let function = deployment.poll_function().await;
    poll(&function).await;
    deployment.world.prefect1(|prefect1| {
        prefect1.api_keys.remove("pcu_b");
        prefect1.api_keys.insert("pcu_b2".into(), vec![TENANT.into()]);
    });
    deployment.secret("b", "api-key", "pcu_b2");
    let report = poll(&function).await;
    assert_eq!((&agent(&report, "a")["ok"], &agent(&report, "b")["ok"]), (&json!(true), &json!(true)), "{report:#}");
}

#[tokio::test]
async fn a_poll_with_the_new_key_takes_its_own_number() {
    let deployment = Deployment::with_agent(json!({"max_polls": 3})).await;
    let world = &deployment.world;
    let (secret, counter) = (format!("{ROOT}/secrets/etl/api-key"), format!("{ROOT}/state/etl/polls"));
    deployment.poll().await;
    deployment.poll().await;
    assert_eq!(world.parameter(&counter).unwrap().version, 2);

    // A process starts with a key that Prefect does not know, and so cannot register: it takes no number.
    world.put_secret(&secret, "pcu_unknown");
    let function = deployment.poll_function().await;
    function.ready(Duration::from_secs(20)).await.unwrap();
    world.put_secret(&secret, KEY);
    let report = poll(&function).await;
    let etl = agent(&report, "etl");
    assert_eq!((&etl["ok"], &etl["poll"], &etl["stopped"]), (&json!(true), &json!(3), &json!(false)), "{report:#}");
    assert_eq!(world.parameter(&counter).unwrap().version, 3, "the number was taken, not guessed");

    let report = poll(&function).await;
    assert_eq!(agent(&report, "etl")["stopped"], json!(true), "{report:#}");
}
