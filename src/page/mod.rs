//! The page that people look at: how the agents are, as one document.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | pure: what is known and the time → what the page says |
//! | `html.rs`, `style.css` | how it looks |
//! | `access.rs` | who sees it: the token, the cookie, the form's answer (pure) |

pub mod access;
pub mod html;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use crate::clock::after;
use crate::explain::words;
use crate::health::status::{AgentHealth, AgentStatus, Overall};
use crate::health::{AgentFacts, Health};
use crate::model::ErrorKind;
use crate::redaction::Redaction;
use crate::state::polls::advice_when_stopped;
use crate::state::recent::Death;
use crate::state::{Status, recent};
use std::collections::BTreeMap;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Runs that came to harm no longer ago are counted together.
const HARMED_LATELY: time::Duration = time::Duration::hours(1);

/// What the page says.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Over all agents.
    pub status: Overall,
    /// The same in a sentence.
    pub heading: String,
    /// Where the agents are configured.
    pub root: String,
    /// When this was so.
    pub at: Moment,
    /// All agents together.
    pub summary: Summary,
    /// What fails comes first, what is off last, else by name.
    pub agents: Vec<AgentCard>,
}

/// What is worth knowing of all agents together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Runs that are due and have no task.
    pub waiting: u64,
    /// `the oldest is 5 min late`, where one waits of which that is known.
    pub oldest: Option<String>,
    /// Runs that were given back and come again.
    pub given_back: usize,
    /// Runs that were not launched or died in the last hour.
    pub harmed: usize,
    /// When the first agent polls next.
    pub next_poll: Option<Moment>,
}

/// One agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentCard {
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: AgentStatus,
    /// Since when and why, in sentences.
    pub sentences: Vec<String>,
    /// When it polled last.
    pub last_poll: Option<Moment>,
    /// When a poll of it succeeded last.
    pub last_success: Option<Moment>,
    /// When it should poll next.
    pub next_poll: Option<Moment>,
    /// How many polls there were, of how many.
    pub polls: String,
    /// Claims whose flow should have begun.
    pub outstanding: Option<u64>,
    /// Runs that are due and have no task.
    pub waiting: Vec<WaitingRow>,
    /// So many more wait.
    pub waiting_more: u64,
    /// Runs that come again.
    pub given_back: Vec<WaitingRow>,
    /// Runs that came to harm lately; the newest comes first.
    pub harmed: Vec<HarmedRow>,
    /// The newest comes first.
    pub past_polls: Vec<PollRow>,
}

/// A run without a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Id of the flow run.
    pub run: String,
    /// `5 min late`, or what else is known of its start.
    pub late: String,
    /// When it was to start.
    pub due: Option<Moment>,
    /// When it comes again.
    pub again: Option<Moment>,
    /// Why it has no task.
    pub reason: String,
}

/// A run that could not be launched, or whose task died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarmedRow {
    /// Id of the flow run.
    pub run: String,
    /// What became of it.
    pub harm: Harm,
    /// When.
    pub at: Moment,
    /// Why.
    pub reason: String,
}

/// What became of a run that came to harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It ended without a task.
    NotLaunched,
    /// Its task died, and it ended.
    Died,
    /// Its task died, and it was given back.
    DiedAndComesAgain,
}

impl Harm {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotLaunched => "not launched",
            Self::Died => "task died",
            Self::DiedAndComesAgain => "task died, comes again",
        }
    }
}

/// A poll that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollRow {
    /// When it ended.
    pub at: Moment,
    /// `84 ms`
    pub took: String,
    /// Due, launched, left, failed.
    pub counts: [u64; 4],
    /// The kind of its own trouble.
    pub error: Option<&'static str>,
}

/// A time, in the ways that people and machines read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// `12 s ago`
    pub relative: String,
    /// `14:02:10 UTC`, with the day where that is another.
    pub absolute: String,
    /// RFC 3339.
    pub machine: String,
}

impl Moment {
    fn of(instant: OffsetDateTime, now: OffsetDateTime) -> Self {
        let utc = instant.checked_to_offset(UtcOffset::UTC).unwrap_or(instant);
        Self {
            relative: words::relative(instant, now),
            absolute: format!("{} UTC", words::clock(instant, now)),
            machine: utc.replace_nanosecond(0).unwrap_or(utc).format(&Rfc3339).unwrap_or_default(),
        }
    }
}

impl Page {
    /// The page about these agents. `root`: where they are configured.
    pub fn of(root: &str, facts: &BTreeMap<String, AgentFacts>, now: OffsetDateTime) -> Self {
        let health = Health::of(facts, now);
        let cards = health.agents.iter().filter_map(|(name, agent)| {
            let facts = facts.get(name)?;
            Some(AgentCard::of((root, name), agent, facts, now))
        });
        let mut agents: Vec<_> = cards.collect();
        agents.sort_by_key(|agent| rank(agent.status));
        Self {
            status: health.status,
            heading: heading(&health),
            root: root.to_owned(),
            at: Moment::of(now, now),
            summary: Summary::of(&agents, facts, now),
            agents,
        }
    }

    /// The same without secrets.
    #[must_use]
    pub fn without(mut self, redaction: &Redaction) -> Self {
        for agent in &mut self.agents {
            let waiting = agent.waiting.iter_mut().chain(&mut agent.given_back);
            let texts = waiting.map(|run| &mut run.reason).chain(agent.harmed.iter_mut().map(|run| &mut run.reason));
            for text in texts.chain(&mut agent.sentences) {
                *text = redaction.text(std::mem::take(text));
            }
        }
        self
    }
}

fn rank(status: AgentStatus) -> u8 {
    match status {
        AgentStatus::Failing => 0,
        AgentStatus::Ok | AgentStatus::Starting | AgentStatus::Maintenance => 1,
        AgentStatus::Stopped | AgentStatus::Disabled => 2,
    }
}

impl Summary {
    fn of(agents: &[AgentCard], facts: &BTreeMap<String, AgentFacts>, now: OffsetDateTime) -> Self {
        let known = || facts.values().filter_map(|facts| facts.status.as_ref());
        let shown = |agent: &AgentCard| u64::try_from(agent.waiting.len()).unwrap_or(u64::MAX) + agent.waiting_more;
        let given_back = |run: &&recent::WaitingRun| run.again.is_some_and(|again| again > now);
        let waiting = known().flat_map(|status| &status.recent.waiting).filter(|run| !given_back(run));
        // Where nothing is known of single runs.
        let others = known().filter(|status| status.recent.waiting.is_empty()).filter_map(|status| status.oldest_due);
        let oldest = waiting.filter_map(|run| run.due).chain(others).min();
        let oldest =
            oldest.filter(|due| *due < now).map(|due| format!("the oldest is {} late", words::span(now - due)));
        let waiting = agents.iter().map(shown).sum();
        let polls = agents.iter().filter_map(|agent| agent.next_poll.as_ref());
        let failed = known().flat_map(|status| &status.recent.failed).map(|run| run.at);
        let harmed = failed.chain(facts.values().flat_map(|facts| &facts.deaths).map(|death| death.at));
        Self {
            waiting,
            oldest: oldest.filter(|_| waiting > 0),
            given_back: agents.iter().map(|agent| agent.given_back.len()).sum(),
            harmed: harmed.filter(|at| now - *at <= HARMED_LATELY).count(),
            next_poll: polls.min_by(|one, other| one.machine.cmp(&other.machine)).cloned(),
        }
    }
}

fn heading(health: &Health) -> String {
    let all = health.agents.len();
    let count = |status| health.agents.values().filter(|agent| agent.status == status).count();
    let (failing, off) = (count(AgentStatus::Failing), count(AgentStatus::Disabled) + count(AgentStatus::Stopped));
    match (all, failing) {
        (0, _) => "No agent is configured".to_owned(),
        (1, 1) => "The agent is failing".to_owned(),
        (_, 1) => format!("One of {all} agents is failing"),
        (_, failing) if failing == all => format!("All {all} agents are failing"),
        (_, 2..) => format!("{failing} of {all} agents are failing"),
        (_, 0) if off == all => "No agent polls".to_owned(),
        (_, 0) if off > 0 => "All agents that poll are well".to_owned(),
        (1, _) => "The agent is well".to_owned(),
        (_, _) => format!("All {all} agents are well"),
    }
}

impl AgentCard {
    fn of((root, name): (&str, &str), health: &AgentHealth, facts: &AgentFacts, now: OffsetDateTime) -> Self {
        let status = facts.status.clone().unwrap_or_default();
        let interval = facts.configuration.map(|configuration| configuration.poll_interval);
        let does_poll = !matches!(health.status, AgentStatus::Disabled | AgentStatus::Stopped);
        let next_poll = health.last_poll.zip(interval).filter(|_| does_poll);
        let max_polls = facts.configuration.and_then(|configuration| configuration.max_polls);
        let (given_back, waiting): (Vec<_>, Vec<_>) =
            status.recent.waiting.iter().partition(|run| run.again.is_some_and(|again| again > now));
        let shown = u64::try_from(waiting.len() + given_back.len()).unwrap_or(u64::MAX);
        let moment = |instant| Moment::of(instant, now);
        Self {
            name: name.to_owned(),
            status: health.status,
            sentences: sentences((root, name), health, facts, now),
            last_poll: health.last_poll.map(moment),
            last_success: health.last_success.map(moment),
            next_poll: next_poll.map(|(last, interval)| moment(after(last, interval))),
            polls: max_polls.map_or_else(|| health.polls.to_string(), |most| format!("{} of {most}", health.polls)),
            outstanding: status.outstanding,
            waiting: waiting.into_iter().map(|run| WaitingRow::of(run, now)).collect(),
            waiting_more: status.counts.deferred.saturating_sub(shown),
            given_back: given_back.into_iter().map(|run| WaitingRow::of(run, now)).collect(),
            harmed: HarmedRow::all(&status.recent.failed, &facts.deaths, now),
            past_polls: status.recent.polls.iter().map(|poll| PollRow::of(poll, now)).collect(),
        }
    }
}

/// How it stands with an agent, and what to do.
fn sentences((root, name): (&str, &str), health: &AgentHealth, facts: &AgentFacts, now: OffsetDateTime) -> Vec<String> {
    let every = facts.configuration.map(|configuration| spell(configuration.poll_interval));
    let every = every.map(|every| format!("It polls every {every}.")).unwrap_or_default();
    match health.status {
        AgentStatus::Ok => {
            let last = health.error.map(|kind| format!("Its last poll did not succeed: {}", meaning(kind)));
            std::iter::once(every).chain(last).chain(oldest(facts.status.as_ref(), now)).collect()
        }
        AgentStatus::Starting => {
            let since = facts.configured_at.map(|at| words::relative(at, now)).unwrap_or_default();
            vec![format!("It was configured {since} and has not polled yet. {every}")]
        }
        AgentStatus::Disabled => {
            vec!["Its configuration says enabled: false. Nothing polls it until that changes.".to_owned()]
        }
        AgentStatus::Stopped => {
            vec![format!("It has had its polls (max_polls): {}.", advice_when_stopped(Some(root), name))]
        }
        AgentStatus::Maintenance => {
            let until = health.maintenance_until.map(|at| format!(" until {} UTC", words::clock(at, now)));
            let until = until.unwrap_or_default();
            vec![format!(
                "Prefect is in maintenance{until}. Due runs are launched by the first poll after it; nothing is lost."
            )]
        }
        AgentStatus::Failing => {
            let since = match (health.last_success, health.last_poll) {
                (Some(success), _) => format!("No poll has succeeded since {} UTC.", words::clock(success, now)),
                (None, Some(_)) => "No poll has ever succeeded.".to_owned(),
                (None, None) => "It has never polled.".to_owned(),
            };
            let silent = facts.configuration.zip(health.last_poll).is_none_or(|(configuration, last)| {
                !crate::health::status::is_recent(Some(last), configuration.patience(), now)
            });
            let why = match health.error {
                Some(kind) => meaning(kind).to_owned(),
                None => {
                    "Nothing has polled it for three intervals: is the schedule enabled, and what does the log of the \
                         poll function say?"
                        .to_owned()
                }
            };
            let quiet = silent && health.error.is_some() && facts.configuration.is_some();
            let quiet = quiet.then(|| "And it has not polled lately: is the schedule enabled?".to_owned());
            let next =
                Some(format!("prefect-serverless-agent check --root {root} says what is wrong, and what mends it."));
            [Some(since), Some(why), quiet, next].into_iter().flatten().collect()
        }
    }
}

/// What a kind of trouble means, as a sentence.
fn meaning(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Configuration => "Its configuration is wrong.",
        ErrorKind::ApiUnreachable => "The Prefect API cannot be reached, or does not answer.",
        ErrorKind::Unauthorised => "The Prefect API refuses the credentials.",
        ErrorKind::Throttled => "The Prefect API asks for fewer requests.",
        ErrorKind::Maintenance => "Prefect is in maintenance.",
        ErrorKind::ApiError => "The Prefect API answers with an error.",
        ErrorKind::Aws => "AWS refuses the agent's own calls: permissions, cluster, network or credentials.",
        ErrorKind::Platform => "What starts flow runs refuses the agent itself.",
        ErrorKind::ParameterStore => "Parameter Store cannot be read or written.",
        ErrorKind::Deadline => "No time was left.",
        ErrorKind::Internal => "A bug of this program: please report it, with the log.",
    }
}

/// The oldest run that waits, where nothing is known of single runs.
fn oldest(status: Option<&Status>, now: OffsetDateTime) -> Option<String> {
    let status = status.filter(|status| status.recent.waiting.is_empty())?;
    let due = status.oldest_due.filter(|due| *due < now)?;
    Some(format!("The oldest run that waits is {} late.", words::span(now - due)))
}

fn spell(interval: Duration) -> String {
    match interval.as_secs() {
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        _ => words::span(time::Duration::try_from(interval).unwrap_or(time::Duration::MAX)),
    }
}

impl WaitingRow {
    fn of(run: &recent::WaitingRun, now: OffsetDateTime) -> Self {
        let late = match run.due {
            Some(due) if due < now => format!("{} late", words::span(now - due)),
            Some(due) => words::relative(due, now),
            None => "due".to_owned(),
        };
        let moment = |instant| Moment::of(instant, now);
        Self {
            run: run.run.clone(),
            late,
            due: run.due.map(moment),
            again: run.again.map(moment),
            reason: run.reason.clone(),
        }
    }
}

impl HarmedRow {
    /// What polls found, and what events told.
    fn all(failed: &[recent::FailedRun], deaths: &[Death], now: OffsetDateTime) -> Vec<Self> {
        let by_polls = failed.iter().map(|run| {
            let harm = if run.died { Harm::Died } else { Harm::NotLaunched };
            (run.at, &run.run, &run.reason, harm)
        });
        let by_events = deaths.iter().map(|death| {
            let harm = if death.again { Harm::DiedAndComesAgain } else { Harm::Died };
            (death.at, &death.run, &death.reason, harm)
        });
        let mut all: Vec<_> = by_polls.chain(by_events).collect();
        all.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let row = |(at, run, reason, harm): (OffsetDateTime, &String, &String, Harm)| Self {
            run: run.clone(),
            harm,
            at: Moment::of(at, now),
            reason: reason.clone(),
        };
        all.into_iter().map(row).collect()
    }
}

impl PollRow {
    fn of(poll: &recent::PastPoll, now: OffsetDateTime) -> Self {
        let took = if poll.ms < 10_000 { format!("{} ms", poll.ms) } else { format!("{} s", poll.ms / 1000) };
        Self {
            at: Moment::of(poll.at, now),
            took,
            counts: [poll.ready, poll.launched, poll.deferred, poll.failed],
            error: poll.error.map(ErrorKind::name),
        }
    }
}
