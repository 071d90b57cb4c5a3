//! Which errors have which status, code and data.

use super::{QUEUE, SET, ask, ask_as, one_state, seed, server, submitted, switch};
use crate::{
    World,
    prefect1::{FailRule, NullRule, TENANT},
};
use serde_json::{Value, json};

const LOGS: &str = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }";

#[tokio::test]
async fn requests_that_are_refused_as_a_whole_have_no_data() {
    let cases = [
        ("query {", Value::Null, "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", Value::Null, "GRAPHQL_VALIDATION_FAILED"),
        ("{ auth_info { tenant_id } }", Value::Null, "GRAPHQL_VALIDATION_FAILED"),
        ("{ tenant(limit: \"x\") { id } }", Value::Null, "GRAPHQL_VALIDATION_FAILED"),
        ("{ tenant { id } } query Other { hello }", Value::Null, "GRAPHQL_VALIDATION_FAILED"),
        (QUEUE, json!({}), "INTERNAL_SERVER_ERROR"),
        (QUEUE, json!({"input": {"labels": []}}), "INTERNAL_SERVER_ERROR"),
        (QUEUE, json!({"input": {"tenant_id": TENANT, "unknown": 1}}), "INTERNAL_SERVER_ERROR"),
        (LOGS, json!({"input": {"logs": [{"level": "LOUD"}]}}), "INTERNAL_SERVER_ERROR"),
    ];
    for (query, variables, code) in cases {
        let answer = ask(&server(), query, variables).await;
        let json = answer.json();
        assert_eq!((answer.status, &json["errors"][0]["extensions"]["code"]), (400, &json!(code)), "{query}: {json}");
        assert!(json.get("data").is_none(), "{query}: {json}");
    }
}

#[tokio::test]
async fn a_document_may_be_seven_selections_deep() {
    let deep = "{ __schema { types { fields { type { ofType { ofType { ofType { ofType { name } } } } } } } } }";
    let answer = ask(&server(), deep, Value::Null).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("exceeds maximum operation depth of 7"), "{}", answer.text);
}

#[tokio::test]
async fn a_field_that_fails_is_null_and_its_error_is_complete() {
    let world = server();
    let id = seed(&world, json!({}));
    let set = one_state(&id, submitted());
    ask(&world, SET, set.clone()).await;
    let answer = ask(&world, SET, set).await;
    assert_eq!(answer.status, 200);
    let message = "State update failed: this run has already been submitted.";
    assert_eq!(
        answer.json(),
        json!({
            "errors": [{
                "message": message,
                "locations": [{"line": 1, "column": 48}],
                "path": ["set_flow_run_states"],
                "extensions": {"code": "INTERNAL_SERVER_ERROR", "exception": {"message": message}},
            }],
            "data": {"set_flow_run_states": null},
        })
    );
}

#[tokio::test]
async fn bad_ids_and_times_of_prefects_inputs_have_status_200() {
    let world = server();
    let cases = [
        (SET, one_state("x", submitted()), "set_flow_run_states"),
        (QUEUE, json!({"input": {"tenant_id": "x"}}), "get_runs_in_queue"),
        (QUEUE, json!({"input": {"tenant_id": TENANT, "before": "soon"}}), "get_runs_in_queue"),
        (QUEUE, json!({"input": {"tenant_id": TENANT, "labels": null}}), "get_runs_in_queue"),
        (LOGS, json!({"input": {"logs": [{"flow_run_id": "x", "level": "INFO"}]}}), "write_run_logs"),
    ];
    for (query, variables, field) in cases {
        let answer = ask(&world, query, variables).await;
        let json = answer.json();
        assert_eq!(answer.status, 200, "{json}");
        assert_eq!(json["data"], json!({field: null}), "{json}");
        assert_eq!(json["errors"][0]["path"], json!([field]), "{json}");
        assert_eq!(json["errors"][0]["extensions"]["code"], "INTERNAL_SERVER_ERROR", "{json}");
    }
}

#[tokio::test]
async fn a_bad_id_in_a_where_takes_all_data_away() {
    let query = "query($w: flow_run_bool_exp) { hello flow_run(where: $w) { id } }";
    let answer = ask(&server(), query, json!({"w": {"_or": [{"id": {"_eq": "x"}}]}})).await;
    let json = answer.json();
    assert_eq!((answer.status, &json["data"]), (200, &Value::Null), "{json}");
    assert!(json["errors"][0]["message"].as_str().unwrap().contains("type uuid"), "{json}");
    assert!(json.get("data").is_some(), "{json}");
}

#[tokio::test]
async fn hasura_out_of_reach() {
    let world = server();
    switch(&world, |switches| switches.hasura_down = true);
    let tables = ask(&world, "{ flow_run { id } }", Value::Null).await;
    assert_eq!(tables.status, 200);
    assert!(tables.json().get("data").is_none(), "{}", tables.text);
    let fields = ask(&world, QUEUE, json!({"input": {"tenant_id": TENANT}})).await.json();
    assert_eq!(fields["data"], json!({"get_runs_in_queue": null}), "{fields}");
    let message = "Unable to complete operation. An internal API error occurred.";
    assert_eq!(fields["errors"][0]["message"], message);
}

#[tokio::test]
async fn prefects_own_service_out_of_reach() {
    let world = server();
    switch(&world, |switches| switches.service_down = true);
    let fields = ask(&world, QUEUE, json!({"input": {"tenant_id": TENANT}})).await;
    assert_eq!(fields.status, 200);
    assert!(fields.json()["errors"][0]["message"].as_str().unwrap().contains("ECONNREFUSED"), "{}", fields.text);
    let tables = ask(&world, "{ flow_run { id } }", Value::Null).await.json();
    assert_eq!(tables, json!({"data": {"flow_run": []}}));
}

#[tokio::test]
async fn a_server_that_refuses_our_own_query_still_takes_the_python_one() {
    let world = World::new();
    let ours = "query($labels: jsonb) { flow_run(where: {labels: {_contained_in: $labels}}) { id } }";
    let python = r#"{ flow_run(where: { id: { _in: ["51f0038a-6f3d-4d73-9dba-54d2342adbaf"] } }) { id } }"#;
    assert_eq!(ask(&world, ours, json!({"labels": ["a"]})).await.status, 200);
    switch(&world, |switches| switches.without_contained_in = true);
    let refused = ask(&world, ours, json!({"labels": ["a"]})).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(refused.json()["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(ask(&world, python, Value::Null).await.status, 200);

    let in_variables = "query($w: flow_run_bool_exp) { flow_run(where: $w) { id } }";
    let refused = ask(&world, in_variables, json!({"w": {"labels": {"_contained_in": ["a"]}}})).await;
    assert_eq!(refused.status, 400, "{}", refused.text);

    switch(&world, |switches| {
        switches.without_contained_in = false;
        switches.max_flow_run_query = Some(python.len() + 10);
    });
    assert_eq!(ask(&world, python, Value::Null).await.status, 200);
    let long = python.replace("{ id }", "{ id name parameters run_config }");
    assert_eq!(
        ask(&world, &long, Value::Null).await.json()["errors"][0]["extensions"]["code"],
        "GRAPHQL_VALIDATION_FAILED"
    );
}

#[tokio::test]
async fn one_alias_fails_by_a_rule_and_the_other_is_not_disturbed() {
    let world = World::new();
    let (good, bad) = (seed(&world, json!({})), seed(&world, json!({})));
    let rule = FailRule { contains: bad.clone(), times: 1, ..FailRule::new("set_flow_run_states", "boom") };
    switch(&world, |switches| switches.fail.push(rule));
    let query = "mutation($a: set_flow_run_states_input!, $b: set_flow_run_states_input!) {
        a: set_flow_run_states(input: $a) { states { id } } b: set_flow_run_states(input: $b) { states { id } } }";
    let variables = json!({"a": one_state(&bad, submitted())["input"], "b": one_state(&good, submitted())["input"]});
    let json = ask(&world, query, variables.clone()).await.json();
    assert_eq!(json["data"], json!({"a": null, "b": {"states": [{"id": good}]}}), "{json}");
    assert_eq!((&json["errors"][0]["path"], &json["errors"][0]["message"]), (&json!(["a"]), &json!("boom")));
    assert_eq!(json["errors"][0]["locations"], json!([{"line": 2, "column": 9}]), "where the alias is: {json}");
    assert_eq!(world.flow_run(&bad).unwrap().state(), "Scheduled");
    let again = ask(&world, query, variables).await.json();
    assert_eq!(again["data"]["a"]["states"][0]["id"], bad, "{again}");
}

#[tokio::test]
async fn data_can_be_half_null_after_the_effect() {
    let world = World::new();
    let id = seed(&world, json!({}));
    switch(&world, |switches| {
        switches.nulls.push(NullRule { times: 1, ..NullRule::new("set_flow_run_states", Some("lost")) });
        switches.nulls.push(NullRule::new("flow_run.*.flow", None));
    });
    let json = ask(&world, SET, one_state(&id, submitted())).await.json();
    assert_eq!(json["data"], json!({"set_flow_run_states": null}), "{json}");
    assert_eq!(json["errors"][0]["message"], "lost");
    assert_eq!(world.flow_run(&id).unwrap().state(), "Submitted", "the effect is there all the same");
    let json = ask(&world, "{ flow_run { id flow { name } } }", Value::Null).await.json();
    assert_eq!(json, json!({"data": {"flow_run": [{"id": id, "flow": null}]}}));
}

#[tokio::test]
async fn an_agent_header_that_is_no_uuid_breaks_the_queue_only() {
    let world = server();
    let input = json!({"input": {"tenant_id": TENANT}});
    let bad = ask_as(&world, Some("agent-1"), QUEUE, input.clone()).await.json();
    assert_eq!(bad["data"], json!({"get_runs_in_queue": null}), "{bad}");
    let unknown = ask_as(&world, Some("11111111-0000-4000-8000-000000000000"), QUEUE, input).await.json();
    assert_eq!(unknown["data"]["get_runs_in_queue"]["flow_run_ids"], json!([]), "{unknown}");
    assert_eq!(ask_as(&world, Some("agent-1"), "{ hello }", Value::Null).await.json()["data"]["hello"], "👋");
}
