//! Whether the agent polls, and when it does next.

use super::{About, RunVerdict, Standing};
use crate::explain::facts::AgentView;
use crate::explain::words::relative;
use crate::health::status::{AgentHealth, AgentStatus, ConfiguredAgent, is_recent};
use crate::state::polls::advice_when_stopped;
use time::OffsetDateTime;

impl About<'_> {
    /// Why the agent does not poll, or not well: by its health. With what to do.
    pub(super) fn agent_trouble(&self) -> Option<(Standing, String, String)> {
        let agent = &self.facts.agent;
        let name = &agent.config.agent;
        let off = || {
            let text = format!("agent {name} has `enabled: false`");
            (Standing::AgentOff, text, "set `enabled: true`, or let another agent serve the run".to_owned())
        };
        // That needs no word of the polls.
        let Some(health) = &agent.health else { return (!agent.config.enabled).then(off) };
        let last =
            |at: Option<OffsetDateTime>| at.map_or_else(|| "never".to_owned(), |at| relative(at, self.facts.now));
        let patience = ConfiguredAgent::of(&agent.config, agent.max_polls).patience();
        match health.status {
            AgentStatus::Ok | AgentStatus::Starting => None,
            AgentStatus::Disabled => Some(off()),
            AgentStatus::Stopped => {
                let most = agent.max_polls.map(|most| format!(" of {most}")).unwrap_or_default();
                let text = format!("agent {name} has had its max_polls{most}");
                Some((Standing::AgentOff, text, advice_when_stopped(agent.root.as_deref(), name)))
            }
            AgentStatus::Maintenance => {
                let until = health.maintenance_until.map(|at| format!(" until {}", self.clock(at))).unwrap_or_default();
                Some((
                    Standing::Maintenance,
                    format!("Prefect is in maintenance{until}"),
                    "wait: the first poll after it takes the run".to_owned(),
                ))
            }
            AgentStatus::Failing if is_recent(health.last_poll, patience, self.facts.now) => {
                Some((Standing::AgentFailing, failing(name, health), "see the poll function's log".to_owned()))
            }
            AgentStatus::Failing => Some((
                Standing::AgentFailing,
                format!("agent {name} has not polled lately: its last poll was {}", last(health.last_poll)),
                "see that the schedule is ENABLED and starts the function poll, and what that one's log says; `start` \
                 or `poll` do the same from here"
                    .to_owned(),
            )),
        }
    }

    /// What went wrong in the last poll of an agent that is well on the whole.
    pub(super) fn last_trouble(&self) -> Option<String> {
        let kind = self.facts.agent.health.as_ref()?.error?.name();
        Some(format!("the last poll of agent {} had trouble ({kind})", self.facts.agent.config.agent))
    }

    /// What may keep the agent from polling, where nobody could read how far it is.
    pub(super) fn unless_stopped(&self) -> String {
        let agent = &self.facts.agent;
        match (&agent.health, &agent.root, agent.max_polls) {
            (None, Some(_), Some(most)) => format!(", unless it has had its max_polls of {most}"),
            _ => String::new(),
        }
    }

    /// What a poll is to do does not happen while its agent does not poll.
    pub(super) fn unless_agent_is_off(&self, mut verdict: RunVerdict) -> RunVerdict {
        if let Some((_, text, advice)) = self.agent_trouble() {
            verdict.also.push(format!("no poll does so now: {text}"));
            verdict.next_at = None;
            verdict.advice.get_or_insert(advice);
        }
        verdict
    }

    /// When the first poll from then on begins, if the agent goes on as it does.
    pub(super) fn next_poll(&self, not_before: OffsetDateTime) -> Option<OffsetDateTime> {
        next_poll(&self.facts.agent, self.facts.now, not_before)
    }
}

/// When an agent's first poll from `not_before` on begins, if it goes on as it does; `None` = it does not poll, or nobody
/// knows since when.
pub(super) fn next_poll(agent: &AgentView, now: OffsetDateTime, not_before: OffsetDateTime) -> Option<OffsetDateTime> {
    let health = agent.health.as_ref().filter(|health| health.status == AgentStatus::Ok)?;
    let (last, interval) = (health.last_poll?, time::Duration::try_from(agent.config.poll_interval).ok()?);
    if !interval.is_positive() {
        return None;
    }
    let from = now.max(not_before);
    let periods = ((from - last).as_seconds_f64() / interval.as_seconds_f64()).ceil().max(1.0);
    // A run may be scheduled for a time after which there is no other.
    last.checked_add(time::Duration::checked_seconds_f64(interval.as_seconds_f64() * periods)?)
}

fn failing(name: &str, health: &AgentHealth) -> String {
    let kind = health.error.map(|kind| format!(" ({})", kind.name())).unwrap_or_default();
    format!("the polls of agent {name} fail{kind}")
}
