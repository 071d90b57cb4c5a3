#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use serde_json::json;

fn scope(tenant_id: Option<&str>, labels: &[&str]) -> Scope {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Scope { tenant_id: tenant_id.map(str::to_owned), labels }
}

#[test]
fn labels_and_tenants_are_judged_as_the_queue_does() {
    let of = |row: Value, scope: Scope| block_reasons(&row, &scope);
    assert_eq!(of(json!({"labels": ["a"], "tenant_id": "t"}), scope(Some("t"), &["a", "b"])), []);
    assert_eq!(of(json!({"labels": [], "tenant_id": "t"}), scope(None, &[])), []);
    let lacking = BlockReason::Labels { run: vec!["c".into()], agent: vec!["a".into()] };
    assert_eq!(of(json!({"labels": ["c"]}), scope(None, &["a"])), [lacking]);
    let unlabelled = BlockReason::Labels { run: vec![], agent: vec!["a".into()] };
    assert_eq!(of(json!({"labels": []}), scope(None, &["a"])), [unlabelled]);
    assert_eq!(of(json!({"labels": [], "tenant_id": "u"}), scope(Some("t"), &[])), [BlockReason::OtherTenant]);
}

#[test]
fn a_state_tells_its_time_its_message_and_whose_claim_it_is() {
    let mark = json!({"agent": "/r/etl", "epoch": "1", "attempt": 1, "token": "t", "cluster": "c"});
    let row = json!({
        "timestamp": "2026-11-24T12:00:00.5+00:00", "state": "Submitted", "message": "outer",
        "serialized_state": {"type": "Submitted", "message": "inner", "context": {"prefect_serverless_agent": mark}},
    });
    let state = state_facts(&row, &|mark: &Mark| mark.agent == "/r/etl");
    assert!(state.is_claim && state.is_ours && state.at.is_some(), "{state:?}");
    assert_eq!((state.name.as_str(), state.message.as_deref()), ("Submitted", Some("inner")));
    let bare =
        state_facts(&json!({"serialized_state": {"type": "Scheduled", "start_time": "2026-11-24T12:00:00Z"}}), &|_| {
            true
        });
    assert!(bare.name == "Scheduled" && bare.scheduled_for.is_some() && bare.mark.is_none(), "{bare:?}");
}
