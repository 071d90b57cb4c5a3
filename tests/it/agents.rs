//! Several agents in one deployment, polled side by side; one with trouble never stops another.

use crate::support::{DEADLINE, Deployment, ROOT, agent, ids, labels, poll, report_in};
use serde_json::{Value, json};
use std::time::Duration;
use world::prefect1::FlowRunSpec;
use world::{Fault, FaultKind, InvokeError};

fn labelled(of: &str) -> FlowRunSpec {
    FlowRunSpec { labels: labels(&[of]), ..FlowRunSpec::default() }
}

/// Two agents, `a` and `b`, each with a label and a due run of its own.
async fn two_agents() -> (Deployment, String, String) {
    let deployment = Deployment::empty().await;
    deployment.agent("a", json!({"labels": ["a"]}));
    deployment.agent("b", json!({"labels": ["b"]}));
    let (of_a, of_b) = (deployment.schedule(labelled("a")), deployment.schedule(labelled("b")));
    (deployment, of_a, of_b)
}

async fn invoke(deployment: &Deployment, event: Value) -> Result<Value, InvokeError> {
    deployment.poll_function().await.invoke(event, DEADLINE).await
}

#[tokio::test]
async fn all_agents_are_polled_and_reported() {
    let (deployment, of_a, of_b) = two_agents().await;
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "a"), "launched"), std::slice::from_ref(&of_a));
    assert_eq!(ids(agent(&report, "b"), "launched"), [of_b]);
    let started_by = deployment.world.ecs_tasks().into_iter().filter_map(|task| task.started_by);
    assert!(started_by.into_iter().any(|by| by == format!("prefect/a/{of_a}")));
}

#[tokio::test]
async fn agents_are_polled_side_by_side() {
    let (deployment, ..) = two_agents().await;
    let function = deployment.poll_function().await;
    poll(&function).await;
    deployment.world.lock().journal.clear();
    deployment.world.latency(Duration::from_millis(300));
    poll(&function).await;
    let looks = deployment.world.requests("prefect1", "flow_run");
    assert_eq!(looks.len(), 2, "one of each agent");
    assert!(looks[1].at_ms < looks[0].answered_ms.unwrap(), "the second does not wait for the first: {looks:#?}");
}

#[tokio::test]
async fn a_configuration_wrong_in_three_places_gets_one_message_and_stops_nobody_else() {
    let (deployment, of_a, _) = two_agents().await;
    deployment.configure("b", "prefect: 1\nlabels: {prod: true}\nmax_polls: many\nlaunch_typ: FARGATE\n");
    let error = deployment.poll_fails().await;
    let report = report_in(&error);
    assert_eq!(ids(agent(&report, "a"), "launched"), [of_a], "the other one is polled");
    assert_eq!(agent(&report, "a")["ok"], true);
    let b = agent(&report, "b");
    assert_eq!((&b["ok"], &b["error_kind"]), (&json!(false), &json!("configuration")));
    let message = b["error"].as_str().unwrap();
    for expected in [&format!("{ROOT}/config/b"), "labels", "max_polls", "launch_typ", "launch_type"] {
        assert!(message.contains(expected), "no {expected} in: {message}");
    }
    assert_eq!(deployment.status("b")["error"], "configuration");
}

#[tokio::test]
async fn a_wrong_configuration_is_read_again_by_the_next_poll_of_a_warm_function() {
    let (deployment, _, of_b) = two_agents().await;
    deployment.configure("b", "prefect: 1\nlabls: [b]\n");
    let function = deployment.poll_function().await;
    function.invoke(json!({}), DEADLINE).await.unwrap_err();
    deployment.agent("b", json!({"labels": ["b"]}));
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "b"), "launched"), [of_b], "{report:#}");
}

/// Each decryption is paid for.
#[tokio::test]
async fn a_warm_function_decrypts_anew_what_was_written_since_and_nothing_else() {
    let (deployment, _, _) = two_agents().await;
    let decryptions = || {
        let asked = deployment.world.requests("ssm", "GetParametersByPath");
        asked.iter().filter(|asked| asked.body.contains(r#""WithDecryption":true"#)).count()
    };
    deployment.world.put_secret(&format!("{ROOT}/secrets/a/api-key"), "first");
    // An agent that is configured wrongly has all parameters read again by each poll.
    deployment.configure("c", "prefect: 1\nlabls: [c]\n");
    let function = deployment.poll_function().await;
    for _ in 0..3 {
        function.invoke(json!({}), DEADLINE).await.unwrap_err();
    }
    assert_eq!(decryptions(), 1);
    deployment.world.put_secret(&format!("{ROOT}/secrets/a/api-key"), "second");
    function.invoke(json!({}), DEADLINE).await.unwrap_err();
    assert_eq!(decryptions(), 2);
    let keys: Vec<_> = deployment.world.requests("prefect1", "*");
    let shows = |key: &str| keys.iter().any(|asked| asked.headers.iter().any(|(_, value)| value.contains(key)));
    assert!(shows("first") && shows("second"), "the new key is used");
}

#[tokio::test]
async fn an_agent_whose_api_is_down_does_not_disturb_the_others() {
    let (deployment, of_a, _) = two_agents().await;
    deployment.agent("b", json!({"labels": ["b"], "api": "http://127.0.0.1:9/"}));
    let report = report_in(&deployment.poll_fails().await);
    assert_eq!(ids(agent(&report, "a"), "launched"), [of_a]);
    assert_eq!(agent(&report, "b")["error_kind"], "api-unreachable", "{report:#}");
    assert_eq!(deployment.status("b")["error"], "api-unreachable");
}

#[tokio::test]
async fn a_disabled_agent_is_not_polled_and_no_error() {
    let (deployment, _, of_b) = two_agents().await;
    deployment.agent("a", json!({"labels": ["a"], "enabled": false}));
    let report = deployment.poll().await;
    let a = agent(&report, "a");
    assert_eq!((&a["disabled"], &a["ok"], &a["ready"]), (&json!(true), &json!(true), &json!(0)));
    assert_eq!(ids(agent(&report, "b"), "launched"), [of_b]);
    assert_eq!(deployment.world.prefect1_agents().len(), 1);
}

#[tokio::test]
async fn an_event_may_name_the_agents_to_poll() {
    let (deployment, _, of_b) = two_agents().await;
    let report = invoke(&deployment, json!({"agents": ["b"]})).await.unwrap();
    assert_eq!(report["agents"].as_object().unwrap().len(), 1, "{report:#}");
    assert_eq!(ids(agent(&report, "b"), "launched"), [of_b]);
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_an_error_that_names_those_that_are() {
    let (deployment, ..) = two_agents().await;
    let error = invoke(&deployment, json!({"agents": ["b", "c"]})).await.unwrap_err();
    assert!(error.error_message.contains("\"c\"") && error.error_message.contains("a, b"), "{error:?}");
    assert!(deployment.prefect_requests().is_empty());
}

#[tokio::test]
async fn events_of_other_shapes_mean_all_agents() {
    let (deployment, ..) = two_agents().await;
    let function = deployment.poll_function().await;
    for event in [json!({"source": "aws.scheduler"}), json!(null), json!("text"), json!({"poke": true})] {
        let report = function.invoke(event.clone(), DEADLINE).await.unwrap();
        assert_eq!(report["agents"].as_object().unwrap().len(), 2, "{event}");
    }
}

#[tokio::test]
async fn a_deployment_without_agents_is_an_error_that_says_where_they_go() {
    let deployment = Deployment::empty().await;
    let error = deployment.poll_fails().await;
    assert!(error.error_message.contains(&format!("{ROOT}/config/")), "{error:?}");
}

#[tokio::test]
async fn parameters_that_cannot_be_read_fail_the_invocation() {
    let (deployment, ..) = two_agents().await;
    let denied = FaultKind::AwsError {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "not authorized to perform ssm:GetParametersByPath".into(),
    };
    deployment.world.fault(Fault::new("ssm", "GetParametersByPath", denied).always());
    let error = deployment.poll_fails().await;
    assert_eq!(error.error_type, "PollFailed");
    assert!(error.error_message.contains("ssm:GetParametersByPath"), "{error:?}");
    assert!(deployment.prefect_requests().is_empty());
}

#[tokio::test]
async fn more_agents_than_a_page_of_parameters_are_all_polled() {
    let deployment = Deployment::empty().await;
    for number in 0..23 {
        deployment.agent(&format!("agent-{number}"), json!({"labels": [format!("label-{number}")]}));
    }
    let report = deployment.poll().await;
    assert_eq!(report["agents"].as_object().unwrap().len(), 23);
    assert_eq!(deployment.world.prefect1_agents().len(), 23);
}

#[tokio::test]
async fn a_function_with_an_unknown_handler_or_without_a_root_does_not_start() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = deployment.options("index.handler").start().await.unwrap();
    let error = function.ready(DEADLINE).await.unwrap_err();
    assert!(function.output().contains("index.handler"), "{}", function.output());
    let sentence = "set the function's Handler to poll, health, poke, task-events or check";
    assert!(function.output().contains(sentence) && !function.output().contains("Error: "), "{error:?}");
    assert!(function.exited().is_some_and(|status| !status.success()));

    let function = deployment.options("poll").parameter_root("").start().await.unwrap();
    function.ready(DEADLINE).await.unwrap_err();
    assert!(function.output().contains("PARAMETER_ROOT"), "{}", function.output());
}
