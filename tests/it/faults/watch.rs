//! Polls under observation: what must hold after each, and at the end.

use crate::prefect::time_passes;
use crate::support::{Deployment, KEY, ROOT};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;
use world::ecs::Refusal;
use world::prefect1::{FlowRun, FlowRunSpec, StateRecord};
use world::{InvokeError, LambdaProcess, Request};

/// How long an invocation may take, unless a story says otherwise.
const DEADLINE: Duration = Duration::from_secs(40);

/// The lists of a report in which a run may be.
const LISTS: [&str; 5] = ["launched", "deferred", "skipped", "failed", "recovered"];

/// A deployment whose polls are watched.
pub(crate) struct Watched {
    pub(crate) deployment: Deployment,
    /// The runs that are to have a task in the end.
    pub(crate) runs: Vec<String>,
    /// The warm process, if there is one.
    pub(crate) function: Option<LambdaProcess>,
    /// What each poll since the last [`Watched::warm_up`] answered.
    pub(crate) answers: Vec<Result<Value, InvokeError>>,
    /// What is wrong so far.
    pub(crate) wrong: Vec<String>,
    /// How long an invocation may take.
    pub(crate) deadline: Duration,
}

impl Watched {
    pub(crate) fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            runs: Vec::new(),
            function: None,
            answers: Vec::new(),
            wrong: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// Adds a run.
    pub(crate) fn run(&mut self, spec: FlowRunSpec) {
        let run = self.deployment.schedule(spec);
        self.runs.push(run);
    }

    /// A clean poll that leaves a warm process; it is not part of what is watched.
    pub(crate) async fn warm_up(&mut self) {
        self.poll().await;
        assert_eq!(self.wrong, Vec::<String>::new(), "the clean poll before");
        assert!(self.answers.iter().all(Result::is_ok), "the clean poll before: {:?}", self.answers);
        self.answers.clear();
        self.deployment.world.lock().journal.clear();
    }

    /// One poll, of the warm process if there is one, else of a new one that then is the warm one.
    pub(crate) async fn poll(&mut self) {
        if self.function.is_none() {
            self.function = Some(self.deployment.poll_function().await);
        }
        let due = self.due();
        let Some(function) = &self.function else { return };
        let answer = function.invoke(json!({}), self.deadline).await;
        self.check_answer(&answer, &due);
        self.check_tasks();
        self.check_secrets();
        self.answers.push(answer);
    }

    /// One poll that must succeed; its report.
    pub(crate) async fn polled(&mut self) -> Value {
        self.poll().await;
        match self.answers.last() {
            Some(Ok(report)) => report.clone(),
            other => panic!("the poll failed: {other:?}\n{}", self.story()),
        }
    }

    /// One poll whose invocation must fail with a report; the report.
    pub(crate) async fn failed(&mut self) -> Value {
        self.poll().await;
        match self.answers.last() {
            Some(Err(error)) if error.error_type == "PollFailed" => serde_json::from_str(&error.error_message).unwrap(),
            other => panic!("the poll did not fail: {other:?}\n{}", self.story()),
        }
    }

    /// ECS refuses the next launches whose body contains `text` for want of resources.
    pub(crate) fn refuse(&self, reason: &str, text: &str, count: u32) {
        let (reason, body_contains) = (reason.to_owned(), Some(text.to_owned()));
        self.deployment.world.ecs_refuse(Refusal { reason, detail: None, body_contains, count });
    }

    /// One poll of a new process.
    pub(crate) async fn poll_cold(&mut self) {
        self.function = None;
        self.poll().await;
    }

    /// Polls with time passing in between, by the warm process and by new ones in turn, until nothing is due: at least
    /// once, at most eight times.
    pub(crate) async fn poll_until_quiet(&mut self, warm_first: bool) {
        for round in 0..8 {
            if round > 0 && self.all_due_runs().is_empty() {
                return;
            }
            self.time_passes(601);
            if (round % 2 == 0) == warm_first { self.poll().await } else { self.poll_cold().await }
        }
        let due = self.all_due_runs();
        if !due.is_empty() {
            self.wrong.push(format!("still not launched after all these polls: {due:?}"));
        }
    }

    /// Time passes for Prefect and AWS: what starts later starts that much earlier.
    pub(crate) fn time_passes(&self, seconds: u64) {
        time_passes(&self.deployment.world, seconds);
    }

    /// Runs that a poll should find due now.
    fn due(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        self.waiting(|state| state.and_then(StateRecord::start_time).is_some_and(|start| start <= now))
    }

    /// Runs that wait, whenever they start, and claims of ours without a task.
    fn all_due_runs(&self) -> Vec<String> {
        let orphans = self.deployment.world.flow_runs().into_iter().filter(|run| self.is_orphan(run)).map(|run| run.id);
        self.waiting(|_| true).into_iter().chain(orphans).collect()
    }

    fn is_orphan(&self, run: &FlowRun) -> bool {
        is_claimed(run) && has_our_mark(run) && self.live_tasks(&run.id) == 0
    }

    fn live_tasks(&self, id: &str) -> usize {
        let started_by = Some(format!("prefect/etl/{id}"));
        let tasks = self.deployment.world.ecs_tasks();
        tasks.iter().filter(|task| task.started_by == started_by && task.desired_status == "RUNNING").count()
    }

    fn waiting(&self, is_due: impl Fn(Option<&StateRecord>) -> bool) -> Vec<String> {
        let waits = |run: &FlowRun| match run.state() {
            "Scheduled" => is_due(run.current()),
            "Running" => run.task_runs.iter().any(|one| one.state() == "Retrying" && is_due(one.current())),
            _ => false,
        };
        let runs = self.deployment.world.flow_runs();
        runs.into_iter().filter(waits).map(|run| run.id).collect()
    }

    fn check_answer(&mut self, answer: &Result<Value, InvokeError>, due: &[String]) {
        let etl = match answer {
            Ok(report) => report["agents"]["etl"].clone(),
            Err(error) if error.error_type != "PollFailed" => {
                return self.wrong.push(format!("the invocation ended with {error:?}"));
            }
            Err(error) => match serde_json::from_str::<Value>(&error.error_message) {
                Ok(report) => report["agents"]["etl"].clone(),
                // Without parameters there is no agent to report of.
                Err(_) if error.error_message.starts_with("the parameters below") => return,
                Err(_) => return self.wrong.push(format!("neither a report nor a known error: {error:?}")),
            },
        };
        if etl["ok"] != json!(answer.is_ok()) || etl["error"].is_null() != answer.is_ok() {
            self.wrong.push(format!("ok, error and the invocation's outcome differ: {etl:#}"));
        }
        let mut listed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for list in LISTS {
            for entry in etl[list].as_array().into_iter().flatten() {
                listed.entry(entry["flow_run_id"].as_str().unwrap_or_default().to_owned()).or_default().push(list);
                if list != "launched" && list != "recovered" && entry["reason"].as_str().is_none_or(str::is_empty) {
                    self.wrong.push(format!("no reason given: {entry}"));
                }
            }
        }
        if let Some((run, lists)) = listed.iter().find(|(_, lists)| lists.len() > 1) {
            self.wrong.push(format!("run {run} is in the lists {lists:?}"));
        }
        // Claims that are finished have a fate too, and were not due.
        if etl["ready"].as_u64().is_none_or(|ready| ready > listed.len() as u64) {
            self.wrong.push(format!("{} runs are ready but {} have a fate: {etl:#}", etl["ready"], listed.len()));
        }
        if let Some(run) = due.iter().find(|run| !listed.contains_key(*run) && etl["ok"] == json!(true)) {
            self.wrong.push(format!("run {run} was due, the report is silent about it: {etl:#}"));
        }
        let tasks = self.deployment.world.ecs_tasks();
        for launched in etl["launched"].as_array().into_iter().flatten() {
            if !tasks.iter().any(|task| json!(task.arn) == launched["task_arn"] && task.desired_status == "RUNNING") {
                self.wrong.push(format!("reported as launched without a live task: {launched}"));
            }
        }
    }

    /// At most one task per token ever, at most one live task per run ever; nobody failed.
    fn check_tasks(&mut self) {
        let mut by_token: BTreeMap<String, usize> = BTreeMap::new();
        let mut live_by_run: BTreeMap<String, usize> = BTreeMap::new();
        for task in self.deployment.world.ecs_tasks() {
            *by_token.entry(task.client_token.unwrap_or_default()).or_default() += 1;
            if task.desired_status == "RUNNING" {
                *live_by_run.entry(task.started_by.unwrap_or_default()).or_default() += 1;
            }
        }
        let doubled = by_token.iter().filter(|(_, count)| **count > 1);
        self.wrong.extend(doubled.map(|(token, count)| format!("{count} tasks of token {token}")));
        let doubled = live_by_run.iter().filter(|(_, count)| **count > 1);
        self.wrong.extend(doubled.map(|(run, count)| format!("{count} live tasks of {run}")));
        for run in self.deployment.world.flow_runs() {
            if run.history().iter().any(|state| matches!(*state, "Failed" | "Cancelled")) {
                self.wrong.push(format!(
                    "run {} was failed: {:?}",
                    run.id,
                    run.current().and_then(StateRecord::message)
                ));
            }
        }
    }

    fn check_secrets(&mut self) {
        let output = self.function.as_ref().map(LambdaProcess::output).unwrap_or_default();
        for secret in [KEY, "secret-of-the-world"] {
            if output.contains(secret) || format!("{:?}", self.answers).contains(secret) {
                self.wrong.push(format!("a secret was written: {secret}"));
            }
        }
    }

    /// Every run is claimed and has exactly one live task, and reports named exactly one.
    pub(crate) fn check_end(&mut self) {
        for id in self.runs.clone() {
            let run = self.deployment.world.flow_run(&id).unwrap();
            let (live, reported) = (self.live_tasks(&id), self.tasks_reported(&id).len());
            if !is_claimed(&run) {
                self.wrong.push(format!("run {id} ended as {:?}", run.history()));
            } else if live != 1 || reported != 1 {
                self.wrong.push(format!("run {id} has {live} live tasks and {reported} were reported"));
            }
        }
    }

    /// Fails the test unless everything went and ended well.
    pub(crate) fn ends_well(&mut self) {
        self.check_end();
        assert!(self.wrong.is_empty(), "{}\n{}", self.wrong.join("\n"), self.story());
    }

    /// The tasks that reports named for a run. One may be named again: adopted for a task run that was claimed later.
    fn tasks_reported(&self, id: &str) -> BTreeSet<String> {
        let text = |answer: &Result<Value, InvokeError>| match answer {
            Ok(report) => report.clone(),
            Err(error) => serde_json::from_str(&error.error_message).unwrap_or_default(),
        };
        let launched = self.answers.iter().flat_map(|answer| {
            let etl = text(answer)["agents"]["etl"].clone();
            ["launched", "recovered"].map(|list| etl[list].as_array().cloned().unwrap_or_default()).concat()
        });
        let of_run = launched.filter(|entry| entry["flow_run_id"] == json!(id));
        of_run.map(|entry| entry["task_arn"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// All that a person needs to know of what happened.
    pub(crate) fn story(&self) -> String {
        let journal: Vec<Request> = self.deployment.world.lock().journal.all().to_vec();
        let requests: Vec<String> = journal
            .iter()
            .map(|one| format!("{:>6.0} {} {} → {:?}", one.at_ms, one.service, one.operation, one.status))
            .collect();
        let answers: Vec<String> = self
            .answers
            .iter()
            .map(|answer| match answer {
                Ok(report) => format!("ok {report}"),
                Err(error) => format!("{} {}", error.error_type, error.error_message),
            })
            .collect();
        let runs: Vec<String> =
            self.deployment.world.flow_runs().iter().map(|run| format!("{} {:?}", run.id, run.history())).collect();
        let tasks: Vec<String> = self
            .deployment
            .world
            .ecs_tasks()
            .iter()
            .map(|task| format!("{:?} {} token {:?}", task.started_by, task.last_status, task.client_token))
            .collect();
        format!(
            "polls:\n  {}\nruns:\n  {}\ntasks:\n  {}\nrequests:\n  {}",
            answers.join("\n  "),
            runs.join("\n  "),
            tasks.join("\n  "),
            requests.join("\n  ")
        )
    }
}

/// Submitted; a Running run: its due task runs are.
fn is_claimed(run: &FlowRun) -> bool {
    match run.state() {
        "Submitted" => true,
        "Running" => run.task_runs.iter().all(|task_run| task_run.state() == "Submitted"),
        _ => false,
    }
}

fn has_our_mark(run: &FlowRun) -> bool {
    let agent = json!(format!("{ROOT}/etl"));
    let ours = |state: Option<&StateRecord>| {
        state.is_some_and(|state| state.context()["prefect_serverless_agent"]["agent"] == agent)
    };
    ours(run.current()) || run.task_runs.iter().any(|task_run| ours(task_run.current()))
}
