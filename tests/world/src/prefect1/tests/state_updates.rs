//! Claims and other states.

use super::{SET, ask, ask_as, one_state, queue, seed, server, submitted, switch};
use crate::World;
use serde_json::{Value, json};
use std::time::Duration;

async fn set(world: &World, id: &str, state: Value) -> Value {
    ask(world, SET, one_state(id, state)).await.json()
}

fn error(answer: &Value) -> &str {
    answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test]
async fn a_claim_keeps_its_mark_and_counts_the_version() {
    let world = World::new();
    let id = seed(&world, json!({}));
    let mark = json!({"prefect_serverless_agent": {"agent": "etl", "attempt": 1}});
    let mut state = submitted();
    state["context"] = mark.clone();
    state["unknown"] = json!(1);
    let answer = set(&world, &id, state).await;
    let states = json!([{"id": id, "status": "SUCCESS", "message": null}]);
    assert_eq!(answer, json!({"data": {"set_flow_run_states": {"states": states}}}));
    let run = world.flow_run(&id).unwrap();
    assert_eq!((run.version, run.history()), (2, vec!["Scheduled", "Submitted"]));
    let current = run.current().unwrap();
    assert_eq!(current.context(), &mark);
    assert_eq!(current.serialized.get("unknown"), None, "{}", current.serialized);
    assert_eq!(current.serialized["state"]["type"], "Scheduled");
    assert_eq!(current.serialized["__version__"], "1.4.1");
    assert!(run.heartbeat.is_some());
    assert_eq!(queue(&world, &[]).await, Vec::<String>::new());
}

#[tokio::test]
async fn only_a_registered_agents_id_is_stored_and_only_with_submitted() {
    let world = server();
    let register = "mutation($input: register_agent_input!) { register_agent(input: $input) { id } }";
    let input = json!({"input": {"type": "ECSAgent", "tenant_id": crate::prefect1::TENANT}});
    let agent = ask(&world, register, input).await.json()["data"]["register_agent"]["id"].as_str().unwrap().to_owned();
    let (mine, unknown, failed) = (seed(&world, json!({})), seed(&world, json!({})), seed(&world, json!({})));
    ask_as(&world, Some(&agent), SET, one_state(&mine, submitted())).await;
    ask_as(&world, Some("11111111-0000-4000-8000-000000000000"), SET, one_state(&unknown, submitted())).await;
    ask_as(&world, Some(&agent), SET, one_state(&failed, json!({"type": "Failed"}))).await;
    assert_eq!(world.flow_run(&mine).unwrap().agent_id.as_deref(), Some(agent.as_str()));
    assert_eq!(world.flow_run(&unknown).unwrap().agent_id, None);
    assert_eq!(world.flow_run(&failed).unwrap().agent_id, None);
}

#[tokio::test]
async fn the_lock_of_a_submitted_run_lasts_30_seconds() {
    let world = server();
    let id = seed(&world, json!({}));
    set(&world, &id, submitted()).await;
    world.advance(Duration::from_secs(29));
    assert_eq!(
        error(&set(&world, &id, submitted()).await),
        "State update failed: this run has already been submitted."
    );
    set(&world, &id, json!({"type": "Scheduled"})).await;
    assert_eq!(
        error(&set(&world, &id, submitted()).await),
        "State update failed: this run has already been submitted."
    );
    world.advance(Duration::from_secs(2));
    set(&world, &id, submitted()).await;
    assert_eq!(world.flow_run(&id).unwrap().history(), ["Scheduled", "Submitted", "Scheduled", "Submitted"]);
}

#[tokio::test]
async fn one_bad_state_fails_the_whole_call_though_the_others_are_set() {
    let world = server();
    let (first, second) = (seed(&world, json!({})), seed(&world, json!({})));
    let unknown = "11111111-0000-4000-8000-000000000000";
    let states: Vec<Value> =
        [&first, unknown, &second].iter().map(|id| json!({"flow_run_id": id, "state": submitted()})).collect();
    let answer = ask(&world, SET, json!({"input": {"states": states}})).await.json();
    assert_eq!(error(&answer), format!("State update failed for flow run ID {unknown}"));
    assert_eq!(answer["data"], json!({"set_flow_run_states": null}));
    assert_eq!(world.flow_run(&first).unwrap().state(), "Submitted");
    assert_eq!(world.flow_run(&second).unwrap().state(), "Submitted");
}

#[tokio::test]
async fn aliases_are_independent_also_with_inline_inputs() {
    let world = server();
    let (first, second) = (seed(&world, json!({})), seed(&world, json!({})));
    set(&world, &first, submitted()).await;
    let query = format!(
        r#"mutation($s: JSON!) {{
            r0: set_flow_run_states(input: {{states: [{{flow_run_id: "{first}", version: 1, state: $s}}]}}) {{ states {{ status }} }}
            r1: set_flow_run_states(input: {{states: [{{flow_run_id: "{second}", version: 1, state: $s}}]}}) {{ states {{ status }} }}
            r2: write_run_logs(input: {{logs: [{{flow_run_id: "{second}", level: INFO, message: "hi"}}]}}) {{ success }}
        }}"#
    );
    let answer = ask(&world, &query, json!({"s": submitted()})).await.json();
    let expected = json!({"r0": null, "r1": {"states": [{"status": "SUCCESS"}]}, "r2": {"success": true}});
    assert_eq!(answer["data"], expected, "{answer}");
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["errors"][0]["path"], json!(["r0"]));
    assert_eq!(world.flow_run_logs(&second)[0].message.as_deref(), Some("hi"));
}

#[tokio::test]
async fn states_that_the_library_cannot_load() {
    let world = server();
    let id = seed(&world, json!({}));
    for (state, message) in [
        (json!({"type": "Bogus"}), "{'type': ['Unsupported value: Bogus']}"),
        (json!({"message": "x"}), "{'type': ['Missing data for required field.']}"),
        (json!({"type": "Submitted", "state": {"type": "Odd"}}), "{'type': ['Unsupported value: Odd']}"),
        (json!({"type": "Failed", "message": 1}), "{'message': ['Not a valid string.']}"),
        (json!({"type": "Scheduled", "start_time": "soon"}), "{'start_time': ['Not a valid datetime.']}"),
        (json!({"type": "Failed", "message": "x".repeat(1_000_001)}), "State payload is too large."),
    ] {
        assert_eq!(error(&set(&world, &id, state).await), message);
    }
    assert_eq!(world.flow_run(&id).unwrap().version, 1);
}

#[tokio::test]
async fn start_times_keep_their_offset_and_default_to_now() {
    let world = server();
    let id = seed(&world, json!({}));
    set(&world, &id, json!({"type": "Scheduled", "start_time": "2026-01-01T12:00:00Z"})).await;
    let start = |world: &World| world.flow_run(&id).unwrap().current().unwrap().serialized["start_time"].clone();
    assert_eq!(start(&world), "2026-01-01T12:00:00.000000+00:00");
    set(&world, &id, json!({"type": "Scheduled", "start_time": "2026-01-01T12:00:00.5+02:00"})).await;
    assert_eq!(start(&world), "2026-01-01T12:00:00.500000+02:00");
    set(&world, &id, json!({"type": "Scheduled", "start_time": null})).await;
    assert!(start(&world).as_str().unwrap() > "2026-01-02");
}

#[tokio::test]
async fn versions_count_only_where_they_are_locked() {
    let world = World::new();
    let free = seed(&world, json!({}));
    let locked = seed(&world, json!({"flow": {"version_locking": true}}));
    let with = |id: &str, version: i64| json!({"input": {"states": [{"flow_run_id": id, "version": version, "state": {"type": "Failed"}}]}});
    assert!(ask(&world, SET, with(&free, 99)).await.json().get("errors").is_none());
    let refused = ask(&world, SET, with(&locked, 99)).await.json();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "VERSION_LOCKING_ERROR");
    let text = format!("State update failed for {locked}: provided a version of 99 but current version is 1");
    assert_eq!(error(&refused), text);
    assert!(ask(&world, SET, with(&locked, 1)).await.json().get("errors").is_none());
    assert!(
        set(&world, &locked, json!({"type": "Running"})).await.get("errors").is_none(),
        "no version is no conflict"
    );
}

#[tokio::test]
async fn beyond_the_concurrency_limit_a_run_is_queued() {
    let world = World::new();
    switch(&world, |switches| switches.flow_concurrency = Some(1));
    let (first, second) = (seed(&world, json!({})), seed(&world, json!({})));
    let status = |answer: Value| answer["data"]["set_flow_run_states"]["states"][0]["status"].clone();
    assert_eq!(status(set(&world, &first, submitted()).await), "SUCCESS");
    assert_eq!(status(set(&world, &second, submitted()).await), "QUEUED");
    assert_eq!(world.flow_run(&second).unwrap().state(), "Queued");
    assert_eq!(queue(&world, &[]).await, [second]);
}

#[tokio::test]
async fn task_runs_have_no_lock() {
    let world = server();
    let run = seed(&world, json!({"state": "Running", "task_runs": [{}]}));
    let id = world.flow_run(&run).unwrap().task_runs[0].id.clone();
    let query = "mutation($input: set_task_run_states_input!) { set_task_run_states(input: $input) { states { id status message } } }";
    let state = json!({"type": "Submitted", "message": "Submitted for execution."});
    let input = |id: &str| json!({"input": {"states": [{"task_run_id": id, "version": 1, "state": state}]}});
    for _ in 0..2 {
        let answer = ask(&world, query, input(&id)).await.json();
        assert_eq!(answer["data"]["set_task_run_states"]["states"][0]["status"], "SUCCESS", "{answer}");
    }
    assert_eq!(world.flow_run(&run).unwrap().task_runs[0].version, 3);
    let unknown = "11111111-0000-4000-8000-000000000000";
    let answer = ask(&world, query, input(unknown)).await.json();
    assert_eq!(error(&answer), format!("State update failed for task run ID {unknown}"));
}
