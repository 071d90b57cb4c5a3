//! The `poll` function: one poll iteration for every configured agent.

use super::InvocationError;
use crate::clock::{Clock, after};
use crate::platform::ecs::AgentEcs;
use crate::poll::{Deployment, Invocation, PollError, Report, Selection};
use crate::telemetry::metrics::MetricScope;
use serde_json::{Value, json};
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// The `errorType` of an event that asks for something that there is not.
const BAD_EVENT: &str = "BadEvent";

/// The furthest that `not_before` may be away: a poll that waits is paid for.
const MOST_HELD: Duration = Duration::from_secs(10);

/// Handles one event. `{"agents": ["etl"]}` polls only those; any other event polls all. `{"not_before": "…"}`, which
/// pokes that come together send, has the poll begin at that time and not earlier. `{"poke": true}` says that nobody waits for
/// the answer: a poke for an agent that is gone is a warning, since a mistake of whoever pokes is none of the deployment's.
pub async fn handle<C: Clock + Clone + 'static>(
    deployment: &Deployment<AgentEcs<C>, C>,
    event: &Value,
    invocation: &Invocation,
    clock: &impl Clock,
) -> Result<Report, InvocationError> {
    let bad = |message| InvocationError::new(BAD_EVENT, message);
    let selection = selection(event).map_err(bad)?;
    if let Some(begin) = not_before(event, clock.now()).map_err(bad)? {
        clock.sleep_until(begin).await;
    }
    let is_poked = event.get("poke") == Some(&json!(true));
    let invocation = Invocation { is_poked, ..invocation.clone() };
    match deployment.poll(&selection, &invocation).await {
        Err(PollError::UnknownAgent(error)) if is_poked => {
            tracing::warn!(%error, "poked for an agent that is gone: connect --remove ends its pokes");
            Ok(Report::default())
        }
        polled => polled.map_err(|error| failure(&error)),
    }
}

/// The answer to a finished poll: the report, or the report as an error when an agent's own poll failed, so that the
/// function's `Errors` metric tells of it.
pub fn answer(report: &Report) -> Result<Value, InvocationError> {
    let text = json!(report);
    // The log has the report as a line of its own.
    if report.ok() { Ok(text) } else { Err(InvocationError::logged("PollFailed", text.to_string())) }
}

/// The lines that a poll leaves in the log: its report and its metrics, also where nothing could be polled.
///
/// Lambda reads `timestamp` and `level` of a JSON line: without both, or with a time in another format than RFC 3339, a
/// line counts as INFO, whatever its level says.
pub fn log_lines(metrics: &MetricScope, polled: &Result<Report, InvocationError>, now: OffsetDateTime) -> Vec<Value> {
    let report = match polled {
        Ok(report) => report,
        // The caller's mistake is none of the deployment's.
        Err(failure) if failure.error_type == BAD_EVENT => return Vec::new(),
        Err(_) => return metrics.of_no_poll(now),
    };
    let level = if report.ok() { "INFO" } else { "ERROR" };
    // Formatting fails for years beyond 9999 only.
    let time = now.to_offset(UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
    let line = json!({"timestamp": time, "level": level, "message": "poll ended", "report": report});
    std::iter::once(line).chain(metrics.of_poll(report, now)).collect()
}

fn failure(error: &PollError) -> InvocationError {
    let error_type = match error {
        PollError::Parameters { .. } | PollError::Deadline(_) => "PollFailed",
        PollError::NoAgents(_) => "ConfigurationError",
        PollError::UnknownAgent(_) => BAD_EVENT,
    };
    InvocationError::new(error_type, error.to_string())
}

pub(super) fn selection(event: &Value) -> Result<Selection, String> {
    let Some(agents) = event.get("agents") else { return Ok(Selection::All) };
    let names = agents.as_array().and_then(|names| names.iter().map(|name| Some(name.as_str()?.to_owned())).collect());
    match names {
        Some(names) => Ok(Selection::Agents(names)),
        None => Err(format!("\"agents\" in the event must be a list of agent names, but is {agents}")),
    }
}

/// When the poll may begin.
fn not_before(event: &Value, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, String> {
    let Some(given) = event.get("not_before") else { return Ok(None) };
    let wrong = |what: &str| format!("\"not_before\" in the event must be {what}, but is {given}");
    let time = given.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let time = time.ok_or_else(|| wrong("a time such as \"2026-11-30T22:00:01.5Z\""))?;
    if time > after(now, MOST_HELD) {
        return Err(wrong(&format!("at most {} s from now", MOST_HELD.as_secs())));
    }
    Ok(Some(time))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_poll_may_be_put_off_for_a_few_seconds() {
        let now = datetime!(2026-11-30 22:00 UTC);
        assert_eq!(not_before(&json!({"poke": true}), now), Ok(None));
        for (text, time) in [
            ("2026-11-30T22:00:01.5Z", datetime!(2026-11-30 22:00:01.5 UTC)),
            ("2026-11-30T23:00:10+01:00", datetime!(2026-11-30 22:00:10 UTC)),
            ("2020-01-01T00:00:00Z", datetime!(2020-01-01 0:00 UTC)),
        ] {
            assert_eq!(not_before(&json!({"not_before": text}), now), Ok(Some(time)), "{text}");
        }
        for wrong in
            [json!("soon"), json!(1.5), json!(null), json!("2026-11-30T22:00:10.001Z"), json!("9999-12-31T23:59:59Z")]
        {
            let said = not_before(&json!({"not_before": wrong}), now).unwrap_err();
            assert!(said.contains("not_before") && said.contains(&wrong.to_string()), "{said}");
        }
    }
    use crate::poll::AgentReport;

    #[test]
    fn any_event_means_all_agents_unless_it_names_some() {
        for event in [json!({}), json!(null), json!({"source": "aws.scheduler"}), json!("text"), json!([1])] {
            assert_eq!(selection(&event), Ok(Selection::All), "{event}");
        }
        assert_eq!(selection(&json!({"agents": ["etl"]})), Ok(Selection::Agents(vec!["etl".into()])));
        for event in [json!({"agents": "etl"}), json!({"agents": [1]}), json!({"agents": null})] {
            assert!(selection(&event).is_err(), "{event}");
        }
    }

    #[test]
    fn an_invocation_fails_when_an_agents_own_poll_failed_and_carries_the_whole_report() {
        let agent = |ok| AgentReport { ok, ..AgentReport::default() };
        let report = Report { agents: [("a".into(), agent(true)), ("b".into(), agent(false))].into() };
        let text = json!(report).to_string();
        assert_eq!(answer(&report), Err(InvocationError::logged("PollFailed", text)));
        let report = Report { agents: [("a".into(), agent(true))].into() };
        assert_eq!(answer(&report), Ok(json!(report)));
    }
}
