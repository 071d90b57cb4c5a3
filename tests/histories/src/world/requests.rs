//! Requests that arrive: the fakes answer them, and the audit hears what they changed and what they showed.

use super::{World, states};
use crate::audit::{WATCH_WINDOW, Write, Wrote};
use crate::call::{Call, Generation, states_of_prefect1};
use crate::config::PREFETCH;
use crate::fault::{Effect, Fault, Kind};
use crate::gate::ActorId;
use crate::run::{Phase, RunId};
use axum::body::{Body, Bytes};
use http::request::Parts;
use prefect_serverless_agent::http::Answer;
use prefect_serverless_agent::orchestrator::Mark;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use world::prefect1::FailRule;
use world::route::{Route, route};

/// A request that arrives.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// From whom.
    pub actor: ActorId,
    /// With what.
    pub call: Call,
    /// To whom.
    pub route: Route,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// True time.
    pub now: OffsetDateTime,
}

/// A state that a request sets.
struct Proposal {
    run: RunId,
    /// Prefect 1: one of its task runs, if it is that one's state.
    task_run: Option<String>,
    state: Value,
    /// What the run was.
    before: Option<Phase>,
    version: u64,
    /// Prefect 1: the version of run or task run.
    own_version: i64,
}

/// Whether a run is ended because its task is dead, by a poll that has heard of it from ECS: the user may have moved the
/// run on in the meantime.
fn is_of_dead_task(state: &Value) -> bool {
    let message = state["message"].as_str().unwrap_or_default();
    message.contains(" Task: arn:") && !message.contains("Not launched after")
}

impl World {
    /// `RunTask` is about to be sent.
    pub fn is_to_run(&mut self, actor: ActorId, body: &[u8], now: OffsetDateTime) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        self.audit.run_task(actor, &body, now, &self.fakes);
    }

    /// Answers a request that has arrived.
    pub fn answer(&mut self, arrival: &Arrival, parts: &Parts, body: &Bytes) -> Answer {
        let (actor, call, now) = (arrival.actor, arrival.call, arrival.now);
        if self.generation == Generation::Three && self.late.comes() {
            self.fakes.prefect3(|prefect3| prefect3.mark_all_late(now));
        }
        if call.sets_states() {
            return self.set_states(arrival, parts, body);
        }
        let asked = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        match call {
            Call::StopTask => self.is_to_stop(actor, &asked()),
            Call::ListTasks => self.looks_for_tasks(actor, &asked(), now),
            _ => {}
        }
        let answer = self.answered(arrival, parts, body);
        match call {
            Call::RunTask => self.take_in_new_tasks(actor, now),
            Call::StopTask => self.take_in_stopping_tasks(now),
            Call::DueRuns | Call::Details | Call::Look | Call::Watch => self.shows(arrival, &answer),
            _ => {}
        }
        answer
    }

    /// The process learns how far these runs are.
    fn shows(&mut self, arrival: &Arrival, answer: &Answer) {
        let text = String::from_utf8_lossy(&answer.body);
        for run in self.runs().filter(|run| text.contains(&run.to_string())).collect::<Vec<_>>() {
            let version = self.version(run);
            if arrival.call != Call::Watch {
                let is_cancelled = self.phase(run).is_some_and(|phase| phase.is_cancelled());
                self.audit.saw(arrival.actor, run, version, arrival.now, is_cancelled);
            }
            if matches!(arrival.call, Call::Look | Call::Watch) {
                self.audit.looked_at(arrival.actor, run, version, arrival.now);
            }
        }
    }

    fn looks_for_tasks(&mut self, actor: ActorId, asked: &Value, now: OffsetDateTime) {
        let run = asked["startedBy"].as_str().and_then(|text| RunId::parse(text.rsplit('/').next()?));
        // What is to run is asked for first: from then on nothing may come between.
        if let Some(run) = run.filter(|_| asked["desiredStatus"] != "STOPPED") {
            self.audit.looked(actor, run, now);
        }
    }

    fn is_to_stop(&mut self, actor: ActorId, asked: &Value) {
        let task =
            self.tasks.iter().find(|task| asked["task"] == task.arn && task.status != crate::tasks::Status::Stopped);
        let Some((run, index)) = task.map(|task| (task.run, task.index)) else { return };
        let (phase, version) = (self.phase(run), self.version(run));
        self.audit.stops(actor, run, phase.as_ref(), version);
        self.audit.note(|| format!("{run:?}: {actor:?} stops task {index}"));
    }

    fn set_states(&mut self, arrival: &Arrival, parts: &Parts, body: &Bytes) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let proposals = match self.generation {
            Generation::One => self.of_prefect1(&asked),
            Generation::Three => self.of_prefect3(parts, &asked).into_iter().collect(),
        };
        self.rule_out(arrival.fault, &proposals);
        let answer = self.answered(arrival, parts, body);
        self.fakes.prefect1(|prefect1| prefect1.switches.fail.clear());
        for proposal in proposals {
            if self.was_taken(&proposal) {
                self.tell_audit(arrival, proposal);
            }
        }
        answer
    }

    /// A part of the states is not set, or none of them, since they come with another version.
    fn rule_out(&self, fault: Option<Fault>, proposals: &[Proposal]) {
        let (first, message, code) = match fault {
            Some(Fault { effect: Effect::Half, .. }) => (proposals.len() / 2, "not reached", "INTERNAL_SERVER_ERROR"),
            Some(Fault { kind: Kind::Conflict, .. }) => {
                (0, "State update failed: provided a version of 1 but current version is 2", "VERSION_LOCKING_ERROR")
            }
            _ => return,
        };
        let rules = proposals.iter().skip(first).map(|proposal| FailRule {
            contains: proposal.task_run.clone().unwrap_or_else(|| proposal.run.to_string()),
            code: code.to_owned(),
            ..FailRule::new(
                if proposal.task_run.is_some() { "set_task_run_states" } else { "set_flow_run_states" },
                message,
            )
        });
        let rules: Vec<FailRule> = rules.collect();
        self.fakes.prefect1(|prefect1| prefect1.switches.fail = rules);
    }

    fn of_prefect1(&self, asked: &Value) -> Vec<Proposal> {
        let states = states_of_prefect1(asked);
        let proposal = |set: &Value| {
            let task_run = set["task_run_id"].as_str().map(str::to_owned);
            let run = match &task_run {
                None => RunId::parse(set["flow_run_id"].as_str()?)?,
                Some(id) => self.owner_of(id)?,
            };
            let (before, version) = (self.phase(run), self.version(run));
            let own_version = self.own_version(run, task_run.as_deref());
            Some(Proposal { run, task_run, state: set["state"].clone(), before, version, own_version })
        };
        states.iter().filter_map(proposal).collect()
    }

    fn owner_of(&self, task_run: &str) -> Option<RunId> {
        let state = self.fakes.lock();
        let mut runs = state.prefect1.flow_runs.iter();
        RunId::parse(&runs.find(|run| run.task_runs.iter().any(|one| one.id == task_run))?.id)
    }

    fn own_version(&self, run: RunId, task_run: Option<&str>) -> i64 {
        let state = self.fakes.lock();
        let Some(run) = state.prefect1.flow_run(&run.to_string()) else { return 0 };
        match task_run {
            None => run.version,
            Some(id) => run.task_runs.iter().find(|one| one.id == id).map_or(0, |one| one.version),
        }
    }

    fn of_prefect3(&self, parts: &Parts, asked: &Value) -> Option<Proposal> {
        let run = parts.uri.path().rsplit('/').nth(1).and_then(RunId::parse)?;
        let (before, version) = (self.phase(run), self.version(run));
        Some(Proposal { run, task_run: None, state: asked["state"].clone(), before, version, own_version: 0 })
    }

    /// Whether the run is in the proposed state by this very proposal.
    fn was_taken(&self, proposal: &Proposal) -> bool {
        let kind = proposal.state["type"].as_str().unwrap_or_default();
        if self.generation == Generation::Three {
            let state = self.fakes.lock();
            let run = state.prefect3.flow_run(&proposal.run.to_string());
            let is_kind = run.is_some_and(|run| run.state_type().is_some_and(|now| now.name() == kind));
            drop(state);
            return is_kind && self.version(proposal.run) > proposal.version;
        }
        let is_new = self.own_version(proposal.run, proposal.task_run.as_deref()) > proposal.own_version;
        let state = self.fakes.lock();
        let run = state.prefect1.flow_run(&proposal.run.to_string());
        is_new && (proposal.task_run.is_some() || run.is_some_and(|run| run.state() == kind))
    }

    fn tell_audit(&mut self, arrival: &Arrival, proposal: Proposal) {
        let Proposal { run, task_run, state, before, version, .. } = proposal;
        let Some(before) = before else { return };
        let (held, flavour) = (states::held1(&state), self.flavour(run));
        let token = match self.generation {
            Generation::One => held.token,
            // A claim is named by its transition, and what gives it back carries its mark.
            Generation::Three if arrival.call == Call::Claim => {
                state["state_details"]["transition_id"].as_str().unwrap_or_default().to_owned()
            }
            Generation::Three => state["data"][Mark::KEY]["token"].as_str().unwrap_or_default().to_owned(),
        };
        let write = match arrival.call {
            Call::Claim => {
                let received = state["state"]["start_time"].as_str();
                let received = received.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
                let due = match (&before, received) {
                    (_, Some(received)) => received,
                    (Phase::Scheduled(at), None) => *at - PREFETCH,
                    _ => arrival.now,
                };
                Write::Claim { token, due, of_task_run: task_run.is_some() }
            }
            // What was given back before keeps its mark.
            Call::GiveBack if self.is_put_back(run, &state) => return,
            Call::GiveBack => Write::GiveBack { token },
            Call::Fail if self.tellers.contains(&arrival.actor) || is_of_dead_task(&state) => {
                // Tasks are looked for where the dead one was and where the newest claim went, not wherever the agent
                // launched before. The turn of a worker, which names no turns, ends with its own task.
                let newest = self.tasks_of(run).max_by_key(|task| task.created_at).filter(|task| task.is_ours);
                let newest = newest.map(|task| &task.cluster);
                let is_seen =
                    |task: &&crate::tasks::Task| task.is_live() && task.is_ours && Some(&task.cluster) == newest;
                let mut others = self.tasks_of(run).filter(is_seen);
                Write::Dead { lives: others.any(|task| arrival.now - task.created_at > WATCH_WINDOW) }
            }
            Call::Fail => {
                let message = state["message"].as_str().unwrap_or_default().to_owned();
                Write::Fail { message, flavour }
            }
            Call::Cancel => Write::Cancelled(flavour),
            _ => return,
        };
        let (actor, now) = (arrival.actor, arrival.now);
        self.audit.wrote(Wrote { actor, run, before, version, now, write });
    }

    /// Whether a run that a limit had queued was made due as before.
    fn is_put_back(&self, run: RunId, state: &Value) -> bool {
        let fakes = self.fakes.lock();
        let run = fakes.prefect1.flow_run(&run.to_string());
        let queued = run.and_then(|run| run.states.iter().rev().nth(1)).filter(|before| before.kind() == "Queued");
        queued.is_some_and(|queued| queued.serialized["state"]["start_time"] == state["start_time"])
    }

    /// Somebody registers a task definition of another content in a family.
    pub fn register_another(&self, family: &str) {
        let container = json!([{"name": "flow", "image": "other", "memory": 512}]);
        self.ask_ecs("RegisterTaskDefinition", &json!({"family": family, "containerDefinitions": container}));
    }

    /// What the fakes answer to somebody who is no process of ours.
    pub(crate) fn ask(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
        let mut request = http::Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Ok(request) = request.body(Body::empty()) else { return Value::Null };
        let (parts, body) = (request.into_parts().0, Bytes::from(body.to_string()));
        let route = route(&parts.method, &parts.uri, &parts.headers, &body);
        serde_json::from_slice(self.fakes.answer(&route, &parts, &body).body()).unwrap_or_default()
    }

    fn answered(&self, arrival: &Arrival, parts: &Parts, body: &Bytes) -> Answer {
        let (head, body) = self.fakes.answer(&arrival.route, parts, body).into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }
}
