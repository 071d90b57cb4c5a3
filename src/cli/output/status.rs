//! Pure: the agents of a deployment as a table and as JSON.

use super::{Cell, Palette, Tone, plain, table};
use crate::explain::words;
use crate::health::status::{AgentHealth, AgentStatus, Overall};
use crate::health::{AgentFacts, Health};
use crate::model::ErrorKind;
use crate::state::Status;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is not known.
const UNKNOWN: &str = "–";

/// One row per agent.
pub(in crate::cli) fn as_table(
    health: &Health,
    facts: &BTreeMap<String, AgentFacts>,
    now: OffsetDateTime,
    palette: Palette,
) -> String {
    let rows = health.agents.iter().map(|(name, agent)| row(name, agent, facts.get(name), now));
    let headings =
        ["AGENT", "STATE", "LAST POLL", "LAST SUCCESS", "POLLS", "DUE", "LAUNCHED", "OLDEST DUE", "CLAIMS", "ERROR"];
    let table = table(&headings, rows.collect(), palette);
    // Most agents have no error: without the spaces before it.
    table.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

fn row(name: &str, agent: &AgentHealth, facts: Option<&AgentFacts>, now: OffsetDateTime) -> Vec<Cell> {
    let seen = SeenAgent::of(facts, now);
    let ago = |instant: Option<OffsetDateTime>| instant.map(|instant| words::relative(instant, now));
    let or_unknown = |text: Option<String>| plain(text.unwrap_or_else(|| UNKNOWN.to_owned()));
    let max_polls = facts.and_then(|facts| facts.configuration?.max_polls);
    let polls =
        max_polls.map_or_else(|| agent.polls.to_string(), |max_polls| format!("{} of {max_polls}", agent.polls));
    let oldest_due = match seen.oldest_due {
        OldestDue::Unknown => plain(UNKNOWN),
        OldestDue::Nothing => plain("none"),
        OldestDue::Late(late) => Cell(format!("{} late", words::span(late)), Tone::Doubtful),
    };
    vec![
        plain(name),
        Cell(agent.status.name().to_owned(), tone(agent.status)),
        or_unknown(ago(agent.last_poll)),
        or_unknown(ago(agent.last_success)),
        plain(polls),
        or_unknown(seen.due.map(|count| count.to_string())),
        or_unknown(seen.launched.map(|count| count.to_string())),
        oldest_due,
        or_unknown(seen.outstanding.map(|count| count.to_string())),
        plain(agent.error.map(ErrorKind::name).unwrap_or_default()),
    ]
}

/// What the last poll saw, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeenAgent {
    due: Option<u64>,
    launched: Option<u64>,
    oldest_due: OldestDue,
    outstanding: Option<u64>,
}

/// The oldest run that waits for a later poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OldestDue {
    Unknown,
    Nothing,
    /// By how much.
    Late(time::Duration),
}

impl SeenAgent {
    fn of(facts: Option<&AgentFacts>, now: OffsetDateTime) -> Self {
        let polled = facts.and_then(|facts| facts.status.as_ref()).filter(|status| status.last_poll.is_some());
        let late = |status: &Status| match status.oldest_due {
            Some(at) if at < now => OldestDue::Late(now - at),
            Some(_) => OldestDue::Nothing,
            None if status.counts.deferred == 0 && status.error.is_none() => OldestDue::Nothing,
            None => OldestDue::Unknown,
        };
        Self {
            due: polled.map(|status| status.counts.ready),
            launched: polled.map(|status| status.counts.launched),
            oldest_due: polled.map_or(OldestDue::Unknown, late),
            outstanding: polled.and_then(|status| status.outstanding),
        }
    }
}

fn tone(status: AgentStatus) -> Tone {
    match status {
        AgentStatus::Ok => Tone::Good,
        AgentStatus::Failing => Tone::Bad,
        AgentStatus::Starting | AgentStatus::Stopped | AgentStatus::Disabled | AgentStatus::Maintenance => {
            Tone::Doubtful
        }
    }
}

/// What the health page says, and beside it what the last poll saw; what is not known is null.
pub(in crate::cli) fn as_json(health: &Health, facts: &BTreeMap<String, AgentFacts>, now: OffsetDateTime) -> Value {
    let agents = health.agents.iter().map(|(name, agent)| {
        let seen = SeenAgent::of(facts.get(name), now);
        let status = facts.get(name).and_then(|facts| facts.status.as_ref());
        let oldest_due = status.and_then(|status| status.oldest_due).and_then(|at| at.format(&Rfc3339).ok());
        let late = match seen.oldest_due {
            OldestDue::Unknown => Value::Null,
            OldestDue::Nothing => json!(0),
            OldestDue::Late(late) => json!(late.whole_seconds()),
        };
        let mut fields: Map<String, Value> = match json!(agent) {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let more = json!({
            "max_polls": facts.get(name).and_then(|facts| facts.configuration?.max_polls),
            "due": seen.due, "launched": seen.launched, "oldest_due": oldest_due, "oldest_due_late_seconds": late,
            "claims_outstanding": seen.outstanding,
        });
        fields.extend(more.as_object().cloned().unwrap_or_default());
        (name.clone(), Value::Object(fields))
    });
    let agents: Map<String, Value> = agents.collect();
    let status = if health.status == Overall::Ok { "ok" } else { "failing" };
    json!({"status": status, "agents": agents})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::status::ConfiguredAgent;
    use crate::state::Counts;
    use std::time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

    fn agent(status: Option<Status>, max_polls: Option<u64>) -> AgentFacts {
        let (poll_interval, hold) = (Duration::from_mins(1), Duration::ZERO);
        let agent = ConfiguredAgent { enabled: true, poll_interval, hold, max_polls };
        AgentFacts { configuration: Some(agent), configured_at: Some(NOW), status, deaths: Vec::new() }
    }

    fn agents() -> BTreeMap<String, AgentFacts> {
        let polled = Status { last_poll: Some(NOW), last_success: Some(NOW), polls: 12, ..Status::default() };
        let busy = Status {
            counts: Counts { ready: 7, launched: 5, deferred: 2, failed: 0 },
            oldest_due: Some(NOW - time::Duration::seconds(330)),
            outstanding: Some(3),
            ..polled.clone()
        };
        let hour_ago = Some(NOW - time::Duration::hours(1));
        let error = Some(ErrorKind::Unauthorised);
        let lost = Status { last_success: hour_ago, error, ..polled.clone() };
        [
            ("busy", agent(Some(busy), Some(100))),
            ("lost", agent(Some(lost), None)),
            ("new", agent(None, None)),
            // Its status was written by a version that kept neither lateness nor claims.
            ("old", agent(Some(Status { counts: Counts { deferred: 1, ..Counts::default() }, ..polled }), None)),
        ]
        .map(|(name, facts)| (name.to_owned(), facts))
        .into()
    }

    #[test]
    fn agents_are_rows_and_what_is_not_known_is_a_dash() {
        let agents = agents();
        let expected = "\
AGENT  STATE     LAST POLL  LAST SUCCESS  POLLS      DUE  LAUNCHED  OLDEST DUE  CLAIMS  ERROR
busy   ok        0 s ago    0 s ago       12 of 100  7    5         5 min late  3
lost   failing   0 s ago    1 h ago       12         0    0         –           –       unauthorised
new    starting  –          –             0          –    –         –           –
old    ok        0 s ago    0 s ago       12         0    0         –           –
";
        let health = Health::of(&agents, NOW);
        assert_eq!(as_table(&health, &agents, NOW, Palette::Plain), expected);
    }

    #[test]
    fn as_json_it_is_the_health_page_and_what_the_last_poll_saw() {
        let agents = agents();
        let json = as_json(&Health::of(&agents, NOW), &agents, NOW);
        assert_eq!(json["status"], "failing");
        let busy = json!({
            "status": "ok", "last_poll": "2026-11-24T12:00:00Z", "last_success": "2026-11-24T12:00:00Z", "polls": 12,
            "error": null, "max_polls": 100, "due": 7, "launched": 5, "oldest_due": "2026-11-24T11:54:30Z",
            "oldest_due_late_seconds": 330, "claims_outstanding": 3,
        });
        assert_eq!(json["agents"]["busy"], busy);
        assert_eq!(json["agents"]["new"]["due"], Value::Null);
    }
}
