#![allow(clippy::panic)]
use super::*;
use crate::poll::report::LaunchedRun;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

fn launched(late_ms: Option<u64>, adopted: bool) -> LaunchedRun {
    LaunchedRun { flow_run_id: "r".into(), task_arn: "t".into(), adopted, late_ms }
}

fn scope(variables: &[(&str, &str)]) -> MetricScope {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    MetricScope::new("/psa/prod", &environment)
}

fn report(agents: Vec<(&str, AgentReport)>) -> Report {
    Report { agents: agents.into_iter().map(|(name, agent)| (name.to_owned(), agent)).collect() }
}

/// Metrics of a line by name, after a look at whether `CloudWatch` would take it.
fn metrics(line: &Value) -> BTreeMap<String, Value> {
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], NAMESPACE);
    for dimension in directive["Dimensions"][0].as_array().into_iter().flatten() {
        assert!(line[dimension.as_str().unwrap_or_default()].is_string(), "{dimension} is missing: {line}");
    }
    let of = |metric: &Value| {
        let name = metric["Name"].as_str().unwrap_or_default().to_owned();
        let value = line[&name].clone();
        let fits = value.as_array().is_some_and(|values| values.len() <= VALUES && values.iter().all(Value::is_number));
        assert!(value.is_number() || fits, "{name}: {line}");
        (name, value)
    };
    directive["Metrics"].as_array().into_iter().flatten().map(of).collect()
}

#[test]
fn a_poll_is_one_line_whatever_the_number_of_agents() {
    let late = LateRun { flow_run_id: "r2".into(), late_ms: 12_500, reason: "no room".into() };
    let one = AgentReport {
        ok: true,
        ready: 2,
        launched: vec![launched(Some(700), false), launched(Some(9), true), launched(None, false)],
        is_queue_known: true,
        oldest_late: Some(late),
        outstanding: Some(3),
        duration_ms: 84,
        api_latency_ms: Some(21),
        ..AgentReport::default()
    };
    let two = AgentReport { is_failing: true, is_newly_failing: true, throttled: 2, ..AgentReport::default() };
    let lines = scope(&[]).of_poll(&report(vec![("one", one), ("two", two)]), NOW);
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    let expected = [
        ("PollFailures", json!(1)),
        ("FailingAgents", json!(1)),
        ("NewlyFailingAgents", json!(1)),
        ("Late", json!(12.5)),
        ("DueToLaunched", json!(0.7)),
        ("Launched", json!(3)),
        ("Failed", json!(0)),
        ("Throttled", json!(2)),
    ];
    assert_eq!(metrics(line), expected.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(line["_aws"]["Timestamp"], json!(1_795_521_600_000_i64));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Deployment"]]));
    assert_eq!((&line["claims_outstanding"], &line["api_latency_ms"]), (&json!(3), &json!(21)));
    let oldest = json!({"agent": "one", "flow_run_id": "r2", "late_ms": 12_500, "reason": "no room"});
    assert_eq!(line["oldest_due"], oldest);
}

#[test]
fn what_nobody_could_ask_for_is_not_said() {
    let lines = scope(&[]).of_poll(&report(vec![("one", AgentReport::default())]), NOW);
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    let told = metrics(line);
    assert!(!told.contains_key("Late") && !told.contains_key("DueToLaunched"), "{line}");
    assert_eq!((line.get("claims_outstanding"), line.get("api_latency_ms")), (None, None));
    let known = AgentReport { ok: true, is_queue_known: true, ..AgentReport::default() };
    let lines = scope(&[]).of_poll(&report(vec![("one", known)]), NOW);
    assert_eq!(metrics(&lines[0])["Late"], json!(0.0), "nothing waits");
}

#[test]
fn agents_have_their_own_only_where_asked_for() {
    let agent = || AgentReport { ok: true, launched: vec![launched(Some(500), false)], ..AgentReport::default() };
    let report = report(vec![("one", agent()), ("two", agent())]);
    for off in [scope(&[]), scope(&[(AGENT_METRICS, "DISABLED")]), scope(&[(AGENT_METRICS, "")])] {
        assert_eq!(off.of_poll(&report, NOW).len(), 1);
        assert_eq!(off.of_task(Some("one"), Metric::EstimatedCost, 0.01, NOW).len(), 1);
    }
    let on = scope(&[(AGENT_METRICS, "ENABLED")]);
    let lines = on.of_poll(&report, NOW);
    let told: Vec<_> = lines.iter().map(|line| (line["Agent"].as_str(), &line["Launched"])).collect();
    assert_eq!(told, [(None, &json!(2)), (Some("one"), &json!(1)), (Some("two"), &json!(1))]);
    let dimensions = |line: &Value| line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
    assert_eq!(dimensions(&lines[1]), json!([["Deployment", "Agent"]]));
    assert_eq!(on.of_task(Some("one"), Metric::DueToRunning, 42.0, NOW).len(), 2);
    assert_eq!(on.of_task(None, Metric::DueToRunning, 42.0, NOW).len(), 1);
}

#[test]
fn more_than_a_hundred_values_take_several_lines_and_nothing_is_said_twice() {
    let launched = (0..250).map(|run| launched(Some(run), false)).collect();
    let agent = AgentReport { ok: true, launched, ..AgentReport::default() };
    let lines = scope(&[]).of_poll(&report(vec![("one", agent)]), NOW);
    let told: Vec<_> = lines.iter().map(metrics).collect();
    let sizes: Vec<_> = told.iter().map(|told| told["DueToLaunched"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(told.iter().filter(|told| told.contains_key("Launched")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.get("agents").is_some()).count(), 1);
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_failed_poll_and_says_nothing_else() {
    let lines = scope(&[(AGENT_METRICS, "ENABLED")]).of_no_poll(NOW);
    let told: Vec<_> = lines.iter().map(metrics).collect();
    assert_eq!(told, [BTreeMap::from([("PollFailures".to_owned(), json!(1))])]);
}

#[test]
fn names_are_those_of_the_variants() {
    for metric in Metric::ALL {
        assert_eq!(metric.name(), format!("{metric:?}"));
        assert!(["Count", "Seconds", "None"].contains(&metric.unit()));
    }
}
