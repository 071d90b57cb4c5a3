//! The rules of state transitions, in the server's order: the first that objects decides.

use super::{FlowRun, Generation, RunState, StateType, switches::Switches};
use time::{Duration, OffsetDateTime};

/// Why a proposed state is not simply accepted.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// The run keeps its state.
    Reject(String),
    /// The run gets another state.
    Replace(Box<RunState>, String),
    /// The run keeps its state, and the client is to give up.
    Abort(String),
    /// The client is to ask again in so many seconds.
    Wait(i64, String),
}

impl Verdict {
    fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }

    fn abort(reason: impl Into<String>) -> Self {
        Self::Abort(reason.into())
    }
}

/// A proposed transition.
pub(super) struct Case<'a> {
    pub(super) run: &'a FlowRun,
    pub(super) from: &'a RunState,
    pub(super) to: &'a RunState,
    pub(super) switches: &'a Switches,
    pub(super) now: OffsetDateTime,
}

/// One rule: an objection, or none.
pub(super) type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// The rules before the deployment's slots are asked.
pub(super) const BEFORE_SLOTS: [Rule; 5] = [
    prevent_duplicates,
    leave_terminal,
    only_cancelled_after_cancelling,
    cancel_without_infrastructure,
    prevent_pending,
];

/// The rules after that.
pub(super) const AFTER_SLOTS: [Rule; 5] = [only_scheduled_is_late, pause, resume, wait_for_scheduled_time, retry];

/// What holds when a client forces its state.
pub(super) const FORCED: [Rule; 2] = [keep_results, cancel_without_infrastructure];

/// The first objection of some rules.
pub(super) fn first(rules: &[Rule], case: &Case<'_>) -> Option<Verdict> {
    rules.iter().find_map(|rule| rule(case))
}

fn prevent_duplicates(case: &Case<'_>) -> Option<Verdict> {
    let id = case.to.details.transition_id.as_ref()?;
    let same = case.from.details.transition_id.as_ref() == Some(id);
    same.then(|| Verdict::reject("This run has already made this state transition."))
}

/// Data of a result that is kept somewhere.
fn has_result(state: &RunState) -> bool {
    state.data.as_object().is_some_and(|data| data.get("type").is_none_or(|kind| kind != "unpersisted"))
}

fn keep_results(case: &Case<'_>) -> Option<Verdict> {
    let completed = |state: &RunState| state.kind == StateType::Completed;
    let loses = completed(case.from) && completed(case.to) && has_result(case.from) && !has_result(case.to);
    let reason = "Cannot overwrite a COMPLETED state that carries persisted result data with one that does not.";
    (loses && case.switches.generation == Generation::Three).then(|| Verdict::reject(reason))
}

fn leave_terminal(case: &Case<'_>) -> Option<Verdict> {
    let (from, to) = (case.from, case.to);
    if !from.kind.is_final() {
        return None;
    }
    if matches!(to.kind, StateType::Cancelling | StateType::Paused | StateType::Crashed) {
        return Some(Verdict::abort(format!("Run is already in terminal state {}.", from.kind.name())));
    }
    if from.kind == StateType::Completed && !to.kind.is_final() && has_result(from) {
        return Some(Verdict::reject("Run is already COMPLETED."));
    }
    if let Some(objection) = keep_results(case) {
        return Some(objection);
    }
    let homeless = to.kind == StateType::Scheduled && case.run.deployment_id.is_none();
    homeless.then(|| Verdict::abort("Cannot reschedule a run without an associated deployment."))
}

fn only_cancelled_after_cancelling(case: &Case<'_>) -> Option<Verdict> {
    let cancels = match case.switches.generation {
        Generation::TwoTen | Generation::Two => matches!(case.from.kind, StateType::Cancelling | StateType::Cancelled),
        Generation::Three => case.from.kind == StateType::Cancelling,
    };
    let leaves = cancels && case.to.kind != StateType::Cancelled;
    let reason = "Cannot transition flows that are cancelling to a state other than Cancelled.";
    leaves.then(|| Verdict::reject(reason))
}

fn cancel_without_infrastructure(case: &Case<'_>) -> Option<Verdict> {
    if case.to.kind != StateType::Cancelling {
        return None;
    }
    let launched = case.run.infrastructure_pid.as_deref().is_some_and(|pid| !pid.is_empty());
    let reason = match case.from.kind {
        StateType::Scheduled if !launched || case.from.name == "Resuming" => {
            "Scheduled flow run has no infrastructure to terminate."
        }
        StateType::Paused if case.from.details.pause_reschedule => {
            "Suspended flow run has no infrastructure to terminate."
        }
        _ => return None,
    };
    Some(Verdict::Replace(RunState::new(StateType::Cancelled, case.now).into(), reason.to_owned()))
}

/// Whether a Pending run only moves on to a named state below Pending.
pub(super) fn is_sub_state(from: &RunState, to: &RunState, switches: &Switches) -> bool {
    switches.sub_states
        && switches.generation == Generation::Three
        && from.kind == StateType::Pending
        && to.kind == StateType::Pending
        && from.name != to.name
        && to.name != "Pending"
}

fn prevent_pending(case: &Case<'_>) -> Option<Verdict> {
    let (from, to) = (case.from, case.to);
    let refuses =
        matches!(from.kind, StateType::Pending | StateType::Cancelling | StateType::Running | StateType::Cancelled);
    if to.kind != StateType::Pending || !refuses || is_sub_state(from, to, case.switches) {
        return None;
    }
    let reason = format!("This run is in a {} state and cannot transition to a PENDING state.", from.kind.name());
    Some(Verdict::Abort(reason))
}

/// Only Scheduled runs become late, and only once.
pub(super) fn only_scheduled_is_late(case: &Case<'_>) -> Option<Verdict> {
    if case.to.kind != StateType::Scheduled || case.to.name != "Late" {
        return None;
    }
    if case.from.kind != StateType::Scheduled {
        return Some(Verdict::reject("Only scheduled flows can be marked late."));
    }
    (case.from.name == "Late").then(|| Verdict::reject("This flow run is already marked late."))
}

fn pause(case: &Case<'_>) -> Option<Verdict> {
    let (run, to) = (case.run, case.to);
    if to.kind != StateType::Paused {
        return None;
    }
    let verb = if to.name == "Suspended" { "suspend" } else { "pause" };
    if case.from.kind != StateType::Running {
        return Some(Verdict::reject(format!("Cannot {verb} flows that are not currently running.")));
    }
    if to.details.pause_key.as_ref().is_some_and(|key| run.policy.pause_keys.contains(key)) {
        return Some(Verdict::reject(format!("This {verb} has already fired.")));
    }
    let homeless = to.details.pause_reschedule && run.deployment_id.is_none();
    homeless.then(|| Verdict::abort(format!("Cannot {verb} flows without a deployment.")))
}

fn resume(case: &Case<'_>) -> Option<Verdict> {
    let (from, to) = (case.from, case.to);
    if from.kind != StateType::Paused {
        return None;
    }
    if matches!(to.kind, StateType::Pending | StateType::Paused) {
        let (to, from) = (to.kind.name(), from.kind.name());
        return Some(Verdict::reject(format!(
            "This run cannot transition to the StateType.{to} state from the StateType.{from} state."
        )));
    }
    let shown = to.name.to_lowercase();
    if from.details.pause_reschedule && case.run.deployment_id.is_none() {
        return Some(Verdict::reject(format!("Cannot reschedule a {shown} flow run without a deployment.")));
    }
    let over = from.details.pause_timeout.is_some_and(|timeout| timeout < case.now);
    if !over || to.kind == StateType::Cancelling {
        return None;
    }
    let message = format!("The flow was {shown} and never resumed.");
    let failed = RunState::new(StateType::Failed, case.now).saying(&message);
    let reason = "The flow run pause has timed out and can no longer resume.";
    Some(Verdict::Replace(failed.into(), reason.to_owned()))
}

fn wait_for_scheduled_time(case: &Case<'_>) -> Option<Verdict> {
    if case.to.kind != StateType::Running || !matches!(case.from.kind, StateType::Scheduled | StateType::Pending) {
        return None;
    }
    let delay = case.from.details.scheduled_time? - case.now;
    // Rounded to the nearest second.
    let seconds = (delay + Duration::milliseconds(500)).whole_seconds();
    (seconds > 0).then(|| Verdict::Wait(seconds, "Scheduled time is in the future".to_owned()))
}

fn retry(case: &Case<'_>) -> Option<Verdict> {
    let policy = &case.run.policy;
    if case.from.kind != StateType::Running || case.to.kind != StateType::Failed {
        return None;
    }
    policy.retries.filter(|retries| case.run.run_count <= *retries)?;
    let mut state = RunState::new(StateType::Scheduled, case.now).named("AwaitingRetry");
    state.message.clone_from(&case.to.message);
    state.data = case.to.data.clone();
    state.details.scheduled_time = Some(case.now + Duration::seconds(policy.retry_delay.unwrap_or_default()));
    state.details.deployment_concurrency_lease_id.clone_from(&case.from.details.deployment_concurrency_lease_id);
    Some(Verdict::Replace(state.into(), "Retrying".to_owned()))
}
