//! Everything outside of the processes: Prefect, ECS, and what happens there by itself.

use crate::audit::Audit;
use crate::call::Generation;
use crate::clock::START;
use crate::ecs::{self, Ecs, Event, Status, Then, seconds};
use crate::gate::ActorId;
use crate::mail::{Mail, Post};
use crate::rng::Rng;
use crate::run::{Config, Flavour, Phase, RunId};
use crate::{prefect1, prefect3};
use prefect_serverless_agent::state::ErrorKind;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// The flow's process begins so many seconds after its container.
const PROCESS_STARTS: u64 = 5;

/// A task has stopped so many seconds after its process ended.
const PROCESS_ENDS: u64 = 2;

/// Prefect 1's Lazarus comes so often.
const LAZARUS_EVERY: time::Duration = time::Duration::minutes(10);

/// Prefect 3's services are at work so often.
const SERVICES_EVERY: time::Duration = time::Duration::seconds(10);

/// The world.
#[derive(Debug)]
pub struct World {
    /// Whose Prefect is asked.
    pub generation: Generation,
    /// What the agent is configured to by now.
    pub config: Config,
    /// Prefect 1; empty in a world of Prefect 3.
    pub one: prefect1::Server,
    /// Prefect 3; empty in a world of Prefect 1.
    pub three: prefect3::Server,
    /// The account's ECS.
    pub ecs: Ecs,
    /// All runs, by number.
    pub flavours: Vec<Flavour>,
    /// What the agent's last poll wrote down about its trouble.
    pub last_error: Option<ErrorKind>,
    /// What must hold.
    pub audit: Audit,
    /// Events of tasks on their way.
    pub mail: Mail,
    /// Chance of its own.
    pub rng: Rng,
    /// Prefect 3: when its Late service is at work between two requests.
    pub late: prefect3::Late,
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
    pub one: prefect1::Rules,
    /// What is left open about ECS.
    pub ecs: ecs::Rules,
    /// What becomes of tasks.
    pub fates: ecs::Fates,
    /// What becomes of events.
    pub post: Post,
    /// What the agent is configured to.
    pub config: Config,
    /// Prefect 1: Lazarus and the zombie killer are at work.
    pub lazarus: bool,
    /// Prefect 3: when its Late service is at work between two requests.
    pub late: prefect3::Late,
    /// Its chance.
    pub rng: Rng,
}

impl World {
    /// An empty one.
    pub fn new(mut setting: Setting) -> Self {
        let chance = setting.rng.fork();
        Self {
            generation: setting.generation,
            config: setting.config,
            one: prefect1::Server::new(setting.one),
            three: prefect3::Server::default(),
            ecs: Ecs::new(setting.ecs, setting.fates, chance),
            flavours: Vec::new(),
            last_error: None,
            audit: Audit::default(),
            mail: Mail::new(setting.post),
            rng: setting.rng,
            late: setting.late,
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
        match self.generation {
            Generation::One => self.one.schedule(run, start_time, now),
            Generation::Three => self.three.schedule(run, start_time, now),
        }
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

    /// How far a run is; `None` = there is none.
    pub fn phase(&self, run: RunId) -> Option<Phase> {
        match self.generation {
            Generation::One => self.one.phase(run),
            Generation::Three => self.three.phase(run),
        }
    }

    /// Counts the states of a run.
    pub fn version(&self, run: RunId) -> u64 {
        match self.generation {
            Generation::One => self.one.runs.get(&run).and_then(|row| u64::try_from(row.states()).ok()),
            Generation::Three => self.three.runs.get(&run).and_then(|row| u64::try_from(row.states.len()).ok()),
        }
        .unwrap_or_default()
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
        self.services(now);
    }

    /// A request arrives: what the server does in this very moment.
    pub fn before_request(&mut self, now: OffsetDateTime) {
        if self.generation == Generation::Three && self.late.comes() {
            self.three.says_again(now);
        }
    }

    /// Whether somebody brings back runs that show no sign of life.
    pub fn revives(&self) -> bool {
        self.generation == Generation::One && self.lazarus
    }

    /// Whether an agent of ours takes part in the run's cancellation: Prefect 1's has to have claimed it once.
    pub fn was_ours(&self, run: RunId) -> bool {
        let marked = |row: &prefect1::FlowRun| row.marked_by.contains(crate::process::MARKED_AS);
        self.generation == Generation::Three || self.one.runs.get(&run).is_some_and(marked)
    }

    /// Whether a limit keeps this run from being claimed, as long as others go on.
    pub fn is_limited(&self, run: RunId) -> bool {
        let limit = if self.generation == Generation::One { self.one.rules.limit } else { self.three.limit };
        let goes_on =
            |other: &RunId| *other != run && matches!(self.phase(*other), Some(Phase::Claimed(_) | Phase::Running(_)));
        limit.is_some_and(|limit| self.runs().filter(goes_on).count() >= limit)
    }

    /// The server's own services, as often as they are at work.
    fn services(&mut self, now: OffsetDateTime) {
        match self.generation {
            Generation::One if self.lazarus && now - self.served >= LAZARUS_EVERY => {
                self.served = now;
                let ecs = &self.ecs;
                let revived = self.one.services(|run| ecs.runs_flow(run), now);
                for run in revived {
                    self.audit.begins_anew(run, now);
                    self.audit.note(|| format!("{run:?} is brought back, or given up, by Prefect"));
                }
            }
            Generation::Three if now - self.served >= SERVICES_EVERY => {
                self.served = now;
                self.three.services(now);
            }
            _ => {}
        }
    }

    /// Asks a task to stop.
    pub fn stop_task(&mut self, index: usize, now: OffsetDateTime) {
        let coming = self.ecs.stop(index, now);
        self.plan(coming);
    }

    /// A process asks a task to stop.
    pub fn stopping(&mut self, actor: ActorId, index: usize, run: RunId, now: OffsetDateTime) {
        let (phase, version) = (self.phase(run), self.version(run));
        self.audit.stops(actor, run, phase.as_ref(), version);
        self.audit.note(|| format!("{run:?}: {actor:?} stops task {index}"));
        self.stop_task(index, now);
    }

    /// A task has stopped.
    pub fn stop_at_once(&mut self, index: usize, now: OffsetDateTime) {
        self.happens(Event::Stopped(index), now);
    }

    /// A task ends at once, without a word: a host dies, Spot takes it back.
    pub fn kill_task(&mut self, index: usize, now: OffsetDateTime) {
        if let Some(task) = self.ecs.tasks.get_mut(index) {
            task.stop_code = "SpotInterruption";
            task.stopped_reason = "Your Spot Task was interrupted.";
        }
        self.happens(Event::Stopped(index), now);
    }

    fn happens(&mut self, event: Event, at: OffsetDateTime) {
        let (Event::Pending(index)
        | Event::Running(index)
        | Event::Begins(index)
        | Event::Ends(index)
        | Event::Stopped(index)) = event;
        let Some(task) = self.ecs.tasks.get_mut(index).filter(|task| task.status != Status::Stopped) else { return };
        let run = task.run;
        match event {
            Event::Pending(_) => task.changes(Status::Pending),
            Event::Running(_) if task.is_ending => return,
            Event::Running(_) => {
                task.changes(Status::Running);
                task.started_at = Some(at);
                let dies = task.fate.then == Then::DiesBefore;
                task.exit_code = dies.then_some(1);
                let next = if dies { Event::Stopped(index) } else { Event::Begins(index) };
                self.plan([(at + seconds(PROCESS_STARTS), next)]);
            }
            Event::Begins(_) | Event::Ends(_) if task.is_ending => {}
            Event::Begins(_) => self.flow_begins(index, run, at),
            Event::Ends(_) => self.flow_ends(index, run, at),
            Event::Stopped(_) => {
                task.never_starts();
                task.changes(Status::Stopped);
                task.is_ending = true;
                task.stopped_at = Some(at);
                task.runs_flow = false;
            }
        }
        self.audit.note(|| format!("{run:?}: {event:?} at {at}"));
        if !matches!(event, Event::Begins(_) | Event::Ends(_))
            && let Some(task) = self.ecs.tasks.get(index)
        {
            self.mail.post(task, &mut self.rng, at);
        }
    }

    fn flow_begins(&mut self, index: usize, run: RunId, at: OffsetDateTime) {
        let begins = match self.generation {
            Generation::One => self.one.begin_flow(run, at).then_some(at),
            Generation::Three => self.three.begin_flow(run, at),
        };
        let Some(task) = self.ecs.tasks.get_mut(index) else { return };
        let fate = task.fate;
        let next = match begins {
            // The process waits by itself until the server lets it begin.
            Some(later) if later > at => Some((later, Event::Begins(index))),
            Some(_) => {
                task.runs_flow = fate.then != Then::Hangs;
                (fate.then != Then::Hangs).then_some((at + seconds(fate.takes), Event::Ends(index)))
            }
            None => {
                task.exit_code = Some(0);
                Some((at + seconds(PROCESS_ENDS), Event::Stopped(index)))
            }
        };
        self.plan(next);
    }

    fn flow_ends(&mut self, index: usize, run: RunId, at: OffsetDateTime) {
        let Some(task) = self.ecs.tasks.get_mut(index) else { return };
        task.runs_flow = false;
        task.exit_code = Some(if task.fate.then == Then::DiesWithin { 139 } else { 0 });
        match (task.fate.then, self.generation) {
            (Then::DiesWithin, _) => {}
            (Then::RetriesLater, Generation::One) => self.one.retry_task(run, at + seconds(660 + task.fate.takes), at),
            (then, Generation::One) => self.one.end_flow(run, then != Then::Fails, at),
            (then, Generation::Three) => self.three.end_flow(run, then != Then::Fails, at),
        }
        self.plan([(at + seconds(PROCESS_ENDS), Event::Stopped(index))]);
    }
}
