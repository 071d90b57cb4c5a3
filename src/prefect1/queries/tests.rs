#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::{TENANT, config, times};
use super::*;

fn scope(labels: &[&str]) -> Scope {
    Scope { tenant_id: Some(TENANT.into()), labels: labels.iter().map(ToString::to_string).collect() }
}

#[test]
fn our_own_look_asks_for_due_runs_with_our_labels() {
    let document = due_runs(&scope(&["prod", "dev"]), &times(), &[]);
    assert_eq!(
        document.query,
        "query($where: flow_run_bool_exp!, $retry: timestamptz!) { \
         flow_run(where: $where, order_by: { state_start_time: asc }, limit: 200) { \
         id version state serialized_state run_config name \
         flow { id version name environment storage core_version } \
         task_runs(where: { state: { _in: [\"Scheduled\", \"Retrying\", \"Paused\", \"Resume\", \"Queued\"] }, \
         state_start_time: { _lte: $retry } }) { id version task_id serialized_state } } }"
    );
    assert_eq!(
        Value::Object(document.variables),
        json!({
            "where": {
                "labels": {"_contained_in": ["prod", "dev"], "_neq": []},
                "_or": [
                    {"state": {"_eq": "Scheduled"}, "state_start_time": {"_lte": "2026-11-22T16:42:05.123899+00:00"}},
                    {"state": {"_eq": "Running"}, "task_runs": {
                        "state": {"_in": ["Scheduled", "Retrying", "Paused", "Resume", "Queued"]},
                        "state_start_time": {"_lte": "2026-11-22T16:41:02.123899+00:00"}}},
                ],
                "tenant_id": {"_eq": TENANT},
            },
            "retry": "2026-11-22T16:41:02.123899+00:00",
        })
    );
}

#[test]
fn an_unlabelled_agent_takes_unlabelled_runs_only() {
    let document = due_runs(&scope(&[]), &times(), &[]);
    assert_eq!(document.variables["where"]["labels"], json!({"_contained_in": []}));
}

#[test]
fn a_token_names_no_tenant() {
    let scope = Scope { tenant_id: None, ..scope(&[]) };
    assert!(due_runs(&scope, &times(), &[]).variables["where"].get("tenant_id").is_none());
    assert_eq!(runs_in_queue(&scope, &times()).variables["input"]["tenant_id"], Value::Null);
}

#[test]
fn the_queue_is_asked_as_python_asks() {
    let document = runs_in_queue(&scope(&["prod"]), &times());
    assert_eq!(
        Value::Object(document.variables),
        json!({"input": {"before": "2026-11-22T16:42:05.123899+00:00", "labels": ["prod"], "tenant_id": TENANT}})
    );
}

#[test]
fn metadata_is_asked_with_both_filters() {
    let document = metadata(&["a".into()], &times());
    let due = json!({"state_start_time": {"_lte": "2026-11-22T16:41:02.123899+00:00"}});
    assert_eq!(
        document.variables["where"],
        json!({"id": {"_in": ["a"]},
            "_or": [{"state": {"_eq": "Scheduled"}}, {"state": {"_eq": "Running"}, "task_runs": due}]})
    );
    assert!(document.query.starts_with("query($where: flow_run_bool_exp, $retry: timestamptz) {"));
}

#[test]
fn registration_names_what_makes_the_identity() {
    let document = register_agent(&config("http://api"), &scope(&["prod"]), Some("cfg"));
    assert_eq!(
        Value::Object(document.variables),
        json!({"input": {"type": "ECSAgent", "name": "agent", "labels": ["prod"], "tenant_id": TENANT,
            "agent_config_id": "cfg"}})
    );
}

/// Server's gateway refuses what is deeper than 7 levels, and a document must at least be balanced.
#[test]
fn documents_are_balanced_and_shallow() {
    let scope = scope(&["prod"]);
    for document in [
        token_scope(),
        tenant_of_key(),
        tenants(),
        agent_config("x"),
        register_agent(&config("http://api"), &scope, None),
        runs_in_queue(&scope, &times()),
        due_runs(&scope, &times(), &[]),
        metadata(&[], &times()),
        runs_now(&[]),
        write_run_logs(&[]),
    ] {
        let (mut depth, mut deepest) = (0, 0);
        for character in document.query.chars() {
            depth += match character {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            deepest = deepest.max(depth);
        }
        assert_eq!(depth, 0, "{}", document.query);
        assert!(deepest <= 7, "{}", document.query);
    }
}
