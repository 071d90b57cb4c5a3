//! Names derived from what they name: the same turn of a run has the same name whoever asks and however often, and nobody
//! else's turn has it.

use serde_json::json;
use uuid::Uuid;

/// Makes the names ours.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c1f_0c0e_2f5b_4f60_9a57_0d1f_3b7e_84c2);

/// The names that one agent of one deployment gives.
#[derive(Debug, Clone)]
pub(super) struct Names {
    identity: String,
}

impl Names {
    /// `identity` names the agent and its deployment: account, region, root, agent.
    pub(super) fn new(identity: String) -> Self {
        Self { identity }
    }

    /// The agent and its deployment.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Epoch of the turn that a SCHEDULED state begins: `transition_id` of its claim and `clientToken` of its launch.
    pub(super) fn claim(&self, flow_run_id: &str, state_id: &str) -> String {
        self.name(&["claim", flow_run_id, state_id])
    }

    /// `transition_id` of the state that ends a claim: given back, crashed.
    pub(super) fn end_of_claim(&self, flow_run_id: &str, claim: &str, state_name: &str) -> String {
        self.name(&["end of claim", flow_run_id, claim, state_name])
    }

    /// `transition_id` of the state that ends a cancelled run, by the epoch of the state that it is in. A poll and
    /// `task-events` may both be about to write it: they name it alike, and the server takes it once.
    pub(super) fn end_of_cancelled(&self, flow_run_id: &str, epoch: &str) -> String {
        self.name(&["cancelled", flow_run_id, epoch])
    }

    /// Id of the event that tells of a launch.
    pub(super) fn event(&self, flow_run_id: &str, claim: &str) -> String {
        self.name(&["event", flow_run_id, claim])
    }

    /// Id of the event that tells what a launch came to.
    pub(super) fn executed_event(&self, flow_run_id: &str, claim: &str) -> String {
        self.name(&["executed event", flow_run_id, claim])
    }

    /// Names this process to a server that gives each of its clients one CSRF token. `session` is the process's own.
    pub(super) fn csrf_client(&self, session: &str) -> String {
        self.name(&["csrf client", session])
    }

    /// Names a worker: what its id at Prefect Cloud was given for.
    pub(super) fn registration(&self, parts: &[&str]) -> String {
        self.name(&[&["registration"], parts].concat())
    }

    fn name(&self, parts: &[&str]) -> String {
        // As JSON the parts cannot run into each other.
        let text = json!([self.identity, parts]).to_string();
        Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
    }
}

/// Whether an id is a derived one, as ours are; other programs' are random.
pub(super) fn is_derived(id: &str) -> bool {
    Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 5)
}
