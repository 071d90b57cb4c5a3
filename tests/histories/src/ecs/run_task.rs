//! `RunTask`, as documented.

use super::tasks::{Event, Status, Task};
use super::{Ecs, tokens};
use crate::run::run_of;
use serde_json::{Map, Value};
use std::hash::{DefaultHasher, Hash, Hasher};
use time::OffsetDateTime;

/// Why no task was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token stands for another request, which started these tasks.
    Conflict(Vec<String>),
    /// The task definition is not active.
    Inactive,
    /// What the run asks for is not possible.
    Invalid,
    /// No capacity.
    NoCapacity,
    /// The request names no run.
    Unreadable,
}

/// What `RunTask` did.
#[derive(Debug)]
pub struct Done {
    /// The task of the answer.
    pub task: Result<usize, Refusal>,
    /// It was started by this request.
    pub is_new: bool,
    /// What will happen to it.
    pub coming: Vec<(OffsetDateTime, Event)>,
}

/// The fingerprint of a request.
pub(crate) fn fingerprint(body: &Map<String, Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    Value::Object(body.clone()).to_string().hash(&mut hasher);
    hasher.finish()
}

impl Ecs {
    /// Starts a task, once per token.
    pub fn run_task(&mut self, body: &Map<String, Value>, now: OffsetDateTime) -> Done {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let cluster = text("cluster").unwrap_or("default");
        let answered = |task| Done { task, is_new: false, coming: Vec::new() };
        let request = fingerprint(body);
        let token = text("clientToken");
        if let Some(known) = token.and_then(|token| self.tokens.get(cluster, token, &self.tasks, now)) {
            return answered(self.replayed(known, request));
        }
        if let Some(refusal) = self.refusal(body, now) {
            if let Some(token) = token.filter(|_| self.rules.remembers_refusals) {
                self.tokens.insert(cluster, token, request, None, now);
            }
            return answered(Err(refusal));
        }
        let Some(run) = run_of(body) else { return answered(Err(Refusal::Unreadable)) };
        let index = self.tasks.len();
        let task = Task {
            index,
            arn: format!("arn:aws:ecs:eu-west-1:123456789012:task/{cluster}/{index:032x}"),
            cluster: cluster.to_owned(),
            started_by: text("startedBy").map(str::to_owned),
            token: token.map(str::to_owned),
            run,
            created_at: now,
            listed_from: now,
            described_from: now,
            status: Status::Provisioning,
            is_ending: false,
            stopped_at: None,
            started_at: None,
            stop_code: "EssentialContainerExited",
            stopped_reason: "Essential container in task exited",
            exit_code: None,
            version: 1,
            fate: self.fates.next(&mut self.rng),
            runs_flow: false,
        };
        if let Some(token) = token {
            self.tokens.insert(cluster, token, request, Some(index), now);
        }
        let coming = self.start(task, now);
        Done { task: Ok(index), is_new: true, coming }
    }

    fn replayed(&self, known: &tokens::Known, request: u64) -> Result<usize, Refusal> {
        match known.task {
            Some(task) if known.request == request => Ok(task),
            Some(task) => {
                Err(Refusal::Conflict(self.tasks.get(task).map(|task| task.arn.clone()).into_iter().collect()))
            }
            None if known.request == request => Err(Refusal::NoCapacity),
            None => Err(Refusal::Conflict(Vec::new())),
        }
    }

    fn refusal(&self, body: &Map<String, Value>, now: OffsetDateTime) -> Option<Refusal> {
        let definition = body.get("taskDefinition").and_then(Value::as_str).unwrap_or_default();
        if !self.families.is_active(definition) {
            return Some(Refusal::Inactive);
        }
        if body.get("overrides").is_some_and(|overrides| overrides["cpu"] == "7") {
            return Some(Refusal::Invalid);
        }
        let strategy = body.get("capacityProviderStrategy").map(|strategy| &strategy[0]["capacityProvider"]);
        let is_spot = strategy.is_some_and(|provider| provider == "FARGATE_SPOT");
        let (until, only_spot) = self.shortage?;
        (now < until && (is_spot || !only_spot)).then_some(Refusal::NoCapacity)
    }
}
