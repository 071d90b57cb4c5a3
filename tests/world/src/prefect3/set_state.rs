//! States of flow runs: setting them, and their history.

use super::{
    Prefect3, RunState, StateType,
    answer::{Answer, Outcome, detail, exception, invalid},
    fields::Fields,
    orchestrate::{Decision, Rules},
    routes::Call,
    times,
};
use serde_json::{Value, json};

/// `POST /flow_runs/{id}/set_state`
pub(super) fn set_state(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    fields.required("state")?;
    let Some(proposed) = fields.child("state")? else { return Err(detail(422, "")) };
    let state = RunState::read(proposed, call.now)?;
    let rules = if fields.boolean("force")?.unwrap_or_default() { Rules::Forced } else { Rules::All };
    propose(call, state, rules)
}

fn propose(call: &mut Call<'_>, state: RunState, rules: Rules) -> Outcome {
    let id = call.parameter(0);
    let decision = call.prefect3.propose(&id, state, rules, call.client, call.now);
    let decision = decision.ok_or_else(|| exception(404, format!("Flow run with id {id} not found")))?;
    Ok(call.prefect3.decision_answer(&id, &decision))
}

impl Prefect3 {
    /// 201 when a state was written, else 200.
    fn decision_answer(&self, run_id: &str, decision: &Decision) -> Answer {
        let state = self.flow_run(run_id).and_then(|run| run.state());
        let body = json!({
            "state": state.map(|state| state.row(self.switches.generation)),
            "status": decision.status,
            "details": decision.details,
        });
        Answer::json(if decision.written { 201 } else { 200 }, body)
    }
}

/// `POST /flow_runs/{id}/resume`: a suspended run is Scheduled again, a paused one goes on Running.
pub(super) fn resume(call: &mut Call<'_>) -> Outcome {
    let id = call.parameter(0);
    let run = call.prefect3.flow_run(&id).ok_or_else(|| detail(404, "Flow run not found"))?;
    let paused = run.state().filter(|state| state.kind == StateType::Paused);
    let Some(paused) = paused else {
        let details = json!({"type": "abort_details", "reason": "Cannot resume a flow run that is not paused."});
        return Ok(Answer::ok(json!({"state": null, "status": "ABORT", "details": details})));
    };
    let state = if paused.details.pause_reschedule {
        RunState::new(StateType::Scheduled, call.now).named("Resuming")
    } else {
        RunState::new(StateType::Running, call.now)
    };
    propose(call, state, Rules::All)
}

/// `GET /flow_run_states/?flow_run_id=`: oldest first.
pub(super) fn history(call: &mut Call<'_>) -> Outcome {
    let given = call.query_parameter("flow_run_id")?;
    let loc = ["query".into(), "flow_run_id".into()];
    let id = times::uuid(&given)
        .ok_or_else(|| invalid("uuid_parsing", &loc, "Input should be a valid UUID", &Value::from(given)))?;
    let generation = call.prefect3.switches.generation;
    let mut states: Vec<&RunState> = call.prefect3.flow_run(&id).into_iter().flat_map(|run| &run.states).collect();
    states.sort_by_key(|state| state.timestamp);
    Ok(Answer::ok(states.into_iter().map(|state| state.row(generation)).collect()))
}

/// `GET /flow_run_states/{id}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let id = call.parameter(0);
    let mut states = call.prefect3.flow_runs.iter().flat_map(|run| &run.states);
    let state = states.find(|state| state.id == id).ok_or_else(|| detail(404, "Flow run state not found"))?;
    Ok(Answer::ok(state.row(call.prefect3.switches.generation)))
}
