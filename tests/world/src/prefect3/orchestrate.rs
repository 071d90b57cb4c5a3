//! Proposed states: what the rules make of them, and what a new state changes in its run.

use super::{
    FlowRun, Generation, Prefect3, RunState, StateType,
    rules::{self, Case, Rule, Verdict},
    slots::Version,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// A client's proposal.
    All,
    /// A client that forces its state, and states that runs are created with.
    Forced,
    /// The service that marks late runs.
    Late,
}

/// What became of a proposal.
#[derive(Debug)]
pub(super) struct Decision {
    /// `ACCEPT`, `REJECT`, `ABORT` or `WAIT`.
    pub(super) status: &'static str,
    /// `details` of the answer.
    pub(super) details: Value,
    /// Whether the run got a state.
    pub(super) written: bool,
}

impl Prefect3 {
    /// Proposes a state for a run; none when there is no such run.
    pub(super) fn propose(
        &mut self,
        run_id: &str,
        mut to: RunState,
        rules: Rules,
        client: Option<Version>,
        now: OffsetDateTime,
    ) -> Option<Decision> {
        let run = self.flow_run(run_id)?.clone();
        if self.switches.generation == Generation::TwoTen {
            to.details.transition_id = None;
        }
        let Some(from) = run.state() else {
            self.write(&run.id, None, to, now);
            return Some(decision("ACCEPT", json!({"type": "accept_details"}), true));
        };
        let verdict = self.verdict(&run, from, &mut to, rules, client, now);
        if rules == Rules::All {
            self.follow(&run, from, &to, verdict.as_ref());
        }
        let (status, details, state) = match verdict {
            None => ("ACCEPT", json!({"type": "accept_details"}), Some(to)),
            Some(Verdict::Reject(reason)) => ("REJECT", json!({"type": "reject_details", "reason": reason}), None),
            Some(Verdict::Replace(state, reason)) => {
                ("REJECT", json!({"type": "reject_details", "reason": reason}), Some(*state))
            }
            Some(Verdict::Abort(reason)) => ("ABORT", json!({"type": "abort_details", "reason": reason}), None),
            Some(Verdict::Wait(seconds, reason)) => {
                ("WAIT", json!({"type": "wait_details", "delay_seconds": seconds, "reason": reason}), None)
            }
        };
        let written = state.is_some();
        if let Some(state) = state {
            if self.switches.generation == Generation::Three {
                if rules == Rules::All {
                    self.drop_old_lease(from, &state, client);
                }
                self.settle_slot(&run, from, &state, status);
            }
            self.write(&run.id, Some(from), state, now);
        }
        if status == "ACCEPT"
            && rules == Rules::All
            && from.kind == StateType::Paused
            && let Some(run) = self.flow_run_mut(&run.id)
        {
            run.policy.resuming = true;
        }
        Some(decision(status, details, written))
    }

    fn verdict(
        &mut self,
        run: &FlowRun,
        from: &RunState,
        to: &mut RunState,
        rules: Rules,
        client: Option<Version>,
        now: OffsetDateTime,
    ) -> Option<Verdict> {
        let slots = self.switches.generation == Generation::Three;
        let deployment_id = run.deployment_id.as_deref();
        match rules {
            Rules::Forced => return self.objection(&rules::FORCED, run, from, to, now),
            Rules::Late => {
                return self.objection(&[rules::only_scheduled_is_late], run, from, to, now).or_else(|| {
                    let state =
                        RunState::new(StateType::Cancelled, now).saying("Deployment concurrency limit reached.");
                    let reason = "Deployment concurrency limit is full and uses the CANCEL_NEW strategy.";
                    let cancels = slots && self.cancels_late_runs(deployment_id);
                    cancels.then(|| Verdict::Replace(state.into(), reason.to_owned()))
                });
            }
            Rules::All => {}
        }
        if slots && to.details.deployment_concurrency_lease_id.is_none() {
            to.details.deployment_concurrency_lease_id.clone_from(&from.details.deployment_concurrency_lease_id);
        }
        if let Some(objection) = self.objection(&rules::BEFORE_SLOTS, run, from, to, now) {
            return Some(objection);
        }
        if rules::is_sub_state(from, to, &self.switches) {
            to.details.scheduled_time = from.details.scheduled_time;
        }
        let held = |kind| matches!(kind, StateType::Pending | StateType::Running | StateType::Cancelling);
        let objection = match (from.kind, to.kind) {
            (StateType::Pending, StateType::Running) if slots => self.renew_slot(deployment_id, to, client, now),
            (from, StateType::Pending) if slots && !held(from) => self.secure_slot(deployment_id, to, client, now),
            _ => None,
        };
        if objection.is_some() {
            return objection;
        }
        if from.kind == StateType::Scheduled && to.kind == StateType::Pending {
            to.details.scheduled_time = to.details.scheduled_time.or(from.details.scheduled_time);
        }
        self.objection(&rules::AFTER_SLOTS, run, from, to, now)
    }

    fn objection(
        &self,
        rules: &[Rule],
        run: &FlowRun,
        from: &RunState,
        to: &RunState,
        now: OffsetDateTime,
    ) -> Option<Verdict> {
        rules::first(rules, &Case { run, from, to, switches: &self.switches, now })
    }

    /// What rules change in the run's policy.
    fn follow(&mut self, run: &FlowRun, from: &RunState, to: &RunState, verdict: Option<&Verdict>) {
        let mut policy = run.policy.clone();
        match verdict {
            Some(Verdict::Replace(state, _)) if state.name == "AwaitingRetry" => {
                policy.resuming = false;
                policy.pause_keys.clear();
                policy.retry_type = Some("in_process".to_owned());
            }
            Some(_) => {}
            None => {
                if from.kind.is_final() && !to.kind.is_final() {
                    policy.resuming = false;
                    policy.pause_keys.clear();
                    policy.retry_type = (to.kind == StateType::Scheduled).then(|| "reschedule".to_owned());
                }
                if from.kind == StateType::Running && to.kind == StateType::Failed {
                    policy.retry_type = None;
                }
                if to.kind == StateType::Paused {
                    policy.pause_keys.push(to.details.pause_key.clone().unwrap_or_else(super::times::new_id));
                }
            }
        }
        if let Some(run) = self.flow_run_mut(&run.id) {
            run.policy = policy;
        }
    }

    /// Forgets the lease of a client that cannot keep it.
    fn drop_old_lease(&mut self, from: &RunState, state: &RunState, client: Option<Version>) {
        if from.kind == StateType::Pending
            && matches!(state.kind, StateType::Running | StateType::Cancelling)
            && !Version::keeps_leases(client)
        {
            self.revoke_lease(from.details.deployment_concurrency_lease_id.as_deref());
        }
    }

    /// Gives a slot back.
    fn settle_slot(&mut self, run: &FlowRun, from: &RunState, state: &RunState, status: &str) {
        let holds = |kind| matches!(kind, StateType::Pending | StateType::Running | StateType::Cancelling);
        let lease = from.details.deployment_concurrency_lease_id.as_deref();
        let retries_in_process = status == "REJECT" && state.name == "AwaitingRetry";
        if holds(from.kind) && !holds(state.kind) && !retries_in_process {
            self.release_slot(run.deployment_id.as_deref(), lease);
        }
    }

    /// Gives a run a state.
    fn write(&mut self, run_id: &str, from: Option<&RunState>, mut state: RunState, now: OffsetDateTime) {
        let ends_unstarted = self.switches.generation == Generation::Three;
        let Some(run) = self.flow_run_mut(run_id) else { return };
        while run.states.iter().any(|one| one.timestamp == state.timestamp) {
            state.timestamp += Duration::MICROSECOND;
        }
        let (kind, at) = (state.kind, state.timestamp);
        state.details.flow_run_id = Some(run.id.clone());
        if kind == StateType::Running {
            run.start_time.get_or_insert(at);
            if !run.policy.resuming {
                run.run_count += 1;
            }
        }
        if kind.is_final() {
            if run.end_time.is_none() && (ends_unstarted || run.start_time.is_some()) {
                run.start_time.get_or_insert(at);
                run.end_time = Some(at);
            }
        } else if from.is_some_and(|from| from.kind.is_final()) {
            run.end_time = None;
        }
        if let Some(from) = from.filter(|from| from.kind == StateType::Running) {
            run.total_run_time += at - from.timestamp;
        }
        if run.policy.resuming && (kind == StateType::Running || kind.is_final()) {
            run.policy.resuming = false;
        }
        let scheduled = (kind == StateType::Scheduled).then_some(state.details.scheduled_time).flatten();
        run.expected_start_time.get_or_insert(scheduled.unwrap_or(at));
        if scheduled.is_some() || from.is_some_and(|from| from.kind == StateType::Scheduled) {
            run.next_scheduled_start_time = scheduled;
        }
        run.updated = now;
        run.states.push(state);
        self.emit(run_id, now);
    }
}

fn decision(status: &'static str, details: Value, written: bool) -> Decision {
    Decision { status, details, written }
}
