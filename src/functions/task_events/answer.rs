//! What goes back to Lambda: what was told, and why an event is worth another delivery.

use crate::aws::AwsError;
use crate::config::ConfigErrors;
use crate::functions::InvocationError;
use crate::model::SetupError;
use crate::panics::Panic;
use crate::task_events::event::NotAnEvent;
use crate::task_events::perform::{PerformError, Told};
use crate::task_events::queue::BatchAnswer;
use serde::Serialize;

/// So many failed events of a batch are told one by one.
const TOLD: usize = 10;

/// What came of the events that the function was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EventAnswer {
    /// Of the only one.
    One(Told),
    /// Of several, in order.
    Several {
        /// One entry per event.
        events: Vec<Told>,
    },
    /// Of the messages of a queue.
    Batch(BatchAnswer),
}

/// Why an event is delivered again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TaskEventsError {
    /// What was given is none.
    #[error("not an event: {0}")]
    NotAnEvent(#[from] NotAnEvent),
    /// The parameters cannot be read.
    #[error("the parameters cannot be read: {0}")]
    Parameters(AwsError),
    /// The agent's way to its Prefect API cannot be built.
    #[error("agent {agent}: {error}")]
    Agent {
        /// The agent.
        agent: String,
        /// Why.
        error: SetupError,
    },
    /// Prefect or AWS had trouble.
    #[error("agent {agent}: {error}")]
    Performing {
        /// The agent.
        agent: String,
        /// What it was.
        error: PerformError,
    },
    /// Its configuration is wrong at the moment.
    #[error("agent {agent}: {error}")]
    Configuration {
        /// The agent.
        agent: String,
        /// What is wrong.
        error: ConfigErrors,
    },
    /// The task cannot be described, so that nobody knows whose it is.
    #[error("the task cannot be described: {0}")]
    Task(AwsError),
    /// Only its tags say whose the task is, and ECS knows them no more. For a person: the event names the task.
    #[error("the task stopped so long ago that ECS has forgotten its tags, which alone tell whose it is")]
    Forgotten,
    /// Telling it ended in a panic.
    #[error("{0}")]
    Panic(Panic),
    /// The invocation would have been killed.
    #[error("no time was left in this invocation: Prefect or AWS took too long to answer")]
    Deadline,
    /// Some events of several.
    #[error("{failed} of {of} events were not dealt with: {}", errors.join("; "))]
    Several {
        /// How many.
        failed: usize,
        /// Of how many.
        of: usize,
        /// Why, of the first ones, with what names them.
        errors: Vec<String>,
    },
}

impl TaskEventsError {
    /// The key or the auth string may have been replaced.
    pub(super) fn is_unauthorised(&self) -> bool {
        use crate::orchestrator::ApiError::Unauthorised;
        matches!(self, Self::Performing { error: PerformError::Api(Unauthorised(_)), .. })
    }
}

impl From<TaskEventsError> for InvocationError {
    fn from(error: TaskEventsError) -> Self {
        Self::new("TaskEventFailed", error.to_string())
    }
}

/// What came of all events, each with what names it. An error if one failed: the others are told again then, which changes
/// nothing.
pub(super) fn answer_to_all(
    mut events: Vec<(String, Result<Told, TaskEventsError>)>,
) -> Result<EventAnswer, TaskEventsError> {
    if events.len() == 1 {
        // The only one speaks for itself.
        return events.remove(0).1.map(EventAnswer::One);
    }
    let of = events.len();
    let (mut told, mut errors) = (Vec::with_capacity(of), Vec::new());
    for (number, (name, event)) in (1..).zip(events) {
        match event {
            Ok(event) => told.push(event),
            Err(error) => errors.push(format!("event {number}{name}: {error}")),
        }
    }
    let failed = errors.len();
    if failed == 0 {
        return Ok(EventAnswer::Several { events: told });
    }
    if failed > TOLD {
        errors.truncate(TOLD);
        errors.push(format!("and {} more", failed - TOLD));
    }
    Err(TaskEventsError::Several { failed, of, errors })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn told(why: &str) -> Told {
        Told { why: why.into(), ..Told::default() }
    }

    #[test]
    fn one_event_answers_as_itself_and_several_as_a_list() {
        let one = answer_to_all(vec![(String::new(), Ok(told("a")))]).unwrap();
        assert_eq!(serde_json::json!(one)["why"], "a");
        let two = answer_to_all(vec![(String::new(), Ok(told("a"))), (String::new(), Ok(told("b")))]).unwrap();
        assert_eq!(serde_json::json!(two)["events"][1]["why"], "b");
        assert_eq!(
            answer_to_all(vec![(String::new(), Err(TaskEventsError::Deadline))]),
            Err(TaskEventsError::Deadline)
        );
    }

    #[test]
    fn an_error_says_which_of_the_events_failed_and_is_bounded() {
        let failed = |_| (" (task t)".to_owned(), Err(TaskEventsError::Deadline));
        let mut events: Vec<_> = (0..15).map(failed).collect();
        events.insert(1, (String::new(), Ok(told("a"))));
        let error = answer_to_all(events).unwrap_err().to_string();
        assert!(error.starts_with("15 of 16 events were not dealt with: event 1 (task t): no time"), "{error}");
        assert!(error.contains("event 3 (task t)") && error.ends_with("and 5 more"), "{error}");
    }
}
