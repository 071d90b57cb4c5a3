//! A key that is replaced while a process is warm.

use crate::support::{Deployment, KEY, ROOT, agent, poll};
use serde_json::json;
use std::time::Duration;

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
