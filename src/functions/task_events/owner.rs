//! Whose task an event is of: what its signature says, or its tags, which ECS is asked for.

use super::agents::Agents;
use super::answer::TaskEventsError;
use crate::aws::AwsClients;
use crate::aws::ecs::TaggedTask;
use crate::config::GenerationConfig;
use crate::task_events::event::{Ignored, TaskEvent};
use crate::task_events::perform::Known;
use crate::task_events::task_owner::{self, Owner};
use std::time::Duration;
use time::OffsetDateTime;

/// ECS tells of a stopped task for an hour at least; somewhat before that, its silence says that there was none.
const REMEMBERED: Duration = Duration::from_mins(55);

/// The owner and what is known of the task, or why it is nobody's.
type Found = Result<(Owner, Known), Ignored>;

/// Whose task it is, and what its tags are where somebody needs them.
pub(super) async fn owner_of(
    event: &TaskEvent,
    agents: &Agents,
    aws: &AwsClients,
    now: OffsetDateTime,
) -> Result<Found, TaskEventsError> {
    let owner = match task_owner::by_started_by(event, &agents.candidates()) {
        Ok(owner) => owner,
        Err(ignored) => return Ok(Err(ignored)),
    };
    if let Some(owner) = &owner {
        // An agent that is there and cannot be made is no stranger: the event is worth another delivery.
        let is_owner = |name: &str| owner.agents.iter().any(|agent| agent == name);
        if let Some(broken) = agents.broken(is_owner) {
            return Err(broken);
        }
    }
    let config = owner.as_ref().and_then(|owner| agents.config(owner.agents.first()?));
    if config.is_some_and(|config| matches!(config.generation, GenerationConfig::One(_))) {
        // Prefect 1 knows nothing of a task's tags.
        return Ok(owner.map(|owner| (owner, Known::default())).ok_or_else(|| Ignored("nobody's task".into())));
    }
    if let Some(tags) = &event.tags {
        return with_owner(owner, Known { tags: tags.clone(), version: None }, agents);
    }
    let aws = aws.for_agent(event.region.as_deref(), agents.role(config, event)).await;
    let described = aws.ecs.describe_tagged_task(event.task.cluster_arn.as_deref(), &event.task_arn).await;
    let TaggedTask { version, tags } = match described {
        Ok(Some(task)) => task,
        Ok(None) if owner.is_none() && is_forgotten(event, now) => return Err(TaskEventsError::Forgotten),
        Ok(None) => TaggedTask::default(),
        // Tags only add to what is told of a task of ours.
        Err(error) if owner.is_some() => {
            tracing::warn!(task_arn = event.task_arn, %error, "the task's tags cannot be read");
            TaggedTask::default()
        }
        Err(error) => return Err(TaskEventsError::Task(error)),
    };
    with_owner(owner, Known { tags, version }, agents)
}

/// Whether ECS may know nothing of a task that was there: it tells of stopped ones for an hour.
fn is_forgotten(event: &TaskEvent, now: OffsetDateTime) -> bool {
    let stopped_at = event.task.stopped_at.or(event.time);
    event.is_stopped() && stopped_at.is_some_and(|stopped_at| now - stopped_at >= REMEMBERED)
}

/// Whose task it is, by its tags where nothing else tells. Which pool an agent serves whose configuration is wrong, nobody
/// knows at the moment: the event is worth another delivery.
fn with_owner(owner: Option<Owner>, known: Known, agents: &Agents) -> Result<Found, TaskEventsError> {
    match owner.map_or_else(|| task_owner::by_tags(&known.tags, &agents.candidates()), Ok) {
        Ok(owner) => Ok(Ok((owner, known))),
        Err(ignored) if task_owner::is_of_a_flow_run(&known.tags) => match agents.broken(|_| true) {
            Some(broken) => Err(broken),
            None => Ok(Err(ignored)),
        },
        Err(ignored) => Ok(Err(ignored)),
    }
}
