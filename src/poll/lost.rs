//! Runs that run, as far as Prefect knows, although their task has died and no event told so (Prefect 2 and 3; what is claimed
//! and has not begun is `recover`'s). Beside the iteration they are looked for, a bounded number with each poll; after it
//! Prefect is told by the rules of `task-events`.

use super::iteration::is_refusal;
use super::report::{ReportBuilder, RunOutcome};
use crate::clock::{Clock, in_turn};
use crate::config::AgentConfig;
use crate::model::{ClaimedBy, Phase};
use crate::orchestrator::{RunningPage, RunningRun, TaskWatch, Watched};
use crate::panics::lock;
use crate::platform::ecs::listing::listed_tasks;
use crate::platform::{Place, Platform, started_by};
use crate::state::TaskLooks;
use crate::task_events::decision::DecisionRules;
use crate::task_events::event::TaskEvent;
use crate::task_events::perform::{Performer, Told};
use crate::task_events::task_owner::{EVENT_PATIENCE, RecordedTask, TaskLook, look};
use crate::task_events::task_owner::{LaunchedBy, Owner};
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;
use time::OffsetDateTime;

/// A run whose state is younger needs no look: as a rule events come at once.
pub(crate) const STANDS_FOR: Duration = Duration::from_mins(15);
/// Looking for such runs takes no longer than this: the next poll looks too.
const PATIENCE: Duration = Duration::from_secs(20);
/// That ECS does not know a task is believed when it says so twice, so long apart at least.
const APART: Duration = Duration::from_secs(30);
/// Tasks that are remembered as missing: they have to fit into the status.
const MAX_MISSING: usize = 16;
/// Runs of which one poll reads whose claim they are in.
const MAX_HISTORIES: usize = 10;
/// Runs that one poll tells Prefect about.
const MAX_TOLD: usize = 20;
/// States of others' runs that are remembered.
const MAX_OTHERS: usize = 1000;

/// States of runs that others have claimed: a state never changes, and need not be looked at again.
#[derive(Debug, Default)]
pub(super) struct OthersRuns(Mutex<HashSet<String>>);

impl OthersRuns {
    fn insert(&self, state_id: &str) {
        let mut known = lock(&self.0);
        if known.len() >= MAX_OTHERS {
            known.clear();
        }
        known.insert(state_id.to_owned());
    }

    fn contains(&self, state_id: &str) -> bool {
        lock(&self.0).contains(state_id)
    }
}

/// What is looked after, and with what.
pub(super) struct LostTasks<'a, O, P, C> {
    pub(super) config: &'a AgentConfig,
    pub(super) sides: (&'a O, &'a P, &'a C),
    pub(super) report: &'a ReportBuilder,
    pub(super) others: &'a OthersRuns,
}

/// A task that is dead, as an event would tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeadTask {
    flow_run_id: String,
    event: TaskEvent,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct FoundTasks {
    /// What Prefect is to be told.
    pub(super) dead: Vec<DeadTask>,
    /// What the next poll has to know.
    pub(super) looks: TaskLooks,
}

/// What is to be done about the runs of a page, by what ECS says of their tasks.
#[derive(Debug, Default, PartialEq)]
struct Sorted {
    dead: Vec<DeadTask>,
    /// Tasks that were missing before: they stay so, told or not.
    missing: Vec<(String, i64)>,
    /// Runs whose task is missing for the first time, with its id.
    newly: Vec<(RunningRun, String)>,
}

/// Sorts them. Pure. `agent`: whose tasks count; `before`: what the poll before this one has seen.
fn sort(
    looked: Vec<(RunningRun, RecordedTask, TaskLook)>,
    agent: &str,
    before: &TaskLooks,
    now: OffsetDateTime,
) -> Sorted {
    let mut sorted = Sorted::default();
    for (run, task, look) in looked {
        let flow_run_id = run.flow_run_id.clone();
        let started_by = started_by(agent, &flow_run_id);
        match look {
            TaskLook::Stopped(event) if is_over(&event, &started_by, now) => {
                sorted.dead.push(DeadTask { flow_run_id, event: *event });
            }
            TaskLook::Missing => {
                let id = task.id().to_owned();
                let Some(since) = before.missing.get(&id).copied() else {
                    sorted.newly.push((run, id));
                    continue;
                };
                sorted.missing.push((id, since));
                if now.unix_timestamp().saturating_sub(since) >= seconds(APART) {
                    let event = TaskEvent::of_forgotten(&task.arn, &task.cluster, &started_by);
                    sorted.dead.push(DeadTask { flow_run_id, event });
                }
            }
            TaskLook::Unknown(why) => {
                tracing::debug!(flow_run_id, task_arn = task.arn, why, "it cannot be told whether a run's task lives");
            }
            TaskLook::Lives | TaskLook::Stopped(_) => {}
        }
    }
    sorted
}

/// Whether it is a task of ours that stopped so long ago that its event should have come.
fn is_over(event: &TaskEvent, started_by: &str, now: OffsetDateTime) -> bool {
    let is_ours = event.task.started_by.as_deref() == Some(started_by);
    is_ours && event.task.stopped_at.is_some_and(|stopped_at| now - stopped_at >= EVENT_PATIENCE)
}

/// Where the next poll goes on. Pure. What was missing for the first time is looked at again at once.
fn next(page: &RunningPage, at: usize, stays: bool) -> usize {
    match (page.is_full, stays) {
        (false, _) => 0,
        (true, true) => at,
        (true, false) => at.saturating_add(page.rows),
    }
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

impl<O: TaskWatch, P: Platform, C: Clock> LostTasks<'_, O, P, C> {
    /// Looks for them. `before`: what the last poll left.
    pub(super) async fn find(&self, before: &TaskLooks) -> FoundTasks {
        let found = tokio::time::timeout(PATIENCE, self.found(before)).await;
        found.unwrap_or_else(|_| {
            tracing::warn!(agent = self.config.agent, "the tasks of runs that run were not looked at in time");
            FoundTasks { looks: TaskLooks { next: before.next, ..TaskLooks::default() }, ..FoundTasks::default() }
        })
    }

    async fn found(&self, before: &TaskLooks) -> FoundTasks {
        let (prefect, platform, clock) = self.sides;
        if platform.task_clients(None).await.is_none() {
            return FoundTasks::default();
        }
        let now = clock.now();
        let page = match prefect.long_running(now - STANDS_FOR, before.next).await {
            Ok(Some(page)) => page,
            Ok(None) => return FoundTasks::default(),
            Err(error) => {
                let agent = self.config.agent.as_str();
                tracing::warn!(agent, %error, "runs whose task may have died cannot be looked for");
                if is_refusal(&error) {
                    self.report.warn(&format!("runs whose task has died without an event cannot be found: {error}"));
                }
                let looks = TaskLooks { next: before.next, ..TaskLooks::default() };
                return FoundTasks { looks, ..FoundTasks::default() };
            }
        };
        let task = |run: &RunningRun| Some((run.clone(), RecordedTask::of_pid(run.pid.as_deref()?)?));
        let (runs, tasks): (Vec<_>, Vec<_>) = page.runs.iter().filter_map(task).unzip();
        let looks = look(&tasks, |region| platform.task_clients(region)).await;
        let looked = runs.into_iter().zip(tasks).zip(looks).map(|((run, task), look)| (run, task, look)).collect();
        let Sorted { mut dead, missing, newly } = sort(looked, &self.config.agent, before, now);
        let unrecorded = page.runs.iter().filter(|run| run.pid.is_none()).map(|run| (run.clone(), None));
        let unsure = newly.into_iter().map(|(run, id)| (run, Some(id))).chain(unrecorded);
        let mut looks = TaskLooks { next: 0, missing: missing.into_iter().collect() };
        let mut stays = dead.len() > MAX_TOLD;
        for (run, watched, id) in self.ours(unsure.collect(), now).await {
            match id {
                None => dead.extend(self.unrecorded(run.flow_run_id, &watched, now).await),
                Some(id) if looks.missing.len() < MAX_MISSING => {
                    looks.missing.insert(id, now.unix_timestamp());
                    stays = true;
                }
                Some(_) => {}
            }
        }
        looks.next = next(&page, before.next, stays);
        FoundTasks { dead, looks }
    }

    /// Those of the runs that this agent has claimed, by their histories; some of them with each poll.
    async fn ours<T>(
        &self,
        runs: Vec<(RunningRun, T)>,
        now: OffsetDateTime,
    ) -> Vec<(RunningRun, Watched<O::Detail>, T)> {
        let runs: Vec<_> = runs.into_iter().filter(|(run, _)| !self.others.contains(&run.state_id)).collect();
        let read = in_turn(runs, MAX_HISTORIES, now, self.config.poll_interval).into_iter().map(|(run, what)| async {
            match self.sides.0.watch(&run.flow_run_id).await {
                Ok(Some(watched)) if watched.now.phase == Phase::Running => {
                    if watched.now.claimed_by == ClaimedBy::Us {
                        return Some((run, watched, what));
                    }
                    self.others.insert(&run.state_id);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(flow_run_id = run.flow_run_id, %error, "whose claim a run is in cannot be told");
                }
            }
            None
        });
        join_all(read).await.into_iter().flatten().collect()
    }

    /// A run whose task was never written down, because the process died that launched it. The only task of it that runs is
    /// written down now; one that has stopped is found as long as ECS lists it.
    async fn unrecorded(
        &self,
        flow_run_id: String,
        watched: &Watched<O::Detail>,
        now: OffsetDateTime,
    ) -> Option<DeadTask> {
        let (prefect, platform, _) = self.sides;
        let started_by = started_by(&self.config.agent, &flow_run_id);
        let aws = platform.task_clients(None).await?;
        let listed = match listed_tasks(&aws.ecs, Some(watched.claimed_place.as_deref()?), &started_by).await {
            Ok(listed) => listed?,
            Err(error) => {
                tracing::debug!(flow_run_id, %error, "the tasks of a run cannot be listed");
                return None;
            }
        };
        let pid = |arn: &String| P::Place::default().pid(arn);
        if let [only] = listed.running.as_slice() {
            prefect.record_pid(&watched.run, &pid(only)).await;
        }
        if !listed.running.is_empty() {
            return None;
        }
        let stopped: Vec<_> = listed.stopping.iter().filter_map(|arn| RecordedTask::of_pid(&pid(arn))).collect();
        let looks = look(&stopped, |region| platform.task_clients(region)).await;
        let event = |look| match look {
            TaskLook::Stopped(event) if is_over(&event, &started_by, now) => Some(*event),
            _ => None,
        };
        // All of them, or nothing is known.
        let events: Vec<TaskEvent> = looks.into_iter().map(event).collect::<Option<_>>()?;
        let event = events.into_iter().max_by_key(|event| event.task.created_at)?;
        Some(DeadTask { flow_run_id, event })
    }

    /// The task that the run has now, where the one that is written down is of an earlier turn; dead as well.
    async fn later(&self, earlier: &DeadTask) -> Option<DeadTask> {
        let DeadTask { flow_run_id, event } = earlier;
        let watched = self.sides.0.watch(flow_run_id).await.ok()??;
        let is_ours = watched.now.phase == Phase::Running && watched.now.claimed_by == ClaimedBy::Us;
        if !is_ours || !watched.now.is_of_earlier_turn(event, LaunchedBy::Here) {
            return None;
        }
        let later = self.unrecorded(flow_run_id.clone(), &watched, self.sides.2.now()).await?;
        (later.event.task_arn != event.task_arn).then_some(later)
    }

    /// Tells Prefect, until `end`. What cannot be told now is found by the next poll.
    pub(super) async fn tell(&self, dead: Vec<DeadTask>, end: OffsetDateTime) {
        if dead.is_empty() {
            return;
        }
        let now = self.sides.2.now();
        let left = Duration::try_from(end - now).unwrap_or_default();
        let dead = in_turn(dead, MAX_TOLD, now, self.config.poll_interval);
        let told = join_all(dead.iter().map(|dead| async move {
            if !self.tell_one(dead, end).await
                && let Some(later) = self.later(dead).await
            {
                self.tell_one(&later, end).await;
            }
        }));
        if tokio::time::timeout(left, told).await.is_err() {
            tracing::warn!(agent = self.config.agent, "no time was left to tell Prefect of all tasks that have died");
        }
    }

    /// Whether the run was changed, or that is known to be still to do.
    async fn tell_one(&self, dead: &DeadTask, end: OffsetDateTime) -> bool {
        let (orchestrator, platform, clock) = self.sides;
        let DeadTask { flow_run_id, event } = dead;
        let Some(aws) = platform.task_clients(event.region.clone()).await else { return false };
        let (agent, task_arn) = (self.config.agent.as_str(), event.task_arn.as_str());
        // Its flow has run, and could tell by itself what there was to tell.
        let rules = DecisionRules { forward_log_lines: 0, ..DecisionRules::of(self.config) };
        let performer = Performer { orchestrator, ecs: &aws.ecs, logs: &aws.logs, clock, end, agent, rules };
        let (agents, launched) = (vec![agent.to_owned()], LaunchedBy::Here);
        let owner = Owner { flow_run_id: flow_run_id.clone(), agents, launched };
        match performer.tell_late(event, &owner).await {
            Ok(Some(Told { done, why, .. })) if done.iter().any(|done| *done != "logged") => {
                let done = done.join(", ");
                tracing::info!(agent, flow_run_id, task_arn, done, why, "the end of a task was told without its event");
                self.report.record(flow_run_id, RunOutcome::Died(format!("{why} (task {task_arn})")));
                true
            }
            Ok(told) => {
                let why = told.map_or_else(|| "the run is not this agent's".to_owned(), |told| told.why);
                tracing::debug!(agent, flow_run_id, task_arn, why, "a task has stopped, and nothing is to be told");
                false
            }
            Err(error) => {
                tracing::warn!(agent, flow_run_id, task_arn, %error, "the end of a task is not told yet");
                self.report.warn(&format!("that a task has ended cannot be told to Prefect: {error}"));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
