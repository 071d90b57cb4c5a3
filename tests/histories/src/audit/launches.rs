//! Launches: only of what is claimed, once, not early, and always with the same bytes.

use super::Audit;
use crate::ecs::{Status, Task};
use crate::gate::ActorId;
use crate::run::{Phase, RunId, run_of};
use serde_json::{Map, Value};
use std::hash::{DefaultHasher, Hash, Hasher};
use time::OffsetDateTime;

impl Audit {
    /// `RunTask` is about to be sent. `now`: the time as its process knows it. `deregistered`: how often definitions
    /// were deregistered so far, after which another one is named.
    pub fn run_task(&mut self, actor: ActorId, body: &Map<String, Value>, now: OffsetDateTime, deregistered: u32) {
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let token = text("clientToken").to_owned();
        let Some(run) = run_of(body) else { return self.violated("a task without a run".into()) };
        if text("startedBy") != started_by(run) {
            self.violated(format!("{run}: started by {}", text("startedBy")));
        }
        match self.claims.get(&(run, token.clone())) {
            None => self.violated(format!("{run}: launched without a claim")),
            Some(due) if now < *due => {
                let due = *due;
                self.violated(format!("{run}: launched at {now}, before it is due at {due}"));
            }
            Some(_) => {}
        }
        let configuration = self.configured.get(&actor).copied().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        Value::Object(body.clone()).to_string().hash(&mut hasher);
        let bytes = hasher.finish();
        let known = *self.bodies.entry((token.clone(), configuration, deregistered)).or_insert(bytes);
        if known != bytes {
            self.violated(format!("{run}: another request with the same token"));
        }
        self.tried.entry(run).or_default().insert(token);
    }

    /// A task was started. `tasks`: all tasks of its run.
    pub fn started<'a>(&mut self, actor: ActorId, task: &Task, tasks: impl Iterator<Item = &'a Task>) {
        let run = task.run;
        self.note(|| format!("{run}: {actor:?} starts {} ({:?})", task.arn, task.fate));
        if !task.is_ours() {
            return;
        }
        self.counts.launches += 1;
        for other in tasks.filter(|other| other.index != task.index && other.is_ours() && other.status != Status::Stopped) {
            self.counts.duplicates += 1;
            let which = if other.token == task.token { "of the same turn" } else { "of another turn" };
            self.violated(format!("{run}: task {} is started while {}, {which}, lives", task.arn, other.arn));
        }
    }

    /// A process asks a task of ours to stop. It may when the run was given up or cancelled, as far as it could know.
    pub fn stops(&mut self, actor: ActorId, run: RunId, phase: Option<&Phase>, version: u64) {
        let may = matches!(phase, Some(Phase::Scheduled(_) | Phase::Cancelling | Phase::Ended(_)) | None);
        if !may && self.knew(actor, run, version) {
            self.violated(format!("{run}: its task is stopped although the run is {phase:?}"));
        }
    }
}

/// `startedBy` of a run's tasks.
pub fn started_by(run: RunId) -> String {
    format!("prefect/{}/{run}", crate::process::AGENT)
}
