//! Does what was decided about a run whose task changed.

use super::decision::{Action, Decision, DecisionRules, Look, Observation, decide, needs_run};
use super::event::TaskEvent;
use super::task_owner::{LaunchedBy, Owner, Tags};
use crate::aws::AwsError;
use crate::aws::ecs::Ecs;
use crate::aws::services::Logs;
use crate::clock::Clock;
use crate::model::{ApiError, ClaimedBy, Generation};
use crate::orchestrator::{DueRun, Ending, GiveBack, LogLevel, RunLog, TaskWatch, Watched};
use crate::platform::ecs::listing::listed_tasks;
use crate::platform::started_by;
use crate::transport::shape::text_at;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;
use time::OffsetDateTime;

/// One agent's part in an event, and all it works with.
#[derive(Debug)]
pub struct Performer<'a, O, C> {
    /// The agent's Prefect API.
    pub orchestrator: &'a O,
    /// ECS where the task is.
    pub ecs: &'a Ecs,
    /// The log of its containers.
    pub logs: &'a Logs,
    /// Time.
    pub clock: &'a C,
    /// When there is no time left to tell anything.
    pub end: OffsetDateTime,
    /// The agent's name in the deployment.
    pub agent: &'a str,
    /// What the agent is configured to.
    pub rules: DecisionRules<'a>,
}

/// What is known of the task beyond its event.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its tags; empty when they cannot be read any more.
    pub tags: Tags,
    /// Its `version` as ECS describes it now, if it was asked.
    pub version: Option<i64>,
}

/// What came of an event, for the function's answer and its log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Told {
    /// The agent; `None` = nobody's task.
    pub agent: Option<String>,
    /// Id of the flow run, if the task has one.
    pub flow_run_id: Option<String>,
    /// What was done, in order.
    pub done: Vec<&'static str>,
    /// Why.
    pub why: String,
    /// From the time the run was due until the containers of its task had started, milliseconds; of a task that has
    /// stopped, where both are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_to_running_ms: Option<u64>,
    /// The task died, and Prefect was told this.
    #[serde(skip)]
    pub death: Option<String>,
}

/// Why an event is worth another delivery.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PerformError {
    /// The Prefect API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// AWS.
    #[error("{0}")]
    Aws(AwsError),
    /// The run must be looked at once more, and the invocation ends before that.
    #[error("no time is left for a second look at flow run {flow_run_id}, {} s after the first", after.as_secs())]
    NoSecondLook {
        /// Id of the flow run.
        flow_run_id: String,
        /// How long after the first look.
        after: Duration,
    },
}

impl<O: TaskWatch, C: Clock> Performer<'_, O, C> {
    /// Tells Prefect what the event says; `None` = this agent's Prefect does not know the run.
    pub async fn tell(&self, event: &TaskEvent, owner: &Owner, known: &Known) -> Result<Option<Told>, PerformError> {
        let mut told = self.nothing_told(owner);
        let mut look = Look::First;
        // Two looks at most: a second one decides for good.
        loop {
            // Of several agents, the one whose Prefect knows the run is told.
            let needed = needs_run(event, self.rules.generation) || owner.agents.len() > 1;
            let watched = if needed { self.orchestrator.watch(&owner.flow_run_id).await? } else { None };
            if needed && watched.is_none() && owner.agents.len() > 1 {
                return Ok(None);
            }
            let again = self.settle(event, owner, known, (watched.as_ref(), look), &mut told).await?;
            let (Some(after), Look::First) = (again, look) else { return Ok(Some(told)) };
            let then = self.clock.now() + after;
            if then >= self.end {
                // Better an error, and another delivery, than to be killed while waiting.
                return Err(PerformError::NoSecondLook { flow_run_id: owner.flow_run_id.clone(), after });
            }
            self.clock.sleep_until(then).await;
            look = Look::Second;
        }
    }

    /// Tells Prefect of a task of ours that has stopped without an event, so long ago that no last words of its flow are on
    /// their way; `None` = the run is gone, or its claim is not this agent's. Nothing is posted: that is the event's.
    pub async fn tell_late(&self, event: &TaskEvent, owner: &Owner) -> Result<Option<Told>, PerformError> {
        let Some(watched) = self.orchestrator.watch(&owner.flow_run_id).await? else { return Ok(None) };
        if watched.now.claimed_by != ClaimedBy::Us {
            return Ok(None);
        }
        let mut told = self.nothing_told(owner);
        self.settle(event, owner, &Known::default(), (Some(&watched), Look::Second), &mut told).await?;
        Ok(Some(told))
    }

    fn nothing_told(&self, owner: &Owner) -> Told {
        let (agent, flow_run_id) = (Some(self.agent.to_owned()), Some(owner.flow_run_id.clone()));
        Told { agent, flow_run_id, ..Told::default() }
    }

    /// Decides about the run as it was seen, and does it; after how long it is to be looked at again, if so.
    async fn settle(
        &self,
        event: &TaskEvent,
        owner: &Owner,
        known: &Known,
        (watched, look): (Option<&Watched<O::Detail>>, Look),
        told: &mut Told,
    ) -> Result<Option<Duration>, PerformError> {
        let decision = self.decide(event, owner, known, watched, look);
        told.why = decision.why;
        told.due_to_running_ms = watched.and_then(|watched| due_to_running(event, &watched.run));
        let again = decision.actions.iter().find_map(|action| match action {
            Action::LookAgain(after) => Some(*after),
            _ => None,
        });
        if let Some(seen) = watched
            && changes_run(&decision.actions)
            && let Some(other) = self.other_live_task(event, owner, seen.claimed_place.as_deref()).await?
        {
            told.why = format!("another task of the flow run lives: {other}");
            let rest = decision.actions.into_iter().filter(|action| matches!(action, Action::PostEvent(_)));
            self.perform(event, watched, rest.collect(), told).await?;
            return Ok(None);
        }
        self.perform(event, watched, decision.actions, told).await?;
        Ok(again)
    }

    fn decide(
        &self,
        event: &TaskEvent,
        owner: &Owner,
        known: &Known,
        watched: Option<&Watched<O::Detail>>,
        look: Look,
    ) -> Decision {
        let run = watched.map(|watched| &watched.now);
        let seen = Observation { now: self.clock.now(), tags: &known.tags, run, task_version: known.version, look };
        decide(event, owner, &seen, &self.rules)
    }

    /// A task of ours that lives although this one has stopped: then this one was of an earlier turn, whatever the times
    /// say. Looked for where this one was, and where the run's newest claim went: the agent may have moved to another
    /// cluster since. Only tasks of ours can be found.
    async fn other_live_task(
        &self,
        event: &TaskEvent,
        owner: &Owner,
        claimed_place: Option<&str>,
    ) -> Result<Option<String>, PerformError> {
        if owner.launched != LaunchedBy::Here {
            return Ok(None);
        }
        let here = event.task.cluster_arn.as_deref();
        let name = |cluster: &str| cluster.rsplit('/').next().unwrap_or(cluster).to_owned();
        let elsewhere = claimed_place.filter(|place| here.map(name) != Some(name(place)));
        match self.live_task_in(here, event, owner).await? {
            None if elsewhere.is_some() => self.live_task_in(elsewhere, event, owner).await,
            found => Ok(found),
        }
    }

    /// A live task of the run in a cluster, other than the event's.
    async fn live_task_in(
        &self,
        cluster: Option<&str>,
        event: &TaskEvent,
        owner: &Owner,
    ) -> Result<Option<String>, PerformError> {
        let started_by = started_by(self.agent, &owner.flow_run_id);
        let listed = listed_tasks(self.ecs, cluster, &started_by).await.map_err(PerformError::Aws)?;
        let Some(listed) = listed else { return Ok(None) };
        let others: Vec<String> = listed.arns().filter(|arn| **arn != event.task_arn).cloned().collect();
        if others.is_empty() {
            return Ok(None);
        }
        let tasks = self.ecs.describe_tasks(cluster, &others).await.map_err(PerformError::Aws)?;
        // What cannot be described yet lives where it is listed as to run; what is to be stopped is forgotten.
        let lives = |arn: &String| match tasks.iter().find(|task| task.task_arn == *arn) {
            Some(task) => task.last_status != "STOPPED",
            None => listed.running.contains(arn),
        };
        Ok(others.into_iter().find(lives))
    }

    async fn perform(
        &self,
        event: &TaskEvent,
        watched: Option<&Watched<O::Detail>>,
        actions: Vec<Action>,
        told: &mut Told,
    ) -> Result<(), PerformError> {
        // What was read is the sooner acted upon: events come last.
        let (posts, actions): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::PostEvent(_)));
        let (mut lines, mut is_refused) = (Vec::new(), false);
        for action in actions {
            match (action, watched) {
                (Action::ProposePending { message }, Some(watched)) => {
                    let mark = watched.mark.as_ref();
                    match self.orchestrator.propose_pending(&watched.run, mark, &message).await {
                        Ok(()) => told.done.push("proposed pending"),
                        Err(error) => tracing::debug!(%error, "the run's task waits, and Prefect does not say so"),
                    }
                }
                (Action::End { message }, Some(watched)) => {
                    let ended = self.orchestrator.end_dead(&watched.run, &message).await;
                    // What happened to the task is worth a line in any case; its last lines only if nobody else had any.
                    is_refused = !done(ended, "ended", told)?;
                    told.death = Some(message).filter(|_| !is_refused);
                }
                (Action::Cancelled { message }, Some(watched)) => {
                    let ended = self.orchestrator.cancelled(&[Ending { run: &watched.run, message }]).await;
                    if !done(first(ended), "cancelled", told)? {
                        break;
                    }
                }
                (Action::GiveBack { reason, for_capacity, delay }, Some(watched)) => {
                    let Some(mark) = &watched.mark else { continue };
                    let run = GiveBack { run: &watched.run, mark, reason: reason.clone(), for_capacity, delay };
                    let given = self.orchestrator.give_back(&[run], self.clock.now()).await;
                    if !done(first(given), "given back", told)? {
                        break;
                    }
                    told.death = Some(reason);
                }
                (Action::Log { level, message }, Some(watched)) => {
                    lines.push(RunLog { flow_run_id: watched.run.flow_run_id.clone(), level, message });
                }
                (Action::ForwardLogs { container, max_lines }, Some(watched)) if !is_refused => {
                    let forwarded = self.container_lines(event, container.as_deref(), max_lines).await;
                    let line = |message| RunLog {
                        flow_run_id: watched.run.flow_run_id.clone(),
                        level: LogLevel::Info,
                        message,
                    };
                    lines.extend(forwarded.into_iter().map(line));
                }
                _ => {}
            }
        }
        for action in posts {
            if let Action::PostEvent(body) = action {
                self.post(&body, told).await;
            }
        }
        self.log(&lines, told).await;
        Ok(())
    }

    async fn post(&self, body: &Value, told: &mut Told) {
        match self.orchestrator.post_event(body).await {
            Ok(()) => told.done.push("event posted"),
            Err(error) => tracing::warn!(agent = self.agent, %error, "the event of a task was not posted"),
        }
    }

    async fn log(&self, lines: &[RunLog], told: &mut Told) {
        if lines.is_empty() {
            return;
        }
        match self.orchestrator.log(lines).await {
            Ok(()) => told.done.push("logged"),
            Err(error) => tracing::warn!(agent = self.agent, %error, "run logs were not written"),
        }
    }

    /// The last lines of a container, as far as they can be had.
    async fn container_lines(&self, event: &TaskEvent, container: Option<&str>, max_lines: u32) -> Vec<String> {
        let Some(definition) = event.task.task_definition_arn.as_deref() else { return Vec::new() };
        let described = match self.ecs.describe_task_definition(definition).await {
            Ok(described) => described.definition,
            Err(error) => return not_read(&error),
        };
        let stream = log_stream(&described, container, event.task_id(), self.rules.generation);
        let Some(stream) = stream else { return Vec::new() };
        let lines = self.logs.last_lines(stream.region.as_deref(), &stream.group, &stream.stream, max_lines).await;
        lines.unwrap_or_else(|error| not_read(&error))
    }
}

/// How long a run waited for its containers, by the last event of its task. Nothing is said of a task that started before
/// the run was due: it was an earlier turn's.
fn due_to_running<D>(event: &TaskEvent, run: &DueRun<D>) -> Option<u64> {
    let started_at = event.task.started_at.filter(|_| event.is_stopped())?;
    let waited = Duration::try_from(started_at - run.scheduled_for?).ok()?;
    u64::try_from(waited.as_millis()).ok()
}

/// Whether a change of the run was made; a run that moved on meanwhile is left as it is.
fn done(result: Result<(), ApiError>, what: &'static str, told: &mut Told) -> Result<bool, PerformError> {
    match result {
        Ok(()) => {
            told.done.push(what);
            Ok(true)
        }
        Err(ApiError::NotOurs(why)) => {
            told.why = why;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn not_read(error: &AwsError) -> Vec<String> {
    tracing::warn!(%error, "the last lines of a container cannot be read");
    Vec::new()
}

fn first(results: Vec<Result<(), ApiError>>) -> Result<(), ApiError> {
    results.into_iter().next().unwrap_or(Ok(()))
}

fn changes_run(actions: &[Action]) -> bool {
    let changes = |action: &Action| {
        matches!(action, Action::End { .. } | Action::GiveBack { .. } | Action::Cancelled { .. } | Action::LookAgain(_))
    };
    actions.iter().any(changes)
}

// Where a container's own log is: what its task definition says about it.

/// A log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// Log group.
    pub group: String,
    /// `<prefix>/<container>/<task id>`.
    pub stream: String,
    /// Region; `None` = the task's.
    pub region: Option<String>,
}

/// The log of a task's container. `definition`: as ECS describes it, also one that is deregistered; `container`: `None` =
/// the flow's, by its usual name or because it is the only one.
///
/// `None` = it logs elsewhere than to `awslogs`, or without a prefix, so that its stream cannot be known.
pub fn log_stream(
    definition: &Map<String, Value>,
    container: Option<&str>,
    task_id: &str,
    generation: Generation,
) -> Option<LogStream> {
    let containers = definition.get("containerDefinitions")?.as_array()?;
    let named = |name: &str| containers.iter().find(|container| text_at(container, &["name"]) == Some(name));
    let container = match container {
        Some(name) => named(name),
        None => named(generation.usual_container()).or_else(|| containers.first().filter(|_| containers.len() == 1)),
    }?;
    let option = |name: &str| text_at(container, &["logConfiguration", "options", name]);
    if text_at(container, &["logConfiguration", "logDriver"]) != Some("awslogs") {
        return None;
    }
    Some(LogStream {
        group: option("awslogs-group")?.to_owned(),
        stream: format!("{}/{}/{task_id}", option("awslogs-stream-prefix")?, text_at(container, &["name"])?),
        region: option("awslogs-region").map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn container(name: &str) -> Value {
        let options =
            json!({"awslogs-group": "/prefect/x", "awslogs-stream-prefix": "p", "awslogs-region": "eu-west-1"});
        json!({"name": name, "logConfiguration": {"logDriver": "awslogs", "options": options}})
    }

    fn stream(containers: &Value, name: Option<&str>) -> Option<LogStream> {
        let definition = json!({"containerDefinitions": containers});
        log_stream(definition.as_object().unwrap(), name, "0123", Generation::TwoOrThree)
    }

    #[test]
    fn the_stream_is_made_of_prefix_container_and_task() {
        let found = stream(&json!([container("otel"), container("prefect")]), Some("otel")).unwrap();
        assert_eq!((found.group.as_str(), found.stream.as_str()), ("/prefect/x", "p/otel/0123"));
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn without_a_name_it_is_the_flows_container() {
        let name = |containers| stream(&containers, None).map(|found| found.stream);
        assert_eq!(name(json!([container("otel"), container("prefect")])).as_deref(), Some("p/prefect/0123"));
        assert_eq!(name(json!([container("main")])).as_deref(), Some("p/main/0123"));
        assert_eq!(name(json!([container("main"), container("otel")])), None);
        assert_eq!(name(json!([])), None);
    }

    #[test]
    fn a_log_elsewhere_or_without_a_prefix_cannot_be_read() {
        for (pointer, value) in [
            ("/0/logConfiguration", json!(null)),
            ("/0/logConfiguration/logDriver", json!("splunk")),
            ("/0/logConfiguration/options/awslogs-group", json!("")),
            ("/0/logConfiguration/options/awslogs-stream-prefix", json!(null)),
            ("/0/name", json!("other")),
        ] {
            let mut containers = json!([container("prefect")]);
            *containers.pointer_mut(pointer).unwrap() = value;
            assert_eq!(stream(&containers, Some("prefect")), None, "{pointer}");
        }
        let mut containers = json!([container("prefect")]);
        containers[0]["logConfiguration"]["options"].as_object_mut().unwrap().remove("awslogs-region");
        assert_eq!(stream(&containers, None).unwrap().region, None, "the task's own region");
    }
}
