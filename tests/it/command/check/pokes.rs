//! `check` of a deployment that Prefect pokes: with a poke that is really made.

use super::super::connect::Poked;
use super::scene::STACK;
use crate::support::{DEADLINE, ROOT};
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;

const PATIENCE: Duration = Duration::from_secs(10);

/// What `check` finds while pokes are followed by polls: the exit code, all codes, and all of it.
async fn checked(poked: &Poked) -> (Option<i32>, Vec<String>, Value) {
    let world = &poked.scene.deployment.world;
    let polling = poked.scene.deployment.poll_function().await;
    let delivering = async {
        loop {
            if world.wait_until(PATIENCE, |state| !state.lambda.invocations.is_empty()).await {
                world.deliver_invocations(&polling, DEADLINE).await;
            }
        }
    };
    let line = format!("--json --root {ROOT}");
    let ended = tokio::select! {
        ended = poked.scene.run(&line) => ended,
        () = delivering => unreachable!("it goes on for ever"),
    };
    let found = ended.json();
    let codes = found["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned());
    (ended.code, codes.collect(), found)
}

#[tokio::test]
async fn a_connection_is_tried_with_a_poke_that_a_poll_follows() {
    let poked = Poked::new().await;
    let (code, codes, found) = checked(&poked).await;
    assert_eq!((code, codes), (Some(0), vec!["PSA232".to_owned()]), "not connected is worth knowing: {found:#}");
    poked.connect("").await.well();
    let before = poked.scene.deployment.world.count("lambda", "Invoke");
    let (code, codes, found) = checked(&poked).await;
    assert_eq!((code, codes.len()), (Some(0), 0), "{found:#}");
    let well = found["well"].to_string();
    assert!(well.contains("function psa-poke: a poke was answered, and a poll ended "), "{well}");
    assert!(well.contains("agent etl: a webhook block and an automation poke psa-poke"), "{well}");
    assert_eq!(poked.scene.deployment.world.count("lambda", "Invoke"), before + 1, "one poke");
    let left_out = poked.scene.run(&format!("--json --root {ROOT} --no-poke")).await;
    assert_eq!((left_out.code, &left_out.json()["findings"]), (Some(0), &json!([])), "{left_out:?}");
    assert_eq!(poked.scene.deployment.world.count("lambda", "Invoke"), before + 1, "no poke");
    // Nobody hands the poll over that this poke starts.
    let ended = poked.scene.run(&format!("--json --root {ROOT} --timeout 8")).await;
    let found = ended.json();
    assert_eq!((ended.code, &found["findings"][0]["code"]), (Some(4), &json!("PSA236")), "{found:#}");
    assert!(!ended.stdout.contains(&poked.token().unwrap()), "{ended:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_named() {
    let poked = Poked::new().await;
    poked.connect("").await.well();
    let world = &poked.scene.deployment.world;
    let found = async |what: &str, expected: &[&str], said: &str| {
        let (code, codes, found) = checked(&poked).await;
        assert_eq!((code, codes), (Some(4), expected.iter().map(ToString::to_string).collect()), "{what}: {found:#}");
        assert!(found["findings"].to_string().contains(said), "{what}: {found:#}");
    };
    let enable = |enabled| world.prefect3(|prefect3| prefect3.automations[0].enabled = enabled);
    enable(false);
    found("a disabled automation", &["PSA233"], "its automation is disabled").await;
    enable(true);

    let id = world.prefect3(|prefect3| prefect3.automations[0].id.clone());
    let ended = |outcome| world.prefect3(|prefect3| prefect3.action_ended(&id, &outcome, OffsetDateTime::now_utc()));
    ended(Ok(403));
    found("a poke that was refused", &["PSA235"], "was answered HTTP 403").await;
    ended(Err("Webhook call failed: ReadTimeout('')".into()));
    found("a poke that was not answered", &["PSA235"], "ReadTimeout").await;
    ended(Ok(200));

    poked.deploy("AWS_IAM");
    found("a URL that wants IAM", &["PSA231"], "wants AWS_IAM").await;
    poked.deploy("NONE");
    let function = |state: &mut world::State| {
        let stack = state.cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
        stack.resources.remove("PokeFunction").unwrap();
    };
    poked.scene.account(function);
    found("no poke function", &["PSA231"], "Prefect pokes for agent etl, and there is no poke URL").await;
    poked.deploy("NONE");

    let blocks = world.prefect3(|prefect3| std::mem::take(&mut prefect3.blocks.documents));
    found("no block", &["PSA233"], "its webhook block is gone").await;
    world.prefect3(|prefect3| prefect3.blocks.documents = blocks);
    poked.scene.delete("secrets/poke-token");
    found("no token", &["PSA233"], "/secrets/poke-token is gone").await;
    // The function may have looked at its token a moment ago, and looks again after ten seconds.
    poked.scene.secret("poke-token", "another-token-by-hand");
    let (code, codes, found) = checked(&poked).await;
    assert!(code == Some(4) && codes[0] == "PSA233" && codes[1..].iter().all(|one| one == "PSA234"), "{found:#}");
    assert!(found["findings"][0]["sentence"].as_str().unwrap().contains("another token"), "{found:#}");
}
