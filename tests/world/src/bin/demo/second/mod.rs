//! The second act: a real Prefect 3 server, real flows, and the agent that serves their work pool.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | the server, a process |
//! | [`cloud`] | the AWS account with the functions; its containers run `prefect flow-run execute` |
//! | [`command`] | what a person does: `init`, `check`, `explain`, `connect` |
//! | [`events`] | what `EventBridge` does: tells the `task-events` function what becomes of tasks |
//! | [`run`] | what became of a flow run, and whether that is right |
//! | [`page`] | what is printed |

mod cloud;
mod command;
mod events;
mod page;
mod run;
pub(crate) mod server;

use crate::{Error, ink::Ink};
use cloud::{Cloud, INTERVAL, Polled, ROOT};
use page::Page;
use run::{Expected, Run};
use serde_json::{Value, json};
use server::{Scheduled, Server, ServerProcess};
use std::{cell::OnceCell, collections::HashSet, path::Path, time::Duration};
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use world::ecs::Task;

/// Name of the work pool.
const POOL: &str = "demo-ecs";
/// Flow runs that are scheduled: one by one `RUNS` of `scripts/prefect_server/seed.py`.
const RUNS: usize = 7;
/// From starting a run by hand until its task; the schedule alone would take half a minute.
const AT_ONCE: Duration = Duration::from_secs(10);
/// The act takes half a minute on an idle machine; when it hangs, it ends after this.
const LIMIT: Duration = Duration::from_mins(4);

/// Starts the server, which takes a while.
pub(crate) fn prepare() -> Result<ServerProcess, Error> {
    ServerProcess::start(POOL, RUNS)
}

/// Plays it. `ended` gets whether all ended as it should, the first act's runs too; then it goes on if it is to `keep`
/// everything running.
pub(crate) async fn play(
    lambda: &Path,
    server: &mut ServerProcess,
    keep: bool,
    first: bool,
    ended: &OnceCell<bool>,
) -> Result<(), Error> {
    let server = server.ready().await?;
    let page = Page { ink: Ink::of_stdout(), server: &server, began: OffsetDateTime::now_utc() };
    page.opening(&server.get("/admin/version").await?);
    let cloud = Cloud::new(lambda, &server).await?;
    let (sender, stopped) = unbounded_channel();
    let mut act = Act { server: &server, cloud: &cloud, page, stopped, died: Vec::new(), wrong: Vec::new() };
    let story = async {
        let good = tokio::time::timeout(LIMIT, act.perform()).await;
        let good = good.map_err(|_| format!("not done after {} s\n{}", LIMIT.as_secs(), server.log_tail()))??;
        let _ = ended.set(first && good);
        if keep { act.explore().await } else { Ok(()) }
    };
    tokio::select! {
        ended = story => ended,
        error = events::deliver(&cloud, sender) => {
            Err(format!("a task's event was not handled: {}: {}", error.error_type, error.error_message).into())
        }
    }
}

/// What it is played with.
struct Act<'a> {
    server: &'a Server,
    cloud: &'a Cloud,
    page: Page<'a>,
    /// Tasks whose end the `task-events` function was told of.
    stopped: UnboundedReceiver<Task>,
    /// Runs whose tasks died.
    died: Vec<String>,
    /// What is wrong, beside single flow runs.
    wrong: Vec<String>,
}

impl Act<'_> {
    /// The story; whether all ended as it should.
    async fn perform(&mut self) -> Result<bool, Error> {
        self.page.began = OffsetDateTime::now_utc();
        let polled = self.cloud.poll().await;
        self.poll("EventBridge Scheduler, cold start", &polled, |report| count(report, "launched") == RUNS);
        let cancelled = self.cancel().await?;
        let polled = self.cloud.poll().await;
        let what = format!("the next one: somebody has cancelled {}", cancelled.name);
        self.poll(&what, &polled, |report| count(report, "cancelled") == 1);
        let all = self.server.flow_runs.iter().map(|run| run.id.clone());
        let mut good = self.follow(all.collect(), &cancelled.id).await?;
        println!();
        for id in std::mem::take(&mut self.died) {
            command::run(&self.cloud.aws, self.page.ink, &format!("explain {id} --root {ROOT}"), 0).await?;
        }
        let polled = self.cloud.poll().await;
        println!();
        self.poll("the next one: nothing is due", &polled, |report| report["ready"] == 0);
        println!();
        let by_hand = self.start_by_hand().await?;
        good += self.follow([by_hand].into(), &cancelled.id).await?;
        self.page.conclude(good, RUNS + 1, &self.wrong);
        Ok(good == RUNS + 1 && self.wrong.is_empty())
    }

    fn poll(&mut self, what: &str, polled: &Polled, as_expected: impl Fn(&Value) -> bool) {
        self.wrong.extend(self.page.poll(what, polled, as_expected));
    }

    /// Somebody cancels a flow run whose container waits for a place.
    async fn cancel(&self) -> Result<Scheduled, Error> {
        let tasks = self.cloud.aws.ecs_tasks();
        let mut waiting = tasks.iter().rev().filter(|task| task.last_status == "PROVISIONING").map(flow_run_of);
        let of_task = |id: &str| self.server.flow_runs.iter().find(|run| run.id == id && run.completes());
        let run = waiting.find_map(of_task).ok_or("every task has begun: none is left to be cancelled")?;
        let state = json!({"state": {"type": "CANCELLING", "name": "Cancelling"}});
        self.server.post(&format!("/flow_runs/{}/set_state", run.id), &state).await?;
        Ok(run.clone())
    }

    /// Connects the server, so that it pokes; then somebody starts a run, which no schedule polls for. Its id.
    async fn start_by_hand(&mut self) -> Result<String, Error> {
        let connect = format!("connect --root {ROOT} --url {}", self.cloud.poke_url.url());
        command::run(&self.cloud.aws, self.page.ink, &connect, 0).await?;
        // The command pokes once itself.
        self.cloud.poked(AT_ONCE).await?;
        let deployment = self.server.deployments.get("nightly").ok_or("there is no deployment `nightly`")?;
        let began = OffsetDateTime::now_utc();
        let run = self.server.post(&format!("/deployments/{deployment}/create_flow_run"), &json!({})).await?;
        let id = run["id"].as_str().ok_or("the flow run has no id")?.to_owned();
        let (pokes, task) = loop {
            let pokes = self.cloud.poked(AT_ONCE).await?;
            let task = self.cloud.aws.ecs_tasks().into_iter().find(|task| flow_run_of(task) == id);
            if task.is_some() || pokes == 0 {
                break (pokes, task);
            }
        };
        let after = task.map(|task| task.created_at - began);
        let wrong = after.is_none_or(|after| after > AT_ONCE);
        self.page.by_hand(after, wrong);
        if wrong {
            self.wrong
                .push(format!("a run that was started by hand has no task after {after:?}; the last pokes: {pokes}"));
        }
        Ok(id)
    }

    /// Shows these flow runs as their tasks end; how many ended as they should.
    async fn follow(&mut self, mut open: HashSet<String>, cancelled: &str) -> Result<usize, Error> {
        let mut good = 0;
        self.page.heading();
        while !open.is_empty() {
            let task = self.stopped.recv().await.ok_or("no more events of tasks")?;
            let id = flow_run_of(&task);
            if !open.remove(id) {
                self.wrong.push(format!("flow run {id} has another task, {}", task.arn));
                continue;
            }
            let run = Run::read(self.server, id, Some(&task)).await?;
            let expected = if id == cancelled { Expected::CANCELLED } else { Expected::of(&run.deployment) };
            let wrong = expected.wrong(&run);
            if run.state == "CRASHED" {
                self.died.push(run.id.clone());
            }
            self.page.run(&run, wrong.as_deref());
            good += usize::from(wrong.is_none());
        }
        Ok(good)
    }

    /// Goes on until it is dropped.
    async fn explore(&mut self) -> Result<(), Error> {
        self.page.exploring();
        let mut schedule = tokio::time::interval(Duration::from_secs(INTERVAL));
        loop {
            tokio::select! {
                _ = schedule.tick() => {
                    let polled = self.cloud.poll().await;
                    if let Err(error) = &polled.answer {
                        eprintln!("poll: {}: {}", error.error_type, error.error_message);
                    }
                }
                true = self.cloud.is_poked(LIMIT) => {
                    if let Err(error) = self.cloud.poked(Duration::ZERO).await {
                        eprintln!("poll: {error}");
                    }
                }
                Some(task) = self.stopped.recv() => {
                    let run = Run::read(self.server, flow_run_of(&task), Some(&task)).await?;
                    self.page.run(&run, None);
                }
            }
        }
    }
}

/// How long a list of a report is.
fn count(report: &Value, list: &str) -> usize {
    report[list].as_array().map_or(0, Vec::len)
}

/// Id of the flow run that a task was started for: `prefect/<agent>/<flow run>`.
fn flow_run_of(task: &Task) -> &str {
    task.started_by.as_deref().and_then(|by| by.rsplit('/').next()).unwrap_or_default()
}
