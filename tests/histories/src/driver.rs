//! Processes side by side: the driver lets them through the gate one by one, lets time pass when all wait, and kills.

mod mischief;

pub use mischief::{Delays, Faults, Mischief};

use crate::call::Call;
use crate::fault::Fault;
use crate::gate::{ActorId, Side, Ticket};
use crate::port::Shared;
use crate::process::{Process, TIMEOUT, Work, invocation};
use crate::rng::Rng;
use crate::schedule::Schedule;
use crate::stranger;
use crate::table::{Count, Tally};
use prefect_serverless_agent::poll::AgentReport;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use time::OffsetDateTime;

/// So many batches of events are handled at once, as in the template.
const BATCHES_AT_ONCE: usize = 2;

struct Actor {
    id: ActorId,
    work: Work,
    /// The process of ours, warm for its next invocation; a Python agent's calls do not go wrong.
    of: Option<(Function, Process)>,
    /// When its invocation is over.
    over_at: OffsetDateTime,
    /// How often it was polled, and after how many times it is killed.
    polls: usize,
    killed_after: Option<usize>,
}

/// Which function a process is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Poll,
    TaskEvents,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Somebody went through the gate.
    Passed,
    /// Time passed.
    Waited,
    /// Nobody is there.
    Idle,
}

/// The driver.
pub struct Driver {
    /// The world.
    pub shared: Arc<Shared>,
    /// Who goes next.
    pub schedule: Schedule,
    /// What goes wrong.
    pub faults: Faults,
    /// How long calls take.
    pub delays: Delays,
    /// So many of a thousand calls are a process's last.
    pub fragile: (Rng, u64),
    /// What was counted.
    pub tally: Tally,
    /// Calls of our processes, by kind.
    pub calls: BTreeMap<Call, usize>,
    /// Reports of our polls, in the order they ended.
    pub reports: Vec<AgentReport>,
    /// How often the last process that ended was polled: so many points there are at which it could have been killed.
    pub polls_of_last: usize,
    /// Warm processes without work.
    warm: Vec<(Function, Process)>,
    actors: Vec<Actor>,
    numbers: u32,
}

impl Driver {
    /// Nobody is there yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            schedule: Schedule::First,
            faults: Faults::None,
            delays: Delays::None,
            fragile: (Rng::new(0), 0),
            tally: Tally::default(),
            calls: BTreeMap::new(),
            reports: Vec::new(),
            polls_of_last: 0,
            warm: Vec::new(),
            actors: Vec::new(),
            numbers: 0,
        }
    }

    /// True time.
    pub fn now(&self) -> OffsetDateTime {
        self.shared.timeline.now()
    }

    /// How many processes work.
    pub fn working(&self) -> usize {
        self.actors.len()
    }

    fn next_id(&mut self) -> ActorId {
        self.numbers += 1;
        ActorId(self.numbers)
    }

    fn warm(&mut self, function: Function) -> Option<Process> {
        let place = self.warm.iter().rposition(|(of, _)| *of == function)?;
        Some(self.warm.remove(place).1)
    }

    /// A process polls: a warm one where there is one and one is wanted, else a cold one with this clock and rate.
    pub fn poll(&mut self, time: Duration, warm: bool, (skew, launch_rate): (time::Duration, Option<f64>)) -> ActorId {
        let known = if warm { self.warm(Function::Poll) } else { None };
        let id = self.next_id();
        let process = known.unwrap_or_else(|| Process::of_poll(&self.shared, id, skew, launch_rate));
        self.tally.add(Count::Polls, 1);
        let work = process.poll(time);
        self.invoke(Function::Poll, process, work, time)
    }

    fn invoke(&mut self, function: Function, process: Process, work: Work, time: Duration) -> ActorId {
        let id = process.port.actor;
        {
            let audit = &mut self.shared.world().audit;
            audit.note(|| format!("{id:?}, {function:?}, has {time:?}"));
            audit.invoked(id);
        }
        self.add(id, work, Some((function, process)), time);
        id
    }

    fn add(&mut self, id: ActorId, work: Work, of: Option<(Function, Process)>, time: Duration) {
        let over_at = self.now() + time;
        self.actors.push(Actor { id, work, of, over_at, polls: 0, killed_after: None });
    }

    /// The function `task-events` gets the next messages of its queue, if there are any.
    pub fn deliver(&mut self) -> Option<ActorId> {
        if !self.has_room() {
            return None;
        }
        let now = self.now();
        let batch = self.shared.world().batch(now)?;
        let known = self.warm(Function::TaskEvents);
        let id = self.next_id();
        let process = known.unwrap_or_else(|| Process::of_task_events(&self.shared, id));
        self.shared.world().tellers.insert(process.port.actor);
        self.tally.add(Count::Events, batch["Records"].as_array().map_or(0, Vec::len));
        let work = process.tell(batch);
        Some(self.invoke(Function::TaskEvents, process, work, TIMEOUT))
    }

    /// Whether one more batch may be handled beside those that are.
    fn has_room(&self) -> bool {
        let busy = |actor: &&Actor| actor.of.as_ref().is_some_and(|(function, _)| *function == Function::TaskEvents);
        self.actors.iter().filter(busy).count() < BATCHES_AT_ONCE
    }

    /// When the next messages can be delivered.
    fn next_batch(&self) -> Option<OffsetDateTime> {
        self.shared.world().next_message().filter(|_| self.has_room())
    }

    /// When the next thing happens outside: to a task, or to a message.
    fn next_outside(&self) -> Option<OffsetDateTime> {
        let next_event = self.shared.world().next_event();
        [next_event, self.next_batch()].into_iter().flatten().min()
    }

    /// Kills a process once it was polled so many times.
    pub fn kill_after(&mut self, id: ActorId, polls: usize) {
        if let Some(actor) = self.actors.iter_mut().find(|actor| actor.id == id) {
            actor.killed_after = Some(polls);
        }
    }

    /// A Python agent polls.
    pub fn python(&mut self) {
        let id = self.next_id();
        let shared = Arc::clone(&self.shared);
        let work = invocation(async move {
            stranger::poll(&shared, id).await;
            None
        });
        self.add(id, work, None, Duration::from_hours(1));
    }

    /// Kills the process at this place among those that work: nothing of it goes on.
    pub fn kill(&mut self, place: usize) {
        if place < self.actors.len() {
            let actor = self.actors.remove(place);
            self.shared.world().audit.note(|| format!("{:?} is killed", actor.id));
            self.tally.add(Count::Kills, 1);
        }
    }

    /// All warm processes end.
    pub fn freeze(&mut self) {
        self.warm.clear();
    }

    /// Goes on until this time, or until so many went through the gate.
    pub async fn run(&mut self, until: OffsetDateTime, mut passes: usize) {
        while self.now() < until && passes > 0 {
            match self.step(until).await {
                Step::Passed => passes -= 1,
                Step::Waited => {}
                Step::Idle => self.idle(until).await,
            }
        }
    }

    /// Nobody works: time passes until something happens outside, but not beyond this time.
    async fn idle(&mut self, until: OffsetDateTime) {
        let next = self.next_outside().map_or(until, |next| until.min(next));
        self.shared.timeline.wait_until(next).await;
        self.deliver();
    }

    /// Goes on until somebody is about to send this.
    pub async fn run_to(&mut self, call: Call) {
        let far = self.now() + Duration::from_hours(1);
        let is_there = |ticket: &Ticket| ticket.call == call && ticket.side == Side::Before;
        while !self.shared.gate.waiting().iter().any(is_there) {
            if self.step(far).await == Step::Idle {
                return;
            }
        }
    }

    /// Goes on until all processes have ended.
    pub async fn run_out(&mut self) {
        let far = self.now() + Duration::from_hours(1);
        while self.step(far).await != Step::Idle {}
    }

    /// Goes on with the next thing to do, not beyond this time.
    pub async fn step(&mut self, until: OffsetDateTime) -> Step {
        self.work_on(None).await;
        if self.actors.is_empty() {
            return Step::Idle;
        }
        if let Some(ticket) = self.schedule.choose(&self.shared.gate.waiting()) {
            if self.dies_at(ticket) {
                return Step::Passed;
            }
            let leave = (self.fault_of(ticket), self.delays.draw());
            self.shared.gate.release(ticket, leave);
            self.work_on(Some(ticket.actor)).await;
            return Step::Passed;
        }
        let over_at = self.actors.iter().map(|actor| actor.over_at).min().unwrap_or(until);
        let arrives = self.next_batch().unwrap_or(until);
        self.wait(until.min(over_at).min(arrives)).await;
        self.deliver();
        self.end_invocations();
        Step::Waited
    }

    /// A process may die at any call, before its effect or after it.
    fn dies_at(&mut self, ticket: Ticket) -> bool {
        let (rng, per_mille) = &mut self.fragile;
        if *per_mille == 0 || !rng.chance(*per_mille) {
            return false;
        }
        let place = self.actors.iter().position(|actor| actor.id == ticket.actor);
        place.map(|place| self.kill(place)).is_some()
    }

    fn fault_of(&mut self, ticket: Ticket) -> Option<Fault> {
        let is_ours = self.actors.iter().any(|actor| actor.id == ticket.actor && actor.of.is_some());
        if ticket.side == Side::After || !is_ours {
            return None;
        }
        self.tally.add(Count::Requests, 1);
        *self.calls.entry(ticket.call).or_default() += 1;
        let fault = {
            let generation = self.shared.world().generation;
            self.faults.choose(ticket.call, generation, self.shared.timeline.now())?
        };
        self.tally.add_fault(fault.kind);
        self.shared.world().audit.note(|| format!("{:?} of {:?} goes wrong: {fault:?}", ticket.call, ticket.actor));
        Some(fault)
    }

    /// Polls the processes, or one of them. Those that end are gone.
    async fn work_on(&mut self, only: Option<ActorId>) {
        let mut place = 0;
        while let Some(actor) = self.actors.get_mut(place) {
            if only.is_some_and(|only| only != actor.id) {
                place += 1;
                continue;
            }
            if let Some((_, process)) = &actor.of {
                process.port.is_polled();
            }
            let polled = poll_fn(|context| Poll::Ready(actor.work.as_mut().poll(context))).await;
            actor.polls += 1;
            match polled {
                Poll::Ready(report) => {
                    let actor = self.actors.remove(place);
                    self.polls_of_last = actor.polls;
                    self.ended(actor.of, report);
                }
                Poll::Pending if actor.killed_after.is_some_and(|polls| actor.polls >= polls) => self.kill(place),
                Poll::Pending => place += 1,
            }
        }
    }

    fn ended(&mut self, process: Option<(Function, Process)>, report: Option<AgentReport>) {
        self.warm.extend(process);
        if let Some(report) = report {
            self.tally.add(Count::Launched, report.launched.len());
            self.tally.add(Count::Recovered, report.recovered.len());
            self.tally.add(Count::Unheard, report.died.len());
            {
                let mut world = self.shared.world();
                let world = &mut *world;
                world.audit.reported(&report, &world.tasks);
            }
            self.reports.push(report);
        }
    }

    /// An invocation that is over is killed. That never happens to a poll that minds its time.
    fn end_invocations(&mut self) {
        let now = self.now();
        while let Some(place) = self.actors.iter().position(|actor| actor.over_at <= now) {
            let id = self.actors.get(place).map(|actor| actor.id);
            self.shared.world().audit.violated(format!("{id:?} did not end in time"));
            self.kill(place);
        }
    }

    /// Lets time pass until somebody wakes up, but not beyond this time.
    async fn wait(&self, until: OffsetDateTime) {
        let mut sleep = Box::pin(self.shared.timeline.wait_until(until));
        let mut was_polled = false;
        poll_fn(|context| {
            let is_over = sleep.as_mut().poll(context).is_ready();
            if is_over || was_polled {
                return Poll::Ready(());
            }
            was_polled = true;
            Poll::Pending
        })
        .await;
    }
}
