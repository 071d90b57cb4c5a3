//! Launches: only of what is claimed, once, not early, and always with the same bytes.

use super::Audit;
use crate::config::AGENT;
use crate::gate::ActorId;
use crate::run::{Phase, RunId, run_of};
use crate::table::Count;
use crate::tasks::{Status, Task};
use prefect_serverless_agent::platform::started_by;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

/// What is decided in one poll is done within this time.
const MOMENT: Duration = Duration::seconds(60);

impl Audit {
    /// `RunTask` is about to be sent. `now`: the time, or what its process takes for it if that is later.
    pub fn run_task(&mut self, actor: ActorId, request: &Value, now: OffsetDateTime, fakes: &world::World) {
        let text = |key: &str| request[key].as_str().unwrap_or_default();
        let token = text("clientToken").to_owned();
        let Some(run) = run_of(request) else { return self.violated("a task without a run".into()) };
        if text("startedBy") != started_by(AGENT, &run.to_string()) {
            self.violated(format!("{run:?}: {actor:?} starts it by {}", text("startedBy")));
        }
        match self.claims.get(&(run, token.clone())) {
            None => self.violated(format!("{run:?}: launched without a claim")),
            Some((due, _)) if now < *due => {
                let due = *due;
                self.violated(format!("{run:?}: launched at {now}, before it is due at {due}"));
            }
            Some(_) => {}
        }
        let definition = definition_of(fakes, text("taskDefinition"));
        // Every change of the configuration brings another image: two requests of one configuration must not differ.
        let image = definition["containerDefinitions"][0]["image"].as_str().unwrap_or_default().to_owned();
        let mut rest = request.clone();
        rest["taskDefinition"] = Value::Null;
        // Two definitions may say the same: two processes registered them at once, or the first one was deregistered.
        let sent = format!("{rest} {definition}");
        let known = self.bodies.insert((token.clone(), text("cluster").to_owned(), image), sent.clone());
        if let Some(known) = known.filter(|known| *known != sent) {
            self.violated(format!("{run:?}: another request with the same token, {known} and {sent}"));
        }
        self.launching.insert((actor, run), token.clone());
        self.tried.entry(run).or_default().insert(token);
    }

    /// A task was started. `tasks`: all tasks of its run.
    pub fn started<'a>(&mut self, actor: ActorId, task: &Task, tasks: impl Iterator<Item = &'a Task>) {
        let run = task.run;
        self.note(|| format!("{run:?}: {actor:?} starts {} ({:?})", task.arn, task.fate));
        if !task.is_ours {
            return;
        }
        self.tally.add(Count::Launches, 1);
        let lives = |other: &&Task| other.index != task.index && other.is_ours && other.status != Status::Stopped;
        // Tasks are looked for where the agent launches: after a move to another cluster nobody looks at the old one.
        for other in tasks.filter(lives).filter(|other| other.cluster == task.cluster) {
            if self.crossed(actor, task, other) {
                self.tally.add(Count::Crossed, 1);
                continue;
            }
            self.tally.add(Count::Duplicates, 1);
            let which = if other.token == task.token { "of the same turn" } else { "of another turn" };
            self.violated(format!("{run:?}: task {} is started while {}, {which}, lives", task.arn, other.arn));
        }
    }

    /// Whether nobody could have known of the other task: a moment ago somebody else scheduled the run anew, and either
    /// this launch is of a claim that was decided on before, or the other one is, and the process looked for tasks
    /// before ECS showed it, which takes a few seconds. Or a moment ago another process gave back its claim, since ECS said
    /// that it had started nothing, over a read on which this launch's claim was decided. Neither Prefect nor ECS has
    /// anything that fences a launch against that.
    fn crossed(&self, actor: ActorId, task: &Task, other: &Task) -> bool {
        let run = task.run;
        let decided_by = |task: &Task, then: OffsetDateTime| {
            let claim = task.token.clone().and_then(|token| self.claims.get(&(run, token)));
            claim.is_some_and(|(_, read_at)| *read_at <= then)
        };
        let is_recent = |then: OffsetDateTime| task.created_at - then <= MOMENT;
        if let Some(back) = self.given_back.get(&run)
            && back.by != actor
            && is_recent(back.at)
            && decided_by(task, back.at)
        {
            return true;
        }
        let Some(anew) = self.anew.get(&run).copied().filter(|anew| is_recent(*anew)) else { return false };
        let decided_before = |task: &Task| decided_by(task, anew);
        let looked = self.looked.get(&(actor, run));
        let looked_too_early = looked.is_some_and(|at| *at < other.listed_from || *at <= other.created_at);
        decided_before(task) || (decided_before(other) && looked_too_early)
    }

    /// A process asks a task of ours to stop. It may when the run was given up or cancelled, as far as it could know.
    pub fn stops(&mut self, actor: ActorId, run: RunId, phase: Option<&Phase>, version: u64) {
        let may =
            matches!(phase, Some(Phase::Scheduled(_) | Phase::Cancelling | Phase::Cancelled | Phase::Ended) | None);
        let reads = [&self.seen, &self.looks].map(|reads| reads.get(&(actor, run)));
        let knew = reads == [None, None] || reads.into_iter().flatten().any(|(seen, _)| *seen == version);
        if !may && knew {
            self.violated(format!("{run:?}: its task is stopped although the run is {phase:?}"));
        }
    }
}

/// What a registered definition says, without what its registration added.
fn definition_of(fakes: &world::World, arn: &str) -> Value {
    let state = fakes.lock();
    let definition = state.ecs.find_definition(&crate::config::scope(), arn);
    let mut said = definition.map(|definition| definition.description.clone()).unwrap_or_default();
    for added in ["taskDefinitionArn", "revision", "status", "registeredAt", "registeredBy"] {
        said.as_object_mut().and_then(|said| said.shift_remove(added));
    }
    said
}
