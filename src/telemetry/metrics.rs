//! `CloudWatch` embedded metrics: one JSON object per agent and poll, which `CloudWatch` turns into metrics.

use crate::poll::AgentReport;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Namespace of the metrics.
pub const NAMESPACE: &str = "PrefectServerlessAgent";

/// Name and unit of each metric.
const METRICS: [(&str, &str); 8] = [
    ("Polls", "Count"),
    ("PollFailures", "Count"),
    ("Ready", "Count"),
    ("Launched", "Count"),
    ("Deferred", "Count"),
    ("Failed", "Count"),
    ("Throttled", "Count"),
    ("PollDuration", "Milliseconds"),
];

/// The metrics of one poll of one agent, as `CloudWatch` reads them from a log line of its own. Dimensions: the
/// deployment's parameter root and the agent.
pub fn embedded_metrics(root: &str, agent: &str, report: &AgentReport, now: OffsetDateTime) -> Value {
    let metrics: Vec<_> = METRICS.iter().map(|(name, unit)| json!({"Name": name, "Unit": unit})).collect();
    let polled = !report.stopped && !report.disabled;
    json!({
        "_aws": {
            "Timestamp": i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["Deployment", "Agent"]],
                "Metrics": metrics,
            }],
        },
        "Deployment": root,
        "Agent": agent,
        "Polls": u8::from(polled),
        "PollFailures": u8::from(report.failed_itself()),
        "Ready": report.ready,
        "Launched": report.launched.len(),
        "Deferred": report.deferred.len(),
        "Failed": report.failed.len(),
        "Throttled": report.throttled,
        "PollDuration": report.duration_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::report::LaunchedRun;
    use time::macros::datetime;

    #[test]
    fn every_declared_metric_has_a_value_and_every_dimension_too() {
        let launched = LaunchedRun { flow_run_id: "r".into(), task_arn: "t".into(), adopted: false };
        let report =
            AgentReport { ok: true, ready: 2, launched: vec![launched], duration_ms: 84, ..Default::default() };
        let line = embedded_metrics("/psa/prod", "etl", &report, datetime!(2026-11-24 12:00:00 UTC));
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        for metric in directive["Metrics"].as_array().into_iter().flatten() {
            let name = metric["Name"].as_str().unwrap_or_default();
            assert!(line[name].is_number(), "{name} has no value: {line}");
        }
        for dimension in directive["Dimensions"][0].as_array().into_iter().flatten() {
            assert!(line[dimension.as_str().unwrap_or_default()].is_string(), "{dimension} is missing: {line}");
        }
        assert_eq!((&line["Launched"], &line["PollDuration"]), (&json!(1), &json!(84)));
        assert_eq!(line["_aws"]["Timestamp"], json!(1_795_521_600_000_i64));
    }

    #[test]
    fn a_stopped_agent_counts_no_poll() {
        let report = AgentReport { ok: true, stopped: true, ..Default::default() };
        let line = embedded_metrics("/psa/prod", "etl", &report, datetime!(2026-11-24 12:00:00 UTC));
        assert_eq!(line["Polls"], json!(0));
    }
}
