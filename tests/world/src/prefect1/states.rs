//! `set_flow_run_states`, and what a new state does to a flow run.

use super::{
    FlowRun, Prefect1, StateRecord,
    execute::Context,
    failure::{self, Failure},
    state_schema, times,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// The code of a refused version.
pub(super) const VERSION_LOCKING: &str = "VERSION_LOCKING_ERROR";

/// Sets states. One that fails makes the whole field fail, but the others are set all the same.
pub(super) fn set_flow_run_states(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let results: Vec<Result<Value, Failure>> =
        input["states"].as_array().into_iter().flatten().map(|one| set_one(context, one)).collect();
    Ok(json!({"states": results.into_iter().collect::<Result<Vec<Value>, Failure>>()?}))
}

fn set_one(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let id = input_uuid(input, "flow_run_id")?;
    let state = state_schema::load(&input["state"], context.now)?;
    let sender = context.caller.agent_id.clone();
    let tenant = context.prefect1.flow_run(&id).map(|run| run.tenant_id.clone());
    if !tenant.is_some_and(|tenant| context.caller.sees(&tenant)) {
        return Err(Failure::new(format!("State update failed for flow run ID {id}")));
    }
    let stored = context.prefect1.set_flow_run_state(&id, state, input["version"].as_i64(), sender, context.now)?;
    Ok(match stored {
        Stored::AsSent => json!({"id": id, "status": "SUCCESS", "message": null}),
        Stored::Queued => json!({"id": id, "status": "QUEUED", "message": "concurrency limit"}),
    })
}

/// A UUID of a Prefect input.
pub(super) fn input_uuid(input: &Value, key: &str) -> Result<String, Failure> {
    let given = &input[key];
    given
        .as_str()
        .and_then(times::uuid)
        .ok_or_else(|| Failure::new(format!("Expected type UUID!, found {given}; Could not parse UUID: {given}")))
}

/// What became of a state that was to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    AsSent,
    /// The flow's concurrency limit is reached; Queued was stored instead.
    Queued,
}

impl Prefect1 {
    /// Sets a state that has been loaded, by all the rules.
    pub(super) fn set_flow_run_state(
        &mut self,
        id: &str,
        state: Value,
        version: Option<i64>,
        sender: Option<String>,
        now: OffsetDateTime,
    ) -> Result<Stored, Failure> {
        let unknown = || Failure::new(format!("State update failed for flow run ID {id}"));
        let submitted = state["type"] == "Submitted";
        if submitted {
            self.lock_submitted(id, now)?;
        }
        let locking = self.switches.version_locking;
        let queued = submitted && self.is_at_limit();
        let agent = sender.clone().filter(|agent| self.agents.iter().any(|known| known.id.eq_ignore_ascii_case(agent)));
        let run = self.flow_run_mut(id).ok_or_else(unknown)?;
        if let Some(version) =
            version.filter(|version| (locking || run.flow.version_locking) && *version != run.version)
        {
            let current = run.version;
            let message = format!(
                "State update failed for {id}: provided a version of {version} but current version is {current}"
            );
            return Err(Failure::coded(VERSION_LOCKING, message));
        }
        if queued {
            let waiting =
                json!({"type": "Queued", "message": "Queued by flow concurrency limit", "state": state["state"]});
            run.push_state(state_schema::load(&waiting, now)?, sender, now);
            return Ok(Stored::Queued);
        }
        if submitted && agent.is_some() {
            run.agent_id = agent;
        }
        run.push_state(state, sender, now);
        Ok(Stored::AsSent)
    }

    /// A run that was submitted a moment ago cannot be submitted again.
    fn lock_submitted(&mut self, id: &str, now: OffsetDateTime) -> Result<(), Failure> {
        if self.submitted_until.get(id).is_some_and(|until| *until > now) {
            return Err(Failure::new("State update failed: this run has already been submitted."));
        }
        let lock = Duration::seconds_f64(self.switches.submitted_lock_seconds);
        self.submitted_until.insert(id.to_owned(), now + lock);
        Ok(())
    }

    fn is_at_limit(&self) -> bool {
        let busy = || self.flow_runs.iter().filter(|run| matches!(run.state(), "Submitted" | "Running")).count();
        self.switches.flow_concurrency.is_some_and(|limit| busy() >= limit)
    }
}

impl FlowRun {
    /// Adds a state that has been loaded.
    pub(super) fn push_state(&mut self, serialized: Value, sender: Option<String>, now: OffsetDateTime) {
        let kind = serialized["type"].as_str().unwrap_or_default();
        if matches!(kind, "Submitted" | "Running") {
            self.heartbeat = Some(now);
        }
        if kind == "Running" && self.start_time.is_none() {
            self.start_time = Some(now);
        }
        self.end_time = state_schema::is_finished(kind).then_some(now);
        self.version += 1;
        self.states.push(StateRecord {
            id: times::new_id(),
            version: self.version,
            timestamp: now,
            agent_id: sender,
            serialized,
        });
    }
}

/// What the database says to something it cannot take.
pub(super) fn database_failure() -> Failure {
    Failure::new(failure::DATABASE)
}
