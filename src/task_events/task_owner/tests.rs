#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::platform::started_by;
use crate::task_events::testing::{RUN_ID, event};
use serde_json::json;

const AGENTS: [OwnerCandidate<'_>; 3] = [
    OwnerCandidate { agent: "etl", work_pool: None },
    OwnerCandidate { agent: "new", work_pool: Some("My pool, v2") },
    OwnerCandidate { agent: "other", work_pool: Some("other") },
];

fn started(by: &str) -> Result<Option<Owner>, Ignored> {
    by_started_by(&event("STOPPED", &json!({"startedBy": by})), &AGENTS)
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(name, value)| (format!("prefect.io/{name}"), (*value).to_owned())).collect()
}

#[test]
fn our_own_tasks_say_whose_they_are() {
    let owner = started(&started_by("etl", RUN_ID)).unwrap().unwrap();
    assert_eq!(owner, Owner { flow_run_id: RUN_ID.into(), agents: vec!["etl".into()], launched: LaunchedBy::Here });
}

#[test]
fn tasks_of_other_deployments_are_ignored() {
    for (by, why) in [
        (started_by("elsewhere", RUN_ID), "elsewhere is not configured"),
        ("prefect/etl".into(), "names no flow run"),
        ("prefect/etl/not-a-run".into(), "no id of a flow run"),
        (format!("prefect/etl/{RUN_ID}/more"), "no id of a flow run"),
    ] {
        let reason = started(&by).unwrap_err().to_string();
        assert!(reason.contains(why), "{by}: {reason}");
    }
}

#[test]
fn tasks_that_others_started_may_still_be_known_by_their_tags() {
    for by in ["", "ecs-svc/1234", "me", "Prefect/etl/x"] {
        assert_eq!(started(by), Ok(None), "{by}");
    }
    assert_eq!(by_started_by(&event("STOPPED", &json!({})), &AGENTS), Ok(None));
}

#[test]
fn a_workers_task_belongs_to_the_agent_of_its_work_pool_also_in_the_spelling_of_tags() {
    for pool in ["My pool, v2", "My-pool-v2"] {
        let owner =
            by_tags(&tags(&[("flow-run-id", &RUN_ID.to_uppercase()), ("work-pool-name", pool)]), &AGENTS).unwrap();
        assert_eq!(
            owner,
            Owner { flow_run_id: RUN_ID.into(), agents: vec!["new".into()], launched: LaunchedBy::ByWorker }
        );
    }
}

#[test]
fn without_a_work_pool_all_agents_of_prefect_2_and_3_are_asked() {
    let owner = by_tags(&tags(&[("flow-run-id", RUN_ID)]), &AGENTS).unwrap();
    assert_eq!(owner.agents, ["new", "other"]);
}

#[test]
fn a_task_of_nobody_is_ignored_with_a_reason() {
    for (tags, why) in [
        (tags(&[]), "not of a flow run"),
        (tags(&[("flow-run-id", "")]), "no id of a flow run"),
        (tags(&[("flow-run-id", RUN_ID), ("work-pool-name", "theirs")]), "serves the task's work pool"),
    ] {
        let reason = by_tags(&tags, &AGENTS).unwrap_err().to_string();
        assert!(reason.contains(why), "{tags:?}: {reason}");
    }
}

#[test]
fn a_definition_is_deregistered_when_its_task_has_stopped_and_its_tag_says_so() {
    let asked = [("degregister-task-definition", "true"), ("work-pool-name", "other")];
    let (gone, lives) = (event("STOPPED", &json!({})), event("RUNNING", &json!({})));
    let definition = "arn:aws:ecs:us-east-1:123456789012:task-definition/fam:1";
    assert_eq!(definition_to_deregister(&gone, &tags(&asked), &AGENTS), Some(definition));
    assert_eq!(definition_to_deregister(&gone, &tags(&asked[..1]), &AGENTS), Some(definition));
    assert_eq!(definition_to_deregister(&lives, &tags(&asked), &AGENTS), None);
    assert_eq!(definition_to_deregister(&gone, &tags(&asked[1..]), &AGENTS), None);
    for (value, pool) in [("True", "other"), ("false", "other"), ("true", "theirs")] {
        let tags = tags(&[("degregister-task-definition", value), ("work-pool-name", pool)]);
        assert_eq!(definition_to_deregister(&gone, &tags, &AGENTS), None, "{tags:?}");
    }
}
