//! Whose task it is: which agents may know the flow run that it was started for.
//!
//! A task of ours says so itself: `startedBy` is `prefect/<agent>/<flow run id>`, which is in every event, however late.
//! A Python worker's task says it in its tags, which ECS forgets about an hour after the task has stopped.

use super::event::{Ignored, TaskEvent};
use crate::slug::tag_slug;
use std::collections::BTreeMap;
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
mod tests;
