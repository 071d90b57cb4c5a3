//! Whose task it is: which agents may know the flow run that it was started for, and which turn of it.
//!
//! A task of ours says so itself: `startedBy` is `prefect/<agent>/<flow run id>`, which is in every event, however late.
//! A Python worker's task says it in its tags, which ECS forgets about an hour after the task has stopped.

use super::event::{Ignored, TaskEvent};
use crate::model::{ClaimedBy, Generation, Run};
use crate::python_text::tag_slug;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

/// First part of our `startedBy`.
const STARTED_BY: &str = "prefect/";
const FLOW_RUN_ID: &str = "prefect.io/flow-run-id";
const WORK_POOL: &str = "prefect.io/work-pool-name";
/// Prefect's own spelling.
const DEREGISTER: &str = "prefect.io/degregister-task-definition";

/// Tags of a task.
pub type Tags = BTreeMap<String, String>;

/// A configured agent. Also one that is not enabled: its tasks live on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerCandidate<'a> {
    /// Its name in the deployment.
    pub agent: &'a str,
    /// Its work pool; `None` for Prefect 1.
    pub work_pool: Option<&'a str>,
}

/// Who launched a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchedBy {
    /// This program: the claim is one of ours, and can be given back.
    Here,
    /// A worker of Prefect's, whose work pool one of our agents serves too.
    ByWorker,
}

/// The run that a task was started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Id of the flow run, as a UUID in lower case.
    pub flow_run_id: String,
    /// Agents to ask for the run, one after the other until one knows it. At least one. Where there are several and none
    /// knows it, it is nobody's.
    pub agents: Vec<String>,
    /// Who launched it.
    pub launched: LaunchedBy,
}

/// Whose task it is by its `startedBy` alone; `Ok(None)` = only its tags can tell.
pub fn by_started_by(event: &TaskEvent, agents: &[OwnerCandidate<'_>]) -> Result<Option<Owner>, Ignored> {
    let Some(rest) = event.task.started_by.as_deref().and_then(|text| text.strip_prefix(STARTED_BY)) else {
        return Ok(None);
    };
    let Some((agent, run)) = rest.split_once('/') else {
        return Err(Ignored(format!("startedBy {STARTED_BY}{rest} names no flow run")));
    };
    if !agents.iter().any(|candidate| candidate.agent == agent) {
        return Err(Ignored(format!("agent {agent} is not configured here")));
    }
    let flow_run_id = uuid(run).ok_or_else(|| Ignored(format!("{run} is no id of a flow run")))?;
    Ok(Some(Owner { flow_run_id, agents: vec![agent.to_owned()], launched: LaunchedBy::Here }))
}

/// Whose task it is by its tags. A worker of Prefect 2 does not write its pool into them: then all agents of Prefect 2
/// and 3 are asked, and the one that knows the run has it.
pub fn by_tags(tags: &Tags, agents: &[OwnerCandidate<'_>]) -> Result<Owner, Ignored> {
    let run = tags.get(FLOW_RUN_ID).ok_or_else(|| Ignored("the task is not of a flow run".into()))?;
    let flow_run_id = uuid(run).ok_or_else(|| Ignored(format!("{run} is no id of a flow run")))?;
    let agents = serving(tags, agents);
    if agents.is_empty() {
        return Err(Ignored("no agent of this deployment serves the task's work pool".into()));
    }
    Ok(Owner { flow_run_id, agents, launched: LaunchedBy::ByWorker })
}

/// Whether the tags name a flow run.
pub fn is_of_a_flow_run(tags: &Tags) -> bool {
    tags.get(FLOW_RUN_ID).is_some_and(|run| uuid(run).is_some())
}

/// The definition that goes with the task: a worker registered it for this launch alone. `agents` as for [`by_tags`]: a
/// task of another deployment's work pool is left alone.
pub fn definition_to_deregister<'e>(
    event: &'e TaskEvent,
    tags: &Tags,
    agents: &[OwnerCandidate<'_>],
) -> Option<&'e str> {
    let asked = tags.get(DEREGISTER).is_some_and(|value| value == "true");
    if !asked || !event.is_stopped() || serving(tags, agents).is_empty() {
        return None;
    }
    event.task.task_definition_arn.as_deref()
}

fn serving(tags: &Tags, agents: &[OwnerCandidate<'_>]) -> Vec<String> {
    // Tags are written with the few characters that ECS allows.
    let serves = |pool: &str| tags.get(WORK_POOL).is_none_or(|tag| tag == pool || *tag == tag_slug(pool));
    agents.iter().filter(|agent| agent.work_pool.is_some_and(serves)).map(|agent| agent.agent.to_owned()).collect()
}

fn uuid(text: &str) -> Option<String> {
    Uuid::try_parse(text).ok().map(|id| id.hyphenated().to_string())
}

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

// Which turn of its flow run a task belongs to.

/// Clocks of AWS and of a Prefect server differ by less than this. A new turn of a run comes at least 45 s after it was
/// given back, so that a task this much older than its claim belongs to an earlier one.
const SKEW: Duration = Duration::from_secs(15);

impl Generation {
    /// Name that the container of a flow usually has.
    pub(super) fn usual_container(self) -> &'static str {
        match self {
            Self::One => "flow",
            Self::TwoOrThree => "prefect",
        }
    }
}

impl Run {
    /// Whether the task is of an earlier turn of the run, so that its end says nothing about the run now.
    ///
    /// ECS does not tell a task's `clientToken`, which names the turn, so it is told by what both sides wrote down:
    /// - **Time.** A turn's task is created after its claim. This is right also where the pid is not: before the pid of
    ///   the new task is written down, the run still has the old one. The exception is an earlier task that a claim of
    ///   ours adopted, see [`Run::has_adopted`].
    /// - **The pid.** Where the times do not decide (one is unknown, or they are too close for clocks to be compared),
    ///   a pid that names another task does. For a worker's task it always does: a worker that repeats `RunTask`
    ///   after a lost answer starts a second task, and only one of them is the run's. Our own repetitions start none.
    ///
    /// An event that lacks the times, for a run without a pid, is taken for one of the current turn.
    pub fn is_of_earlier_turn(&self, event: &TaskEvent, launched: LaunchedBy) -> bool {
        let times = event.task.created_at.zip(self.claimed_at);
        if times.is_some_and(|(created, claimed)| created < claimed - SKEW) {
            return launched == LaunchedBy::ByWorker || !self.has_adopted(event);
        }
        let created_since = times.is_some_and(|(created, claimed)| created >= claimed);
        if launched == LaunchedBy::Here && created_since {
            return false;
        }
        self.pid_task().is_some_and(|task_arn| task_arn != event.task_arn)
    }

    /// Whether a task that is older than the claim was adopted by it. We claim a run only when no task of it lives, or one
    /// that has not begun: so a task that had not begun at the claim and ended after it was adopted.
    fn has_adopted(&self, event: &TaskEvent) -> bool {
        let Some(claimed) = self.claimed_at.filter(|_| self.claimed_by == ClaimedBy::Us) else { return false };
        let after_claim = |time: OffsetDateTime| time > claimed;
        event.task.stopped_at.is_some_and(after_claim) && event.task.started_at.is_none_or(after_claim)
    }

    /// ARN of the task in the pid. What is no pid of an ECS task says nothing.
    fn pid_task(&self) -> Option<&str> {
        let (_, task) = self.infrastructure_pid.as_deref()?.split_once("::")?;
        task.starts_with("arn:").then_some(task)
    }
}
