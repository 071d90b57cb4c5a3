//! Everything outside of the processes: the fakes of Prefect and AWS that the stories use, in virtual time, and what
//! happens there by itself.

mod requests;
mod states;

pub use requests::Arrival;

use crate::audit::Audit;
use crate::call::Generation;
use crate::clock::START;
use crate::config::{self, Config, DEPLOYMENT};
use crate::gate::ActorId;
use crate::mail::{Mail, Post};
use crate::rng::Rng;
use crate::run::{Flavour, Phase, RunId, run_of};
use crate::tasks::{self, Event, Fates, Task, Then, seconds};
use prefect_serverless_agent::platform::started_by;
use prefect_serverless_agent::state::Status;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use time::OffsetDateTime;
use world::ecs::{Options, Shortage, Stop};
use world::prefect1;
use world::prefect3::{self, StateType};

/// The flow's process begins so many seconds after its container.
const PROCESS_STARTS: u64 = 5;

/// A task has stopped so many seconds after its process ended.
const PROCESS_ENDS: u64 = 2;

/// A container's process gives up asking when its time is further away than this, in seconds.
const PATIENCE: i64 = 3_600;

/// Prefect 1's Lazarus comes so often, and takes a run for dead after so long without a sign of life.
const LAZARUS_EVERY: time::Duration = time::Duration::minutes(10);

/// Prefect 3's services are at work so often.
const SERVICES_EVERY: time::Duration = time::Duration::seconds(10);

/// The queue of what happens to tasks, and how long it hides what was received: as in the template.
const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/psa-task-events";
const HIDDEN: time::Duration = time::Duration::minutes(6);

/// The world.
pub struct World {
    /// Whose Prefect is asked.
    pub generation: Generation,
    /// What the agent is configured to by now.
    pub config: Config,
    /// Prefect and AWS.
    pub fakes: world::World,
    /// All tasks there ever were, in ECS's own order.
    pub tasks: Vec<Task>,
    /// What becomes of new tasks.
    pub fates: Fates,
    /// There is no capacity until then; only of Spot, if so.
    pub shortage: Option<(OffsetDateTime, bool)>,
    /// All runs, by number.
    pub flavours: Vec<Flavour>,
    /// What the agent's last poll wrote down.
    pub written: Status,
    /// What must hold.
    pub audit: Audit,
    /// Events of tasks on their way.
    pub mail: Mail,
    /// Chance of its own.
    pub rng: Rng,
    /// Prefect 3: when its Late service is at work between two requests.
    pub late: Late,
    /// Processes that tell of tasks, and do not poll.
    pub tellers: BTreeSet<ActorId>,
    lag: u64,
    lazarus: bool,
    /// When the server's services were at work last.
    served: OffsetDateTime,
    agenda: BTreeMap<(OffsetDateTime, u64), Event>,
    numbers: u64,
}

/// What a world begins with.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Whose Prefect is asked.
    pub generation: Generation,
    /// What kind of Prefect 1 it is.
    pub switches: prefect1::Switches,
    /// Runs at the same time.
    pub limit: Option<usize>,
    /// What AWS's documentation leaves open about ECS.
    pub ecs: Options,
    /// A new task is listed and described so many milliseconds later at most.
    pub lag: u64,
    /// What becomes of tasks.
    pub fates: Fates,
    /// What becomes of events.
    pub post: Post,
    /// What the agent is configured to.
    pub config: Config,
    /// Prefect 1: Lazarus and the zombie killer are at work.
    pub lazarus: bool,
    /// Prefect 3: when its Late service is at work between two requests.
    pub late: Late,
    /// Its chance.
    pub rng: Rng,
}

/// When the Late service is at work besides the rounds of all services, however little a run is late.
#[derive(Debug, Clone)]
pub enum Late {
    /// Not at all.
    Never,
    /// In the moment in which this request arrives, counted from 0.
    Before(usize),
    /// In the moments in which so many of a thousand requests arrive.
    Random(Rng, u64),
}

impl Late {
    /// Whether it is, as a request arrives.
    pub fn comes(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::Before(left) => {
                let comes = *left == 0;
                *self = left.checked_sub(1).map_or(Self::Never, Self::Before);
                comes
            }
            Self::Random(rng, per_mille) => rng.chance(*per_mille),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

impl World {
    /// An empty one.
    pub fn new(setting: Setting) -> Self {
        let fakes = world::World::new();
        {
            let mut state = fakes.lock();
            state.ecs.options = Options { stops_later: true, ..setting.ecs };
            state.prefect1.switches = setting.switches;
        }
        setting.config.install(&fakes, setting.generation, setting.limit, START);
        Self {
            generation: setting.generation,
            config: setting.config,
            fakes,
            tasks: Vec::new(),
            fates: setting.fates,
            shortage: None,
            flavours: Vec::new(),
            written: Status::default(),
            audit: Audit::default(),
            mail: Mail::new(setting.post),
            rng: setting.rng,
            late: setting.late,
            tellers: BTreeSet::new(),
            lag: setting.lag,
            lazarus: setting.lazarus,
            served: START,
            agenda: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A new run.
    pub fn schedule(&mut self, flavour: Flavour, start_time: OffsetDateTime, now: OffsetDateTime) -> RunId {
        let run = RunId(u32::try_from(self.flavours.len()).unwrap_or(u32::MAX));
        self.flavours.push(flavour);
        config::schedule(&self.fakes, self.generation, run, flavour, start_time - now);
        self.audit.note(|| format!("{run:?} is scheduled for {start_time}, {flavour:?}"));
        run
    }

    /// All runs there ever were.
    pub fn runs(&self) -> impl Iterator<Item = RunId> + use<> {
        (0..u32::try_from(self.flavours.len()).unwrap_or(u32::MAX)).map(RunId)
    }

    /// What a run brings along.
    pub fn flavour(&self, run: RunId) -> Flavour {
        usize::try_from(run.0).ok().and_then(|index| self.flavours.get(index)).copied().unwrap_or(Flavour::Good)
    }

    fn of_run<T>(
        &self,
        run: RunId,
        one: impl FnOnce(&prefect1::FlowRun) -> T,
        three: impl FnOnce(&prefect3::FlowRun) -> T,
    ) -> Option<T> {
        let state = self.fakes.lock();
        let id = run.to_string();
        match self.generation {
            Generation::One => state.prefect1.flow_run(&id).map(one),
            Generation::Three => state.prefect3.flow_run(&id).map(three),
        }
    }

    /// How far a run is; `None` = there is none.
    pub fn phase(&self, run: RunId) -> Option<Phase> {
        self.of_run(run, states::phase1, states::phase3)
    }

    /// Counts the states of a run.
    pub fn version(&self, run: RunId) -> u64 {
        let of3 = |run: &prefect3::FlowRun| u64::try_from(run.states.len()).unwrap_or_default();
        self.of_run(run, states::version1, of3).unwrap_or_default()
    }

    /// Since when a run is in its state.
    pub fn since(&self, run: RunId) -> OffsetDateTime {
        let one = |run: &prefect1::FlowRun| run.current().map(|state| state.timestamp);
        let three = |run: &prefect3::FlowRun| run.state().map(|state| state.timestamp);
        self.of_run(run, one, three).flatten().unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// When a task run of a Running run of Prefect 1 is to be retried.
    pub fn waiting_retry(&self, run: RunId) -> Option<OffsetDateTime> {
        let retry = |run: &prefect1::FlowRun| {
            let waits = run.task_runs.iter().filter(|task| task.state() == "Retrying");
            waits.filter_map(|task| task.current()?.start_time()).min()
        };
        self.of_run(run, retry, |_| None).flatten()
    }

    /// Whether a task run of a run of Prefect 1 is Running, or was when its process died.
    pub fn has_running_task_run(&self, run: RunId) -> bool {
        let running = |run: &prefect1::FlowRun| run.task_runs.iter().any(|task| task.state() == "Running");
        self.of_run(run, running, |_| false).unwrap_or_default()
    }

    /// The tasks of a run, whoever started them.
    pub fn tasks_of(&self, run: RunId) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(move |task| task.run == run)
    }

    /// Whether a task is in the cluster in which the agent launches now.
    pub fn is_here(&self, task: &Task) -> bool {
        task.cluster.rsplit('/').next() == Some(self.config.cluster.as_str())
    }

    /// What is to come.
    pub fn plan(&mut self, coming: impl IntoIterator<Item = (OffsetDateTime, Event)>) {
        for (at, event) in coming {
            self.numbers += 1;
            self.agenda.insert((at, self.numbers), event);
        }
    }

    /// When the next thing happens by itself.
    pub fn next_event(&self) -> Option<OffsetDateTime> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets happen what has happened by now.
    pub fn catch_up(&mut self, now: OffsetDateTime) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), event) = entry.remove_entry();
            self.happens(event, at);
        }
        self.tell_time(now);
        self.services(now);
    }

    fn tell_time(&self, now: OffsetDateTime) {
        let shortage = self.shortage.filter(|(until, _)| now < *until);
        let mut state = self.fakes.lock();
        state.told_time = Some(now);
        state.ecs.options.shortage =
            shortage.map(|(_, only_spot)| if only_spot { Shortage::Spot } else { Shortage::All });
    }

    /// Whether somebody brings back runs that show no sign of life.
    pub fn revives(&self) -> bool {
        self.generation == Generation::One && self.lazarus
    }

    /// Whether an agent of ours takes part in the run's cancellation: Prefect 1's has to have claimed it once.
    pub fn was_ours(&self, run: RunId) -> bool {
        let marked = |run: &prefect1::FlowRun| {
            let tasks = run.task_runs.iter().flat_map(|task_run| &task_run.states);
            run.states.iter().chain(tasks).any(|state| states::held1(&state.serialized).is_ours)
        };
        self.of_run(run, marked, |_| true).unwrap_or_default()
    }

    /// Whether polls tell what becomes of a running run: this agent has claimed it, and its task is written down, or is ours
    /// and still listed (Prefect 3).
    pub fn is_looked_after(&self, run: RunId) -> bool {
        let now = self.fakes.lock().now();
        let claimed = |run: &prefect3::FlowRun| {
            let claim = run.states.iter().rev().find(|state| state.name == "Pending");
            let pid = run.infrastructure_pid.clone();
            claim.is_some_and(|claim| states::held3(claim).is_ours).then_some(pid)
        };
        let Some(pid) = self.of_run(run, |_| None, claimed).flatten() else { return false };
        let newest = self.tasks_of(run).filter(|task| task.is_ours).max_by_key(|task| task.created_at);
        let Some(newest) = newest else { return false };
        let state = self.fakes.lock();
        let stopped_at = state.ecs.tasks.iter().find(|task| task.arn == newest.arn).and_then(|task| task.stopped_at);
        let is_recorded = pid.is_some_and(|pid| pid.ends_with(&newest.arn));
        // What is not written down is looked for as long as ECS lists it.
        is_recorded || stopped_at.is_some_and(|at| now - at < time::Duration::minutes(40))
    }

    /// Whether a limit keeps this run from being claimed, as long as others go on.
    pub fn is_limited(&self, run: RunId) -> bool {
        let state = self.fakes.lock();
        if self.generation == Generation::Three {
            let deployment = state.prefect3.deployment(DEPLOYMENT);
            let limit = deployment.and_then(|deployment| deployment.limit.as_ref());
            return limit.is_some_and(|limit| limit.active_slots >= limit.limit);
        }
        let id = run.to_string();
        let busy = |other: &&prefect1::FlowRun| other.id != id && matches!(other.state(), "Submitted" | "Running");
        let busy = state.prefect1.flow_runs.iter().filter(busy).count();
        state.prefect1.switches.flow_concurrency.is_some_and(|limit| busy >= limit)
    }

    /// The server's own services, as often as they are at work.
    fn services(&mut self, now: OffsetDateTime) {
        match self.generation {
            Generation::One if self.lazarus && now - self.served >= LAZARUS_EVERY => {
                self.served = now;
                self.lazarus(now);
            }
            Generation::Three if now - self.served >= SERVICES_EVERY => {
                self.served = now;
                self.fakes.prefect3_services();
            }
            _ => {}
        }
    }

    fn lazarus(&mut self, now: OffsetDateTime) {
        let alive: Vec<String> =
            self.tasks.iter().filter(|task| task.runs_flow).map(|task| task.run.to_string()).collect();
        let mut stuck = Vec::new();
        self.fakes.prefect1(|prefect1| {
            for run in &mut prefect1.flow_runs {
                if alive.contains(&run.id) {
                    run.heartbeat = Some(now);
                }
                let is_silent = run.heartbeat.is_none_or(|heartbeat| now - heartbeat >= LAZARUS_EVERY);
                if is_silent && run.state() == "Cancelling" {
                    stuck.push(run.id.clone());
                }
            }
        });
        for id in &stuck {
            let _ = self.fakes.cancel_flow_run(id);
        }
        let touched = self.fakes.lazarus().into_iter().chain(stuck);
        for run in touched.filter_map(|id| RunId::parse(&id)).collect::<Vec<_>>() {
            self.audit.begins_anew(run, now);
            self.audit.note(|| format!("{run:?} is brought back, or given up, by Prefect"));
        }
    }

    /// A user cancels.
    pub fn cancel(&self, run: RunId) {
        let id = run.to_string();
        let state = match (self.generation, self.phase(run)) {
            (_, None | Some(Phase::Ended | Phase::Cancelled | Phase::Cancelling)) => return,
            (Generation::Three, _) => return drop(self.fakes.prefect3_cancel(&id)),
            (Generation::One, Some(Phase::Running(_))) => json!({"type": "Cancelling"}),
            (Generation::One, _) => json!({"type": "Cancelled", "message": "Flow run cancelled."}),
        };
        let _ = self.fakes.set_flow_run_state(&id, &state);
    }

    /// A user, or an automation, schedules a run anew.
    pub fn schedule_anew(&mut self, run: RunId, now: OffsetDateTime) {
        let id = run.to_string();
        match self.generation {
            Generation::One => drop(self.fakes.prefect1(|prefect1| prefect1.restart_flow_run(&id, now))),
            // No clock shows one moment twice, and the virtual one may stand still: that a run is scheduled for another
            // time than at first is what tells that it had a turn before.
            Generation::Three => drop(self.fakes.prefect3_schedule(&id, 0.000_001)),
        }
        self.audit.begins_anew(run, now);
    }

    /// A user pauses a run.
    pub fn pause(&self, run: RunId) {
        let id = run.to_string();
        match self.generation {
            Generation::One => drop(self.fakes.set_flow_run_state(&id, &json!({"type": "Paused"}))),
            Generation::Three => drop(self.fakes.prefect3_set_state(&id, &json!("PAUSED"))),
        }
    }

    /// An observer of somebody else's tells that the run's task waits (Prefect 3).
    pub fn observe(&self, run: RunId) {
        if self.generation == Generation::Three && matches!(self.phase(run), Some(Phase::Claimed(_))) {
            let state = json!({"type": "PENDING", "name": "InfrastructurePending"});
            self.ask(
                &format!("/prefect3/api/flow_runs/{run}/set_state"),
                &[],
                &json!({"state": state, "force": false}),
            );
        }
    }

    /// All task definitions are deregistered.
    pub fn deregister_all(&self) {
        for definition in &mut self.fakes.lock().ecs.definitions {
            definition.active = false;
            definition.description["status"] = json!("INACTIVE");
        }
    }

    /// Tasks that `RunTask` has started by now are given their fates.
    pub(crate) fn take_in_new_tasks(&mut self, actor: ActorId, now: OffsetDateTime) {
        let known = self.tasks.len();
        let new: Vec<world::ecs::Task> = self.fakes.lock().ecs.tasks.iter().skip(known).cloned().collect();
        for task in new {
            let Some(run) = run_of(&task.request) else {
                self.audit.violated("a task without a run".into());
                continue;
            };
            let index = self.tasks.len();
            let mut lag = || time::Duration::milliseconds(i64::try_from(self.rng.below(self.lag + 1)).unwrap_or(0));
            let (listed_from, described_from) = (now + lag(), now + lag());
            if let Some(task) = self.fakes.lock().ecs.task_mut(&task.arn) {
                (task.listed_from, task.described_from) = (listed_from, described_from);
            }
            let fate = self.fates.next(&mut self.rng);
            let is_ours =
                task.started_by.as_deref() == Some(started_by(crate::config::AGENT, &run.to_string()).as_str());
            let task = Task {
                index,
                arn: task.arn,
                cluster: task.cluster_arn,
                token: task.client_token,
                run,
                is_ours,
                created_at: now,
                listed_from,
                status: tasks::Status::Starting,
                is_ending: false,
                stop: None,
                fate,
                runs_flow: false,
                has_asked: false,
            };
            self.audit.started(actor, &task, self.tasks.iter().filter(|other| other.run == run));
            self.tasks.push(task);
            let starts = now + seconds(fate.starts_after);
            let then = if fate.then == Then::NeverStarts { Event::Stopped(index) } else { Event::Running(index) };
            self.plan([(now + seconds(fate.starts_after.min(5)), Event::Pending(index)), (starts, then)]);
        }
    }

    /// A task that ECS was told to stop does so after a while.
    fn take_in_stopping_tasks(&mut self, now: OffsetDateTime) {
        let told: Vec<bool> = self.fakes.lock().ecs.tasks.iter().map(|task| task.desired_status == "STOPPED").collect();
        let mut coming = Vec::new();
        for (task, is_told) in self.tasks.iter_mut().zip(told) {
            if is_told && task.is_live() {
                task.is_ending = true;
                let was_running = task.status == tasks::Status::Running;
                let reason = "Task stopped by user".to_owned();
                let exit_code = was_running.then_some(137);
                task.stop = Some(Stop { code: "UserInitiated".into(), reason, exit_code, container_reason: None });
                let most = if was_running { 45 } else { 10 };
                coming.push((now + seconds(self.rng.between(1, most)), Event::Stopped(task.index)));
            }
        }
        self.plan(coming);
    }

    /// A task ends at once, without a word: a host dies, Spot takes it back.
    pub fn kill_task(&mut self, run: RunId, now: OffsetDateTime) {
        let Some(task) = self.tasks.iter_mut().find(|task| task.run == run && task.is_live()) else { return };
        let reason = "Your Spot Task was interrupted.".to_owned();
        task.stop = Some(Stop { code: "SpotInterruption".into(), reason, exit_code: None, container_reason: None });
        let event = Event::Stopped(task.index);
        self.happens(event, now);
    }

    /// A run's last task stops: its container died, or could not be started.
    pub fn end_task(&mut self, run: RunId, stop: Option<Stop>, now: OffsetDateTime) {
        let Some(task) = self.tasks.iter_mut().rfind(|task| task.run == run) else { return };
        let was_started = stop.is_some();
        (task.stop, task.fate.takes) = (stop, 0);
        let (index, arn) = (task.index, task.arn.clone());
        if was_started {
            self.fakes.ecs_set_status(&arn, "RUNNING");
        }
        self.happens(Event::Stopped(index), now);
    }

    fn happens(&mut self, event: Event, at: OffsetDateTime) {
        self.fakes.lock().told_time = Some(at);
        let (Event::Pending(index)
        | Event::Running(index)
        | Event::Begins(index)
        | Event::Ends(index)
        | Event::Stopped(index)) = event;
        let Some(task) = self.tasks.get_mut(index).filter(|task| task.status != tasks::Status::Stopped) else { return };
        let (run, arn) = (task.run, task.arn.clone());
        match event {
            Event::Pending(_) if !task.is_ending => drop(self.fakes.ecs_set_status(&arn, "PENDING")),
            Event::Pending(_) | Event::Running(_) if task.is_ending => return,
            Event::Pending(_) => {}
            Event::Running(_) => {
                task.status = tasks::Status::Running;
                let dies = task.fate.then == Then::DiesBefore;
                task.stop = dies.then(|| Stop::exited(1));
                let next = if dies { Event::Stopped(index) } else { Event::Begins(index) };
                self.fakes.ecs_set_status(&arn, "RUNNING");
                self.plan([(at + seconds(PROCESS_STARTS), next)]);
            }
            Event::Begins(_) | Event::Ends(_) if task.is_ending => {}
            Event::Begins(_) => self.flow_begins(index, run, at),
            Event::Ends(_) => self.flow_ends(index, run, at),
            Event::Stopped(_) => {
                let stop = task.stops();
                (task.status, task.is_ending, task.runs_flow) = (tasks::Status::Stopped, true, false);
                for container in ["flow", "prefect"] {
                    self.fakes.ecs_container_writes(&arn, container, ["Traceback"]);
                }
                self.fakes.ecs_stop(&arn, &stop);
            }
        }
        self.audit.note(|| format!("{run:?}: {event:?} at {at}"));
        if !self.mail.post.silent && !matches!(event, Event::Begins(_) | Event::Ends(_)) {
            let event = self.fakes.task_event(&arn);
            self.mail.post(&event, &mut self.rng, at);
        }
    }

    /// What has arrived is in the queue, and the next messages are given out.
    pub fn batch(&mut self, now: OffsetDateTime) -> Option<Value> {
        let mut state = self.fakes.lock();
        let queue = state.sqs.queues.entry(QUEUE.to_owned()).or_default();
        while let Some(event) = self.mail.arrived(now) {
            queue.send(&event.to_string(), now);
        }
        state.sqs.batch(QUEUE, HIDDEN, now)
    }

    /// What was told is deleted from the queue.
    pub fn settle(&mut self, batch: &Value, answer: Option<&Value>) {
        self.fakes.lock().sqs.settle(QUEUE, batch, answer);
    }

    /// When the next message can be received.
    pub fn next_message(&self) -> Option<OffsetDateTime> {
        let queued = self.fakes.lock().sqs.queue(QUEUE).and_then(|queue| queue.next_at());
        [queued, self.mail.next_at()].into_iter().flatten().min()
    }

    /// Whether an event is still to be told. One of a worker's task that comes when ECS has forgotten the task's tags is kept
    /// for a person.
    pub fn is_untold(&self) -> bool {
        let is_ours = |body: &str| self.tasks.iter().any(|task| task.is_ours && body.contains(&task.arn));
        let mut state = self.fakes.lock();
        let queued = state.sqs.queue(QUEUE).is_some_and(|queue| queue.messages.iter().any(|one| is_ours(&one.body)));
        queued || self.mail.next_at().is_some()
    }

    /// The event of the last task's last change arrives now.
    pub fn send_last_event(&mut self, now: OffsetDateTime) {
        if let Some(task) = self.tasks.last() {
            let event = self.fakes.task_event(&task.arn);
            self.mail.send(event, now);
        }
    }

    fn flow_begins(&mut self, index: usize, run: RunId, at: OffsetDateTime) {
        let id = run.to_string();
        let Some(task) = self.tasks.get_mut(index) else { return };
        let fate = task.fate;
        let asked = std::mem::replace(&mut task.has_asked, true);
        let later = match self.generation {
            Generation::One => {
                let started = self.fakes.prefect1(|prefect1| prefect1.start_container(&id, at));
                matches!(started, Ok(prefect1::container::Started::Yes)).then_some(0)
            }
            Generation::Three => {
                let begin = |prefect3: &mut prefect3::Prefect3| {
                    if asked { prefect3.go_on(&id, at) } else { prefect3.start_container(&id, at) }
                };
                match self.fakes.prefect3(begin) {
                    Ok(prefect3::container::Started::Yes) => Some(0),
                    Ok(prefect3::container::Started::Wait(seconds)) => Some(seconds).filter(|wait| *wait < PATIENCE),
                    _ => None,
                }
            }
        };
        let Some(task) = self.tasks.get_mut(index) else { return };
        let next = match later {
            // The process waits by itself until the server lets it begin.
            Some(later) if later > 0 => Some((at + time::Duration::seconds(later), Event::Begins(index))),
            Some(_) => {
                task.runs_flow = fate.then != Then::Hangs;
                task.runs_flow.then_some((at + seconds(fate.takes), Event::Ends(index)))
            }
            None => {
                task.stop = Some(Stop::exited(0));
                Some((at + seconds(PROCESS_ENDS), Event::Stopped(index)))
            }
        };
        self.plan(next);
    }

    fn flow_ends(&mut self, index: usize, run: RunId, at: OffsetDateTime) {
        let Some(task) = self.tasks.get_mut(index) else { return };
        let then = task.fate.then;
        task.runs_flow = false;
        task.stop = Some(Stop::exited(if then == Then::DiesWithin { 139 } else { 0 }));
        let id = run.to_string();
        match (then, self.generation) {
            (Then::DiesWithin, _) => {}
            (Then::RetriesLater, Generation::One) => {
                let retry_at = at + seconds(660) + seconds(run.0.into());
                let _ = self.fakes.prefect1(|prefect1| prefect1.retry_task(&id, retry_at, at));
            }
            (then, Generation::One) => self.flow_of_prefect1_ends(run, then != Then::Fails, at),
            (then, Generation::Three) => {
                let kind = if then == Then::Fails { StateType::Failed } else { StateType::Completed };
                let is_over = matches!(self.phase(run), None | Some(Phase::Ended | Phase::Cancelled | Phase::Waiting));
                if !is_over {
                    // The server may say no, e.g. to a run that is being cancelled: then its state stays.
                    let _ = self.fakes.prefect3(|prefect3| prefect3.finish_container(&id, kind, None, at));
                }
            }
        }
        self.plan([(at + seconds(PROCESS_ENDS), Event::Stopped(index))]);
    }

    /// The process sets a final state whatever the run's state is by then, unless it has ended or is paused.
    fn flow_of_prefect1_ends(&self, run: RunId, well: bool, at: OffsetDateTime) {
        let (id, kind) = (run.to_string(), if well { "Success" } else { "Failed" });
        match self.phase(run) {
            None | Some(Phase::Ended | Phase::Cancelled | Phase::Waiting) => {}
            Some(Phase::Cancelling) => drop(self.fakes.cancel_flow_run(&id)),
            Some(Phase::Running(_)) => {
                let _ = self.fakes.prefect1(|prefect1| prefect1.finish_container(&id, kind, None, at));
            }
            Some(_) => drop(self.fakes.set_flow_run_state(&id, &json!({"type": kind}))),
        }
    }
}
