//! What a poll leaves in the log: a line per launch, its report, metrics in the format of `CloudWatch`.

use crate::support::{Deployment, agent, ids, poll};
use serde_json::{Value, json};
use world::prefect1::FlowRunSpec;

/// The lines of a log, all of which must be JSON objects.
fn lines(log: &str) -> Vec<Value> {
    let parse = |line| match serde_json::from_str::<Value>(line) {
        Ok(value) if value.is_object() => value,
        _ => panic!("no JSON object: {line}"),
    };
    log.lines().map(parse).collect()
}

#[tokio::test]
async fn every_launch_has_one_line_with_its_ids_as_fields() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule_many(3);
    let function = deployment.poll_function().await;
    let report = poll(&function).await;
    let lines = lines(&function.stdout());
    let launches: Vec<_> = lines.iter().filter(|line| line["message"] == "flow run launched").collect();
    assert_eq!(launches.len(), 3, "{lines:#?}");
    for run in ids(agent(&report, "etl"), "launched") {
        let line = launches.iter().find(|line| line["flow_run_id"] == run).expect("no line for a launch");
        assert_eq!((&line["agent"], &line["epoch"], &line["level"]), (&json!("etl"), &json!("1"), &json!("INFO")));
        assert!(line["task_arn"].as_str().unwrap().starts_with("arn:aws:ecs:"), "{line}");
    }
    assert_eq!(function.stderr(), "");
}

#[tokio::test]
async fn the_report_is_a_line_too() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    let function = deployment.poll_function().await;
    let report = poll(&function).await;
    let lines = lines(&function.stdout());
    let told: Vec<_> = lines.iter().filter(|line| line["report"].is_object()).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["report"], &told[0]["level"]), (&report, &json!("INFO")));
}

/// Checks one line of embedded metrics by the rules of `CloudWatch`; its values.
fn embedded_metrics(line: &Value) -> &Value {
    let meta = &line["_aws"];
    let now = time::OffsetDateTime::now_utc().unix_timestamp() * 1000;
    assert!((now - meta["Timestamp"].as_i64().unwrap()).abs() < 60_000, "{line}");
    let directives = meta["CloudWatchMetrics"].as_array().unwrap();
    for directive in directives {
        assert!(directive["Namespace"].as_str().is_some_and(|name| !name.is_empty()), "{line}");
        for dimension in directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap()) {
            assert!(line[dimension.as_str().unwrap()].is_string(), "dimension {dimension}: {line}");
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            let values = line[name].as_array().cloned().unwrap_or_else(|| vec![line[name].clone()]);
            assert!(!values.is_empty() && values.iter().all(Value::is_number), "metric {name}: {line}");
            assert!(["Count", "Seconds", "None"].contains(&metric["Unit"].as_str().unwrap()), "{line}");
        }
    }
    line
}

/// The lines of metrics in a log.
fn metric_lines(log: &str) -> Vec<Value> {
    let lines = lines(log).into_iter().filter(|line| line["_aws"].is_object());
    lines.map(|line| embedded_metrics(&line).clone()).collect()
}

/// The only line of metrics in a log.
fn metric_line(log: &str) -> Value {
    let mut lines = metric_lines(log);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}

#[tokio::test]
async fn a_poll_leaves_one_line_of_metrics_for_all_its_agents() {
    let deployment = Deployment::empty().await;
    deployment.agent("one", json!({}));
    deployment.agent("off", json!({"enabled": false}));
    deployment.schedule_many(2);
    let function = deployment.poll_function().await;
    poll(&function).await;
    let line = metric_line(&function.stdout());
    assert_eq!((&line["Launched"], &line["PollFailures"], &line["FailingAgents"]), (&json!(2), &json!(0), &json!(0)));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Deployment"]]));
    assert_eq!((&line["ready"], &line["agents"], &line["claims_outstanding"]), (&json!(2), &json!(2), &json!(0)));
    assert_eq!(line["DueToLaunched"].as_array().map(Vec::len), Some(2), "{line}");
    assert_eq!(line["Late"], json!(0.0));
    assert!(line["poll_duration_ms"].is_u64() && line["api_latency_ms"].is_u64(), "{line}");
    let launches = lines(&function.stdout());
    let launches = launches.iter().filter(|line| line["message"] == "flow run launched");
    assert_eq!(launches.filter(|line| line["late_ms"].is_u64()).count(), 2);
}

#[tokio::test]
async fn each_agent_has_a_line_of_its_own_where_that_is_asked_for() {
    let deployment = Deployment::empty().await;
    deployment.agent("one", json!({}));
    deployment.agent("off", json!({"enabled": false}));
    deployment.schedule_many(2);
    let function = deployment.options("poll").env("AGENT_METRICS", "ENABLED").start().await.unwrap();
    poll(&function).await;
    let lines = metric_lines(&function.stdout());
    let told: Vec<_> = lines.iter().map(|line| (line["Agent"].as_str(), &line["Launched"])).collect();
    assert_eq!(told, [(None, &json!(2)), (Some("off"), &json!(0)), (Some("one"), &json!(2))]);
}

#[tokio::test]
async fn trouble_shows_in_the_metrics_and_at_level_error() {
    let deployment = Deployment::with_agent(json!({"api": "http://127.0.0.1:9"})).await;
    let function = deployment.poll_function().await;
    function.invoke(json!({}), crate::support::DEADLINE).await.unwrap_err();
    let metrics = metric_line(&function.stdout());
    assert_eq!((&metrics["PollFailures"], &metrics["Launched"]), (&json!(1), &json!(0)));
    assert_eq!(metrics.get("Late"), None, "nobody could ask");
    let lines = lines(&function.stdout());
    let told = lines.iter().find(|line| line["report"].is_object()).unwrap();
    assert_eq!(told["level"], "ERROR");
}

#[tokio::test]
async fn an_agent_that_begins_to_fail_is_a_pulse_that_outlives_the_process() {
    let deployment = Deployment::with_agent(json!({"api": "http://127.0.0.1:9"})).await;
    let failing = async || {
        let function = deployment.poll_function().await;
        function.invoke(json!({}), crate::support::DEADLINE).await.unwrap_err();
        let line = metric_line(&function.stdout());
        [line["FailingAgents"].clone(), line["NewlyFailingAgents"].clone()]
    };
    assert_eq!(failing().await, [json!(1), json!(1)]);
    assert_eq!(failing().await, [json!(1), json!(0)], "it was known to fail");
    // Another one begins: it is not hidden by the first.
    deployment.agent("broken", json!({"prefect": 7}));
    assert_eq!(failing().await, [json!(2), json!(1)]);
    assert_eq!(failing().await, [json!(2), json!(0)]);
}

#[tokio::test]
async fn a_deployment_without_a_configuration_counts_as_a_failed_poll() {
    let deployment = Deployment::empty().await;
    let function = deployment.poll_function().await;
    function.invoke(json!({}), crate::support::DEADLINE).await.unwrap_err();
    let line = metric_line(&function.stdout());
    assert_eq!(line["PollFailures"], json!(1));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().map(Vec::len), Some(1), "{line}");
    let asked = deployment.poll_function().await;
    asked.invoke(json!({"agents": 7}), crate::support::DEADLINE).await.unwrap_err();
    assert_eq!(metric_lines(&asked.stdout()), Vec::<Value>::new(), "the caller's mistake");
}

/// Lambda reads the level of a JSON line only beside a time in RFC 3339.
fn counts_as_error(line: &Value) -> bool {
    let time = line["timestamp"].as_str().unwrap_or_default();
    let is_time = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).is_ok();
    line["level"] == "ERROR" && is_time
}

#[tokio::test]
async fn a_failed_poll_is_logged_once_and_so_that_its_level_counts() {
    let deployment = Deployment::with_agent(json!({"api": "http://127.0.0.1:9"})).await;
    let function = deployment.options("poll").env("RUST_LOG", "info").start().await.unwrap();
    let error = function.invoke(json!({}), crate::support::DEADLINE).await.unwrap_err();
    assert_eq!(error.error_type, "PollFailed");
    let text = function.output();
    let told: Vec<_> = lines(&text).into_iter().filter(|line| line.to_string().contains("cannot connect to")).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(counts_as_error(&told[0]) && told[0]["report"].is_object(), "{text}");
}

#[tokio::test]
async fn an_invocation_that_fails_without_a_report_is_logged_once_too() {
    let deployment = Deployment::empty().await;
    for (handler, event, said) in [
        ("poll", json!({}), "no agent is configured"),
        ("poll", json!({"agents": 7}), "must be a list of agent names"),
        ("task-events", json!({"agents": ["etl"]}), "ECS Task State Change"),
    ] {
        let function = deployment.options(handler).env("RUST_LOG", "info").start().await.unwrap();
        let error = function.invoke(event, crate::support::DEADLINE).await.unwrap_err();
        assert!(error.error_message.contains(said), "{error:?}");
        let text = function.output();
        let told = lines(&text).into_iter().filter(|line| line["level"] == "ERROR" && line.to_string().contains(said));
        let told: Vec<_> = told.collect();
        assert!(told.len() == 1 && counts_as_error(&told[0]), "{text}");
    }
}

#[tokio::test]
async fn a_function_that_cannot_start_says_so_once() {
    let deployment = Deployment::empty().await;
    let function = deployment.options("index.handler").start().await;
    let said = match function {
        Ok(function) => {
            function.invoke(json!({}), crate::support::DEADLINE).await.unwrap_err();
            function.output()
        }
        Err(error) => format!("{error:?}"),
    };
    assert_eq!(said.matches("index.handler").count(), 1, "{said}");
}

#[tokio::test]
async fn the_level_comes_from_the_function_s_logging_configuration() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    let function = deployment.options("poll").env("AWS_LAMBDA_LOG_LEVEL", "ERROR").start().await.unwrap();
    poll(&function).await;
    let lines = lines(&function.stdout());
    assert!(lines.iter().all(|line| line["message"] != "flow run launched"), "{lines:#?}");
    assert!(lines.iter().any(|line| line["report"].is_object()), "the report is not a matter of the level");
}
