//! Launches: only of what is claimed, once, not early, and always with the same bytes.

use super::Audit;
use crate::ecs::{Families, Status, Task, fingerprint};
use crate::gate::ActorId;
use crate::run::{Phase, RunId, run_of};
use serde_json::{Map, Value};
use time::OffsetDateTime;

impl Audit {
    /// `RunTask` is about to be sent. `now`: the time as its process knows it.
    pub fn run_task(&mut self, actor: ActorId, body: &Map<String, Value>, now: OffsetDateTime, families: &Families) {
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let token = text("clientToken").to_owned();
        let Some(run) = run_of(body) else { return self.violated("a task without a run".into()) };
        if text("startedBy") != started_by(run) {
            self.violated(format!("{run:?}: started by {}", text("startedBy")));
        }
        match self.claims.get(&(run, token.clone())) {
            None => self.violated(format!("{run:?}: launched without a claim")),
            Some((due, _)) if now < *due => {
                let due = *due;
                self.violated(format!("{run:?}: launched at {now}, before it is due at {due}"));
            }
            Some(_) => {}
        }
        let configuration = self.configured.get(&actor).copied().unwrap_or_default();
        let definition = text("taskDefinition").to_owned();
        let mut rest = body.clone();
        rest.insert("taskDefinition".into(), Value::Null);
        let sent = (fingerprint(&rest), definition);
        let known = self.bodies.insert((token.clone(), configuration), sent.clone());
        // Two definitions may say the same: two processes registered them at once, or the first one was deregistered.
        let differs = |known: &(u64, String)| known.0 != sent.0 || !families.say_the_same(&known.1, &sent.1);
        if known.as_ref().is_some_and(differs) {
            self.violated(format!("{run:?}: another request with the same token, {known:?} and {sent:?}"));
        }
        self.tried.entry(run).or_default().insert(token);
    }

    /// A task was started. `tasks`: all tasks of its run.
    pub fn started<'a>(&mut self, actor: ActorId, task: &Task, tasks: impl Iterator<Item = &'a Task>) {
        let run = task.run;
        self.note(|| format!("{run:?}: {actor:?} starts {} ({:?})", task.arn, task.fate));
        if !task.is_ours() {
            return;
        }
        self.counts.launches += 1;
        let lives = |other: &&Task| other.index != task.index && other.is_ours() && other.status != Status::Stopped;
        // Tasks are looked for where the agent launches: after a move to another cluster nobody looks at the old one.
        for other in tasks.filter(lives).filter(|other| other.cluster == task.cluster) {
            if self.crossed(actor, other) {
                self.counts.crossed += 1;
                continue;
            }
            self.counts.duplicates += 1;
            let which = if other.token == task.token { "of the same turn" } else { "of another turn" };
            self.violated(format!("{run:?}: task {} is started while {}, {which}, lives", task.arn, other.arn));
        }
    }

    /// Whether nobody could have known of the other task: its run was claimed, then scheduled anew by somebody else, and
    /// the process read the run before that, or looked for tasks before ECS showed this one, which takes a few seconds.
    /// Neither Prefect nor ECS has anything that would fence a launch against that.
    fn crossed(&self, actor: ActorId, other: &Task) -> bool {
        let Some(anew) = self.anew.get(&other.run) else { return false };
        let claim = other.token.clone().and_then(|token| self.claims.get(&(other.run, token)));
        let was_given_up = claim.is_some_and(|(_, claimed)| anew >= claimed);
        let looked = self.looked.get(&(actor, other.run));
        let looked_too_early = looked.is_some_and(|at| *at < other.listed_from || *at <= other.created_at);
        let read_before = self.seen.get(&(actor, other.run)).is_some_and(|(_, read)| read <= anew);
        (was_given_up && looked_too_early) || read_before
    }

    /// A process asks a task of ours to stop. It may when the run was given up or cancelled, as far as it could know.
    pub fn stops(&mut self, actor: ActorId, run: RunId, phase: Option<&Phase>, version: u64) {
        let may = matches!(phase, Some(Phase::Scheduled(_) | Phase::Cancelling | Phase::Ended(_)) | None);
        let knew = self.seen.get(&(actor, run)).is_none_or(|(seen, _)| *seen == version);
        if !may && knew {
            self.violated(format!("{run:?}: its task is stopped although the run is {phase:?}"));
        }
    }
}

/// `startedBy` of a run's tasks.
fn started_by(run: RunId) -> String {
    format!("prefect/{}/{run}", crate::process::AGENT)
}
