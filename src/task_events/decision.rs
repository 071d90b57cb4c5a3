//! What is to be done about a run whose task changed: a pure function of the event and of what was seen of the run.
//!
//! What has no effect, whatever the event says: late, repeated and reordered events, tasks of an earlier turn of the run,
//! and runs that ended, wait or are paused. A run that was decided about is one of those from then on, so that the same
//! event decides nothing more.

mod stopped;

use super::event::TaskEvent;
use super::replicated_event::replicated;
use super::task_owner::{LaunchedBy, Owner, Tags};
use crate::model::run::{ClaimedBy, Generation, Phase, Run};
use crate::orchestrator::LogLevel;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// A process writes its run's final state before it exits; what takes longer than this does not come any more.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// One thing to do, in this order. All but [`Action::PostEvent`] and [`Action::LookAgain`] are for the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Prefect 2 and 3: an entry of `POST /events`. Best effort.
    PostEvent(Value),
    /// Prefect 2 and 3: propose PENDING, named `InfrastructurePending`. Best effort: older servers refuse it.
    ProposePending {
        /// Message of the state.
        message: String,
    },
    /// Failed (Prefect 1) or CRASHED (2 and 3).
    End {
        /// Message of the state.
        message: String,
    },
    /// Cancelled, whatever Prefect's rules say: a user wanted it, and nothing runs any more.
    Cancelled {
        /// Message of the state.
        message: String,
    },
    /// Scheduled again: a new turn. Of a task retry (Prefect 1), the task runs that are still claimed.
    GiveBack {
        /// For people: why.
        reason: String,
        /// Whether it was for want of capacity.
        for_capacity: bool,
        /// Due again this much later.
        delay: Duration,
    },
    /// Read the run again after this time, and decide with [`Look::Second`].
    LookAgain(Duration),
    /// A line in the run's log. Best effort.
    Log {
        /// Severity.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// The last lines of the container's own log into the run's log. Best effort; not when Prefect has just refused the
    /// run's end, since then it is further than was seen.
    ForwardLogs {
        /// The container; `None` = the flow's by name in the task definition, or the only one there.
        container: Option<String>,
        /// This many lines at most, at least 1.
        max_lines: u32,
    },
}

/// What is to be done, and why (for the function's own log).
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is to be done, in order.
    pub actions: Vec<Action>,
    /// Why.
    pub why: String,
}

/// How often the run has been looked at for this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Once.
    First,
    /// Again, after [`Action::LookAgain`].
    Second,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The time.
    pub now: OffsetDateTime,
    /// Tags of the task; empty when they cannot be read any more.
    pub tags: &'a Tags,
    /// The run; `None` = there is none, or it was not looked for because [`needs_run`] says so.
    pub run: Option<&'a Run>,
    /// `version` of the task as ECS describes it now, if it was asked.
    pub task_version: Option<i64>,
    /// Which look this is.
    pub look: Look,
}

/// What the run's agent is configured to.
#[derive(Debug, Clone, Copy)]
pub struct DecisionRules<'a> {
    /// Which Prefect it speaks to.
    pub generation: Generation,
    /// Launches of one run at most.
    pub max_launch_attempts: u32,
    /// Lines of a container's log to forward; 0 = none.
    pub forward_log_lines: u32,
    /// Version of Prefect that events of the worker carry, e.g. `3.8.8`.
    pub prefect_version: &'a str,
}

/// Whether the run matters for what is decided about this event.
pub fn needs_run(event: &TaskEvent, generation: Generation) -> bool {
    event.is_stopped() || (event.is_waiting() && generation == Generation::TwoOrThree)
}

/// Decides.
pub fn decide(event: &TaskEvent, owner: &Owner, seen: &Observation<'_>, rules: &DecisionRules<'_>) -> Decision {
    let mut decision = match seen.run {
        _ if !needs_run(event, rules.generation) => {
            nothing(format!("a task that is {} needs nothing", event.last_status))
        }
        None => nothing("Prefect does not know the flow run"),
        Some(run) => about_run(event, owner, run, seen, rules),
    };
    if seen.look == Look::First && rules.generation == Generation::TwoOrThree {
        let post = replicated(event, &owner.flow_run_id, seen.tags, rules.prefect_version, seen.now);
        decision.actions.splice(0..0, post.map(Action::PostEvent));
    }
    decision
}

fn about_run(
    event: &TaskEvent,
    owner: &Owner,
    run: &Run,
    seen: &Observation<'_>,
    rules: &DecisionRules<'_>,
) -> Decision {
    match run.phase {
        Phase::Ended => nothing("the flow run has ended"),
        Phase::Waiting => nothing("the flow run is scheduled or paused"),
        _ if run.is_of_earlier_turn(event, owner.launched) => nothing("the task is of an earlier turn of the flow run"),
        // Two deployments may have agents of one name. Whoever claimed the run looks after it.
        Phase::Claimed if owner.launched == LaunchedBy::Here && run.claimed_by == ClaimedBy::AnotherAgent => {
            nothing("the flow run is claimed by another agent, which looks after it")
        }
        _ if event.is_stopped() => stopped::Stopped { event, owner, run, look: seen.look, rules }.decide(),
        Phase::Claimed if is_out_of_order(event, seen.task_version) => nothing("the task has changed again since"),
        Phase::Claimed => {
            let message = format!("ECS task is {}.", event.last_status.to_lowercase());
            Decision { actions: vec![Action::ProposePending { message }], why: "the task waits for its start".into() }
        }
        Phase::Running | Phase::Cancelling => nothing("the flow run is further than its task"),
    }
}

fn is_out_of_order(event: &TaskEvent, version_now: Option<i64>) -> bool {
    event.task.version.zip(version_now).is_some_and(|(event, now)| event < now)
}

fn nothing(why: impl Into<String>) -> Decision {
    Decision { actions: Vec::new(), why: why.into() }
}

#[cfg(test)]
mod tests;
