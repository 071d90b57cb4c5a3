#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

const RUN: &str = "9f3d1c8e-7a65-4c43-a0b1-2d3e4f506172";

#[test]
fn the_token_of_a_turn_is_always_the_same() {
    // sha256 of the run id, a zero byte and the epoch. Fixed: a new version of this program must replay the launches of
    // the old one.
    assert_eq!(client_token(RUN, "3"), "4cb32a0d27616564056402e7739c13520a24d47339df0df01390059830f5db90");
}

#[test]
fn runs_and_epochs_are_kept_apart() {
    assert_ne!(client_token(RUN, "1"), client_token(RUN, "2"));
    assert_ne!(client_token("ab", "c"), client_token("a", "bc"));
}

#[test]
fn started_by_names_agent_and_run() {
    assert_eq!(started_by("etl", RUN), format!("prefect/etl/{RUN}"));
    let longest = started_by(&"a".repeat(64), RUN);
    assert!(longest.ends_with(RUN) && longest.len() <= 128, "cut: {longest}");
}

proptest! {
    #[test]
    fn tokens_fit_what_ecs_allows(run in ".*", epoch in ".*") {
        let token = client_token(&run, &epoch);
        prop_assert!(token.len() <= 64 && token.chars().all(|c| ('!'..='~').contains(&c)), "{}", token);
        prop_assert_eq!(&token, &client_token(&run, &epoch));
    }

    #[test]
    fn agents_and_runs_of_the_documented_shape_are_written_as_they_are(agent in "[A-Za-z0-9_-]{1,64}", run in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}") {
        let text = started_by(&agent, &run);
        prop_assert_eq!(&text, &format!("prefect/{agent}/{run}"));
        prop_assert!(text.len() <= 128);
    }

    #[test]
    fn started_by_is_always_something_ecs_takes(agent in ".*", run in ".*") {
        let text = started_by(&agent, &run);
        prop_assert!(text.len() <= 128, "{}", text);
        prop_assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c)), "{}", text);
    }
}
