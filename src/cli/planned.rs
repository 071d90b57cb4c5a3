//! Pure: what a dry run found, as text and as JSON.

use crate::poll::Report;
use crate::poll::dry_run::PlannedRequest;
use serde_json::{Value, json};
use std::fmt::Write;
use time::format_description::well_known::Rfc3339;

/// The requests in their order, each body on a line of its own, exactly as it would be sent.
pub(super) fn text(requests: &[PlannedRequest]) -> String {
    if requests.is_empty() {
        return "Dry run: nothing was written, and nothing would be sent next.\n".to_owned();
    }
    let mut text = format!("Dry run: nothing was written. Next, {} would be sent:\n", counted(requests.len()));
    for (index, request) in requests.iter().enumerate() {
        let PlannedRequest { agent, service, operation, not_before, body } = request;
        let held = not_before.and_then(|until| until.format(&Rfc3339).ok());
        let held = held.map(|until| format!(", not before {until}")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}. {agent}: {service} {operation}{held}\n{body}\n", index + 1);
    }
    text
}

fn counted(count: usize) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

/// The report, and the requests beside it.
pub(super) fn json(report: &Report, requests: &[PlannedRequest]) -> Value {
    json!({"dry_run": true, "agents": report.agents, "requests": requests})
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn every_request_is_shown_with_its_body_on_one_line() {
        let request = |operation, not_before| PlannedRequest {
            agent: "etl".into(),
            service: "ecs",
            operation: String::from(operation),
            not_before,
            body: json!({"b": 1, "a": "x\ny"}),
        };
        let requests = [request("RunTask", None), request("StopTask", Some(datetime!(2026-11-24 12:00:10 UTC)))];
        let expected = "Dry run: nothing was written. Next, 2 requests would be sent:\n\n\
            1. etl: ecs RunTask\n{\"b\":1,\"a\":\"x\\ny\"}\n\n\
            2. etl: ecs StopTask, not before 2026-11-24T12:00:10Z\n{\"b\":1,\"a\":\"x\\ny\"}\n";
        assert_eq!(text(&requests), expected);
        assert!(text(&[]).contains("nothing would be sent"));
    }
}
