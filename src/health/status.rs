//! Pure: whether the agents are well, from what their polls wrote down.

use crate::config::AgentConfig;
use crate::model::ErrorKind;
use crate::state::Status;
use crate::state::recent::Death;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// After this many intervals without a successful poll, and what a poll may hold, an agent is failing.
const PATIENCE: u32 = 3;

/// What is known of one configured agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentFacts {
    /// `None`: its configuration is wrong.
    pub configuration: Option<ConfiguredAgent>,
    /// When its configuration was last written.
    pub configured_at: Option<OffsetDateTime>,
    /// What its last poll wrote down.
    pub status: Option<Status>,
    /// Tasks that died lately, as `task-events` wrote down; health is not judged by them.
    pub deaths: Vec<Death>,
}

/// What health needs to know of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfiguredAgent {
    /// `false`: not polled on purpose.
    pub enabled: bool,
    /// Period of the schedule.
    pub poll_interval: Duration,
    /// How long a poll may go on because it holds launches: it says only at its end that it was one.
    pub hold: Duration,
    /// Polls before the agent stops.
    pub max_polls: Option<u64>,
}

impl ConfiguredAgent {
    /// What health needs to know of this configuration.
    pub fn of(config: &AgentConfig, max_polls: Option<u64>) -> Self {
        Self { enabled: config.enabled, poll_interval: config.poll_interval, hold: config.hold(), max_polls }
    }

    /// So long after its last successful poll an agent is well.
    pub fn patience(&self) -> Duration {
        self.poll_interval.saturating_mul(PATIENCE).saturating_add(self.hold)
    }
}

/// The health page's body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Over all agents.
    pub status: Overall,
    /// By agent.
    pub agents: BTreeMap<String, AgentHealth>,
}

/// Over all agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Overall {
    /// No agent is failing.
    Ok,
    /// One is, or none is configured.
    Failing,
}

/// One agent's health.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentHealth {
    /// How it is.
    pub status: AgentStatus,
    /// When its last poll ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_poll: Option<OffsetDateTime>,
    /// When its last successful poll ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_success: Option<OffsetDateTime>,
    /// How many polls there were.
    pub polls: u64,
    /// What is wrong, as a kind: never a text, which could hold a secret.
    pub error: Option<ErrorKind>,
    /// Until when Prefect is in maintenance, as it announced.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<OffsetDateTime>,
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentStatus {
    /// It polls.
    Ok,
    /// It was configured a moment ago and has not polled yet.
    Starting,
    /// `max_polls` is reached.
    Stopped,
    /// `enabled: false`.
    Disabled,
    /// Prefect is in maintenance, or was a moment ago; its polls wait for the end.
    Maintenance,
    /// It has not polled successfully for three intervals.
    Failing,
}

impl AgentStatus {
    /// Its name, as the health page shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
            Self::Maintenance => "maintenance",
            Self::Failing => "failing",
        }
    }

    /// How an agent is, by what is known of it.
    pub fn of(facts: &AgentFacts, now: OffsetDateTime) -> Self {
        how(facts, &facts.status.clone().unwrap_or_default(), now)
    }
}

impl Health {
    /// The truth about all configured agents.
    pub fn of(agents: &BTreeMap<String, AgentFacts>, now: OffsetDateTime) -> Self {
        let agents: BTreeMap<_, _> =
            agents.iter().map(|(name, facts)| (name.clone(), AgentHealth::of(facts, now))).collect();
        let failing = agents.is_empty() || agents.values().any(|agent| agent.status == AgentStatus::Failing);
        Self { status: if failing { Overall::Failing } else { Overall::Ok }, agents }
    }
}

impl AgentHealth {
    fn of(facts: &AgentFacts, now: OffsetDateTime) -> Self {
        let status = facts.status.clone().unwrap_or_default();
        let how = how(facts, &status, now);
        let error = if facts.configuration.is_none() { Some(ErrorKind::Configuration) } else { status.error };
        Self {
            status: how,
            last_poll: status.last_poll,
            last_success: status.last_success,
            polls: status.polls,
            error,
            maintenance_until: status.maintenance_until,
        }
    }
}

fn how(facts: &AgentFacts, status: &Status, now: OffsetDateTime) -> AgentStatus {
    let Some(agent) = facts.configuration else {
        return AgentStatus::Failing;
    };
    if !agent.enabled {
        return AgentStatus::Disabled;
    }
    // The flag alone is old news once `max_polls` was raised or removed.
    if status.stopped && agent.max_polls.is_some_and(|max_polls| status.polls >= max_polls) {
        return AgentStatus::Stopped;
    }
    let recent = |instant: Option<OffsetDateTime>| is_recent(instant, agent.patience(), now);
    // Patience begins anew with the announced end: only then can a poll succeed again.
    if recent(status.maintenance_until) {
        AgentStatus::Maintenance
    } else if recent(status.last_success) {
        AgentStatus::Ok
    } else if facts.status.is_none() && recent(facts.configured_at) {
        AgentStatus::Starting
    } else {
        AgentStatus::Failing
    }
}

/// Whether this was so short a while ago that nobody need worry.
pub fn is_recent(instant: Option<OffsetDateTime>, patience: Duration, now: OffsetDateTime) -> bool {
    instant.is_some_and(|instant| now - instant <= patience)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

    fn facts(last_success_seconds_ago: Option<i64>) -> AgentFacts {
        let status = last_success_seconds_ago.map(|seconds| Status {
            last_poll: Some(NOW),
            last_success: Some(NOW - time::Duration::seconds(seconds)),
            polls: 12,
            ..Status::default()
        });
        let agent = ConfiguredAgent {
            enabled: true,
            poll_interval: Duration::from_mins(1),
            hold: Duration::ZERO,
            max_polls: None,
        };
        AgentFacts {
            configuration: Some(agent),
            configured_at: Some(NOW - time::Duration::hours(1)),
            status,
            deaths: Vec::new(),
        }
    }

    fn status_of(facts: &AgentFacts) -> AgentStatus {
        AgentHealth::of(facts, NOW).status
    }

    #[test]
    fn what_an_agent_is_like_is_named_as_the_page_shows_it() {
        let all = [
            AgentStatus::Ok,
            AgentStatus::Starting,
            AgentStatus::Stopped,
            AgentStatus::Disabled,
            AgentStatus::Maintenance,
            AgentStatus::Failing,
        ];
        assert_eq!(serde_json::json!(all), serde_json::json!(all.map(AgentStatus::name)));
    }

    #[test]
    fn an_agent_is_ok_for_three_intervals_after_a_success() {
        assert_eq!(status_of(&facts(Some(10))), AgentStatus::Ok);
        assert_eq!(status_of(&facts(Some(180))), AgentStatus::Ok);
        assert_eq!(status_of(&facts(Some(181))), AgentStatus::Failing);
    }

    #[test]
    fn a_poll_that_holds_launches_ends_later_and_is_waited_for() {
        for (ago, expected) in [(300, AgentStatus::Ok), (301, AgentStatus::Failing)] {
            let mut holding = facts(Some(ago));
            if let Some(agent) = &mut holding.configuration {
                agent.hold = Duration::from_mins(2);
            }
            assert_eq!(status_of(&holding), expected, "{ago}");
        }
    }

    #[test]
    fn maintenance_is_no_failure_until_three_intervals_after_its_announced_end() {
        for (since_success, until_in, expected) in [
            (Some(10), 600, AgentStatus::Maintenance),
            (Some(10_000), 600, AgentStatus::Maintenance),
            (None, 600, AgentStatus::Maintenance),
            (Some(10_000), -180, AgentStatus::Maintenance),
            (Some(10_000), -181, AgentStatus::Failing),
        ] {
            let mut facts = facts(since_success);
            let status = facts.status.get_or_insert_default();
            status.error = Some(ErrorKind::Maintenance);
            status.maintenance_until = Some(NOW + time::Duration::seconds(until_in));
            assert_eq!(status_of(&facts), expected, "{since_success:?} {until_in}");
            let health = Health::of(&[("a".to_owned(), facts)].into(), NOW);
            assert_eq!(health.status == Overall::Ok, expected == AgentStatus::Maintenance);
        }
    }

    #[test]
    fn a_new_agent_is_starting_and_then_failing() {
        let young = AgentFacts { configured_at: Some(NOW - time::Duration::seconds(100)), ..facts(None) };
        assert_eq!(status_of(&young), AgentStatus::Starting);
        assert_eq!(status_of(&facts(None)), AgentStatus::Failing);
    }

    #[test]
    fn an_agent_that_polled_without_success_is_not_starting() {
        let status = Status { last_poll: Some(NOW), error: Some(ErrorKind::Unauthorised), ..Status::default() };
        let new = AgentFacts { configured_at: Some(NOW), status: Some(status), ..facts(None) };
        let health = AgentHealth::of(&new, NOW);
        assert_eq!((health.status, health.error), (AgentStatus::Failing, Some(ErrorKind::Unauthorised)));
    }

    #[test]
    fn a_stopped_agent_is_stopped_until_max_polls_is_raised() {
        let mut stopped = facts(Some(10_000));
        if let Some(status) = &mut stopped.status {
            status.stopped = true;
        }
        for (max_polls, expected) in
            [(Some(12), AgentStatus::Stopped), (Some(13), AgentStatus::Failing), (None, AgentStatus::Failing)]
        {
            if let Some(agent) = &mut stopped.configuration {
                agent.max_polls = max_polls;
            }
            assert_eq!(status_of(&stopped), expected, "{max_polls:?}");
        }
    }

    #[test]
    fn a_disabled_agent_is_never_failing_and_a_wrong_configuration_always_is() {
        let mut disabled = facts(None);
        if let Some(agent) = &mut disabled.configuration {
            agent.enabled = false;
        }
        assert_eq!(status_of(&disabled), AgentStatus::Disabled);
        let wrong = AgentHealth::of(&AgentFacts { configuration: None, ..facts(Some(1)) }, NOW);
        assert_eq!((wrong.status, wrong.error), (AgentStatus::Failing, Some(ErrorKind::Configuration)));
    }

    #[test]
    fn one_failing_agent_or_none_at_all_fails_the_whole() {
        let agents = |list: &[(&str, AgentFacts)]| -> BTreeMap<String, AgentFacts> {
            list.iter().map(|(name, facts)| ((*name).to_owned(), facts.clone())).collect()
        };
        assert_eq!(Health::of(&agents(&[]), NOW).status, Overall::Failing);
        assert_eq!(Health::of(&agents(&[("a", facts(Some(1)))]), NOW).status, Overall::Ok);
        let both = agents(&[("a", facts(Some(1))), ("b", facts(None))]);
        assert_eq!(Health::of(&both, NOW).status, Overall::Failing);
    }
}
