//! What the fakes of Prefect show of a run: how far it is, and how many states it has had.

use crate::config::MARKED_AS;
use crate::run::{Held, Phase};
use prefect_serverless_agent::orchestrator::Mark;
use serde_json::Value;
use world::prefect1::{FlowRun as Run1, StateRecord};
use world::prefect3::{FlowRun as Run3, RunState, StateType};

/// How far a run of Prefect 1 is.
pub(super) fn phase1(run: &Run1) -> Phase {
    match run.state() {
        "Scheduled" => Phase::Scheduled(run.current().and_then(StateRecord::start_time).unwrap_or(run.created)),
        "Retrying" | "Paused" | "Queued" | "Resume" => Phase::Waiting,
        "Submitted" => Phase::Claimed(run.current().map_or_else(nobodys, |state| held1(&state.serialized))),
        "Running" => {
            let claimed = run.task_runs.iter().filter(|task_run| task_run.state() == "Submitted");
            Phase::Running(claimed.filter_map(|task_run| Some(held1(&task_run.current()?.serialized))).collect())
        }
        "Cancelling" => Phase::Cancelling,
        "Cancelled" => Phase::Cancelled,
        _ => Phase::Ended,
    }
}

fn nobodys() -> Held {
    Held { token: String::new(), is_ours: false }
}

/// The claim that a state is.
pub(super) fn held1(state: &Value) -> Held {
    let mark = &state["context"][Mark::KEY];
    Held { token: mark["token"].as_str().unwrap_or_default().to_owned(), is_ours: mark["agent"] == MARKED_AS }
}

/// Counts the states of a run of Prefect 1, and those of its task runs.
pub(super) fn version1(run: &Run1) -> u64 {
    let all = run.version + run.task_runs.iter().map(|task_run| task_run.version).sum::<i64>();
    u64::try_from(all).unwrap_or_default()
}

/// How far a run of Prefect 3 is.
pub(super) fn phase3(run: &Run3) -> Phase {
    let Some(state) = run.state() else { return Phase::Ended };
    match state.kind {
        StateType::Scheduled => Phase::Scheduled(run.next_scheduled_start_time.unwrap_or(state.timestamp)),
        StateType::Paused => Phase::Waiting,
        StateType::Pending => {
            let claim = run.states.iter().rev().find(|state| state.name == "Pending");
            Phase::Claimed(claim.map_or_else(nobodys, held3))
        }
        StateType::Running => Phase::Running(Vec::new()),
        StateType::Cancelling => Phase::Cancelling,
        StateType::Cancelled => Phase::Cancelled,
        StateType::Completed | StateType::Failed | StateType::Crashed => Phase::Ended,
    }
}

pub(super) fn held3(state: &RunState) -> Held {
    let token = state.details.transition_id.clone().unwrap_or_default();
    Held { token, is_ours: state.data[Mark::KEY].is_object() }
}
