//! What must hold after a poll.

use super::Watched;
use crate::prefect::{Phase, Prefect, Run};
use crate::support::KEY;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use world::{InvokeError, LambdaProcess};

/// The lists of a report in which a run may be.
const LISTS: [&str; 6] = ["launched", "deferred", "skipped", "failed", "recovered", "cancelled"];

impl Watched {
    pub(super) fn check_answer(&mut self, answer: &Result<Value, InvokeError>, due: &[String]) {
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
        // Maintenance is an error of the poll, and none of the invocation.
        let is_well = answer.is_ok() && etl["error_kind"] != "maintenance";
        let is_failure = answer.is_err() && etl["error_kind"] == "maintenance";
        if etl["ok"] != json!(is_well) || etl["error"].is_null() != is_well || is_failure {
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

    /// At most one task per token ever, at most one live task per run ever; nobody failed, and nobody was cancelled but
    /// by a person.
    pub(super) fn check_tasks(&mut self) {
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
        for run in self.all_runs() {
            let may_be_cancelled = self.cancelled.contains(&run.id);
            let is_ended = |state: &String| match state.as_str() {
                "Failed" | "Crashed" => true,
                "Cancelled" => !may_be_cancelled,
                _ => false,
            };
            if run.history.iter().any(is_ended) {
                self.wrong.push(format!("run {} was ended: {:?} {}", run.id, run.history, run.message));
            }
        }
    }

    pub(super) fn check_secrets(&mut self) {
        let output = self.function.as_ref().map(LambdaProcess::output).unwrap_or_default();
        for secret in [KEY, "secret-of-the-world"] {
            if output.contains(secret) || format!("{:?}", self.answers).contains(secret) {
                self.wrong.push(format!("a secret was written: {secret}"));
            }
        }
    }

    /// Every run is claimed and has exactly one live task, which is written down where Prefect has a place for it; reports
    /// named exactly that one. What a person cancelled is over.
    pub(crate) fn check_end(&mut self) {
        for id in self.runs.clone() {
            let run = self.prefect.run(&self.deployment.world, &id);
            let (live, reported) = (self.live_tasks(&id), self.tasks_reported(&id));
            if !run.is_claimed {
                self.wrong.push(format!("run {id} ended as {:?}", run.history));
            } else if live != 1 || reported.len() != 1 {
                self.wrong.push(format!("run {id} has {live} live tasks and reported were {reported:?}"));
            } else if !is_written_down(self.prefect, &run, &reported) {
                self.wrong.push(format!("run {id} has {reported:?}, written down is {:?}", run.pid));
            }
        }
        for id in self.cancelled.clone() {
            let (run, live) = (self.prefect.run(&self.deployment.world, &id), self.live_tasks(&id));
            if run.phase != Phase::Cancelled || live != 0 {
                self.wrong.push(format!("run {id} was cancelled; it is {:?} and has {live} live tasks", run.history));
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
}

fn is_written_down(prefect: Prefect, run: &Run, tasks: &BTreeSet<String>) -> bool {
    let pid = run.pid.as_deref().and_then(|pid| pid.split_once("::"));
    prefect == Prefect::One || pid.is_some_and(|(_, task)| tasks.contains(task))
}
