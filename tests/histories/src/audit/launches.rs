//! Launches: only of what is claimed, once, not early, and always with the same bytes.

use super::Audit;
use crate::ecs::{Families, Status, Task, fingerprint};
use crate::gate::ActorId;
use crate::run::{Phase, RunId, run_of};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

/// What is decided in one poll is done within this time.
const MOMENT: Duration = Duration::seconds(60);

impl Audit {
    /// `RunTask` is about to be sent. `now`: the time, or what its process takes for it if that is later.
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
        let known = self.bodies.insert((token.clone(), text("cluster").to_owned(), configuration), sent.clone());
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
            if self.crossed(actor, task, other) {
                self.counts.crossed += 1;
                continue;
            }
            self.counts.duplicates += 1;
            let which = if other.token == task.token { "of the same turn" } else { "of another turn" };
            self.violated(format!("{run:?}: task {} is started while {}, {which}, lives", task.arn, other.arn));
        }
    }

    /// Whether nobody could have known of the other task: a moment ago somebody else scheduled the run anew, and either
    /// this launch is of a claim that was decided on before, or the other one is, and the process looked for tasks
    /// before ECS showed it, which takes a few seconds. Neither Prefect nor ECS has anything that fences a launch
    /// against that.
    fn crossed(&self, actor: ActorId, task: &Task, other: &Task) -> bool {
        let run = task.run;
        let Some(anew) = self.anew.get(&run).filter(|anew| task.created_at - **anew <= MOMENT) else { return false };
        let decided_before = |task: &Task| {
            let claim = task.token.clone().and_then(|token| self.claims.get(&(run, token)));
            claim.is_some_and(|(_, read_at)| read_at <= anew)
        };
        let looked = self.looked.get(&(actor, run));
        let looked_too_early = looked.is_some_and(|at| *at < other.listed_from || *at <= other.created_at);
        decided_before(task) || (decided_before(other) && looked_too_early)
    }

    /// A process asks a task of ours to stop. It may when the run was given up or cancelled, as far as it could know.
    pub fn stops(&mut self, actor: ActorId, run: RunId, phase: Option<&Phase>, version: u64) {
        let may = matches!(phase, Some(Phase::Scheduled(_) | Phase::Cancelling | Phase::Ended(_)) | None);
        let reads = [&self.seen, &self.looks].map(|reads| reads.get(&(actor, run)));
        let knew = reads == [None, None] || reads.into_iter().flatten().any(|(seen, _)| *seen == version);
        if !may && knew {
            self.violated(format!("{run:?}: its task is stopped although the run is {phase:?}"));
        }
    }
}

/// `startedBy` of a run's tasks.
fn started_by(run: RunId) -> String {
    format!("prefect/{}/{run}", crate::process::AGENT)
}
