//! Runs that nobody has claimed: whose they are, and what they wait for.

use super::{About, RunVerdict, Standing};
use crate::explain::story::quoted;
use crate::explain::words::{relative, span};
use crate::model::Generation;
use crate::orchestrator::run_facts::{BlockReason, RunFacts, WaitReason};
use crate::poll::prepare::{Earlier, decide_on_earlier};
use time::OffsetDateTime;

impl About<'_> {
    pub(super) fn waiting(&self) -> RunVerdict {
        let mut verdict = self.waits_for();
        let said: Vec<String> = self.run.block_reasons.iter().map(|reason| block_text(reason).0).collect();
        let is_told = |text: &String| verdict.now.contains(text.as_str());
        let mut also: Vec<String> = said.into_iter().filter(|text| !is_told(text)).collect();
        if !matches!(
            verdict.standing,
            Standing::AgentOff
                | Standing::AgentFailing
                | Standing::Maintenance
                | Standing::BadPoll
                | Standing::NotOurs
                | Standing::Paused
        ) {
            also.extend(self.agent_trouble().map(|(_, text, _)| text));
        }
        verdict.also = also;
        verdict
    }

    pub(super) fn waits_for(&self) -> RunVerdict {
        let RunFacts { state, waits, due_at, .. } = self.run;
        let now = self.facts.now;
        if let Some(reason) = self.run.block_reasons.iter().find(|reason| reason.is_foreign()) {
            let (text, advice) = block_text(reason);
            return RunVerdict::new(Standing::NotOurs, format!("It is not this agent's: {text}")).advice(advice);
        }
        match waits {
            WaitReason::Paused => {
                let text = format!("It has been paused{}", self.for_so_long());
                return RunVerdict::new(Standing::Paused, text).next("nothing, until somebody resumes it", None);
            }
            WaitReason::Other => {
                let text = format!("It is {state}{}: agents launch what is Scheduled", self.for_so_long());
                return RunVerdict::new(Standing::NotScheduled, text);
            }
            WaitReason::Scheduled | WaitReason::Slot => {}
        }
        if let Some(off) = self.agent_trouble().filter(|(standing, ..)| *standing == Standing::AgentOff) {
            let (standing, text, advice) = off;
            return RunVerdict::new(standing, format!("{}, but {text}", self.when_due())).advice(advice);
        }
        if *waits == WaitReason::Slot {
            let said = self.run.message.as_deref().map(|said| format!(" ({})", quoted(said))).unwrap_or_default();
            let text = format!("Prefect lets it wait for a slot of a concurrency limit{said}");
            let verdict =
                RunVerdict::new(Standing::WaitsForSlot, text).advice("raise the limit, or wait for other runs to end");
            return match due_at {
                Some(at) => {
                    let next = format!("it is tried again {}", self.relative(*at));
                    verdict.next(next, self.next_poll(*at))
                }
                None => verdict,
            };
        }
        match *due_at {
            Some(at) if at > now => self.later(at),
            _ => self.due(),
        }
    }

    /// Its time has not come.
    pub(super) fn later(&self, at: OffsetDateTime) -> RunVerdict {
        let agent = &self.facts.agent;
        let again =
            format!("it is due again {}, at {}; the first poll after that takes it", self.relative(at), self.clock(at));
        if let Some(mark) = &self.run.mark {
            let said = self.run.message.as_deref().map(quoted).unwrap_or_default();
            let attempt = format!("after attempt {} of {}", mark.attempt, agent.config.max_launch_attempts);
            let text = format!("It was given back{} {attempt}: {said}", self.since());
            // What was given back waits for its whole time.
            let verdict = RunVerdict::new(Standing::GivenBack, text).next(again, self.next_poll(at));
            let is_short = mark.capacity_refusals > 0;
            return if is_short {
                verdict.advice(format!(
                    "nothing, if it passes: {} of its attempts found no capacity; spot_fallback_after decides when \
                     on-demand capacity is used instead of Spot",
                    mark.capacity_refusals
                ))
            } else {
                verdict
            };
        }
        let text = format!("It is scheduled for {} ({})", self.clock(at), self.relative(at));
        let from = at.saturating_sub(time::Duration::try_from(agent.config.prefetch).unwrap_or_default());
        let ahead = agent.config.prefetch.as_secs();
        let next = match agent.generation() {
            _ if agent.config.prefetch.is_zero() => "the first poll after that launches it".to_owned(),
            Generation::One => {
                format!("polls look {ahead} s ahead: one that sees it holds it, and launches it at that time")
            }
            Generation::TwoOrThree => format!("polls look {ahead} s ahead: the first that sees it launches it"),
        };
        RunVerdict::new(Standing::ScheduledLater, text).next(next, self.next_poll(from))
    }

    pub(super) fn when_due(&self) -> String {
        match self.run.due_at {
            Some(at) if at <= self.facts.now => format!("It has been due for {}", span(self.facts.now - at)),
            Some(at) => format!("It is scheduled for {} ({})", self.clock(at), self.relative(at)),
            None => "It is due".to_owned(),
        }
    }

    /// Its time has come.
    pub(super) fn due(&self) -> RunVerdict {
        if let Some(reason) = self.run.block_reasons.first() {
            let (text, advice) = block_text(reason);
            let now = format!("{}, but {text}", self.when_due());
            let next = "the first poll after that has changed takes it";
            return RunVerdict::new(Standing::HeldBack, now).next(next, None).advice(advice);
        }
        if let Some((standing, text, advice)) = self.agent_trouble() {
            return RunVerdict::new(standing, format!("{}, but {text}", self.when_due())).advice(advice);
        }
        let agent = &self.facts.agent;
        if let Some(trouble) = self.last_trouble() {
            let now = format!("{}, and {trouble}", self.when_due());
            let verdict = RunVerdict::new(Standing::BadPoll, now);
            let verdict = verdict.next("the next poll tries again", self.next_poll(self.facts.now));
            return verdict
                .advice("see the error in that poll's report (the poll function's log, or `poll --dry-run`)");
        }
        let polled = agent.health.as_ref().and_then(|health| health.last_poll);
        let at = self.next_poll(self.facts.now);
        // One that was scheduled anew for a time long past is to be had since then, and not before.
        let left = polled.zip(self.run.due_at.max(self.run.since)).filter(|(polled, from)| {
            // A poll ends some seconds after it has looked; what came meanwhile it cannot have seen.
            *polled - time::Duration::seconds(15) > *from
        });
        if let Some((polled, _)) = left {
            let others = match agent.deferred {
                Some(count) if count > 0 => format!("; it left {count} runs for later"),
                _ => String::new(),
            };
            let text = format!(
                "{}, and the last poll, {}, did not take it{others}",
                self.when_due(),
                relative(polled, self.facts.now)
            );
            let advice = "see `deferred` and `skipped` in the poll's report (the poll function's log, or `poll --dry-run`): \
                          they say why, e.g. `limit`, `launch_rate`, the end of the invocation";
            return RunVerdict::new(Standing::LeftByPoll, text).next("the next poll tries again", at).advice(advice);
        }
        let does = match decide_on_earlier(&self.live(), false, "task").earlier {
            Earlier::None => "launches it".to_owned(),
            Earlier::Adopt(arn) => format!("gives it the task {arn}, which has not begun"),
            Earlier::Wait(why) => format!("does not launch it yet: {why}"),
        };
        let next = match agent.health {
            Some(_) => format!("the next poll {does}"),
            None => format!("the agent's next poll {does}{}", self.unless_stopped()),
        };
        RunVerdict::new(Standing::Due, self.when_due()).next(next, at)
    }
}

/// A reason in a sentence, and what to do about it.
pub(super) fn block_text(reason: &BlockReason) -> (String, String) {
    let list = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match reason {
        BlockReason::NoPool => (
            "the run belongs to no work pool; the process that created or serves it runs it".to_owned(),
            "deploy its flow to a work pool, where an agent should run it".to_owned(),
        ),
        BlockReason::OtherPool { pool, served } => (
            format!("its deployment is of work pool `{pool}`, and the agent serves `{served}`"),
            format!("see that a worker or an agent serves `{pool}`, or move the deployment"),
        ),
        BlockReason::OtherQueue { queue, served } => (
            format!("queue `{queue}` is not among work_queues ({})", list(served)),
            format!("add `{queue}` to work_queues, or leave work_queues out to serve them all"),
        ),
        BlockReason::Labels { run, agent } if run.is_empty() => (
            format!("it has no labels, and the agent has {}: unlabelled runs are for unlabelled agents", list(agent)),
            "label the flow, or let an agent without labels poll".to_owned(),
        ),
        BlockReason::Labels { run, agent } => {
            let missing: Vec<String> = run.iter().filter(|label| !agent.contains(label)).cloned().collect();
            let has = if agent.is_empty() { "none".to_owned() } else { list(agent) };
            (
                format!("its labels do not match: the agent lacks {} (it has {has})", list(&missing)),
                format!("add {} to the agent's labels, or take them from the run", list(&missing)),
            )
        }
        BlockReason::OtherTenant => (
            "it belongs to another tenant than the agent's".to_owned(),
            "see tenant_id and the API key of the agent".to_owned(),
        ),
        BlockReason::RetriedInProcess => (
            "the process that ran it retries it itself".to_owned(),
            "see whether that process still lives; else set the run's state to Scheduled".to_owned(),
        ),
        BlockReason::PoolPaused(pool) => {
            (format!("work pool `{pool}` is paused"), format!("prefect work-pool resume '{pool}'"))
        }
        BlockReason::QueuePaused { queue, pool } => {
            (format!("queue `{queue}` is paused"), format!("prefect work-queue resume '{queue}' --pool '{pool}'"))
        }
        BlockReason::PoolFull(slots) => (
            format!("work pool `{}` is full: {} of {} slots are taken", slots.name, slots.taken, slots.limit),
            "wait for its runs to end, or raise the pool's concurrency limit; runs that are stuck in Pending take slots too"
                .to_owned(),
        ),
        BlockReason::QueueFull(slots) => (
            format!("queue `{}` is full: {} of {} slots are taken", slots.name, slots.taken, slots.limit),
            "wait for its runs to end, or raise the queue's concurrency limit; runs that are stuck in Pending take slots too"
                .to_owned(),
        ),
        BlockReason::DeploymentClosed => (
            "the concurrency limit of its deployment is 0".to_owned(),
            "raise the deployment's concurrency limit".to_owned(),
        ),
    }
}
