//! The names of a launch: the token, which makes it happen once, and what the deployments of a run are found by. They are
//! ECS's `clientToken` and `startedBy`, whose limits hold on every platform.

use sha2::{Digest, Sha256};
#[cfg(test)]
mod tests;

/// What names a launch at the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchIdentity {
    /// Id of the flow run.
    pub flow_run_id: String,
    /// Run and epoch: of two launches by one token, the second starts nothing.
    pub token: String,
    /// `prefect/<agent>/<flow run id>`: what deployments of the run are found by.
    pub started_by: String,
}

/// ECS's limit for `startedBy`, characters.
const STARTED_BY_MAX: usize = 128;

/// `clientToken` of a flow run's turn: 64 hexadecimal digits, the longest token ECS takes.
///
/// The agent is not part of it: two agents that race for one run past Prefect's weak lock share one task.
pub fn client_token(flow_run_id: &str, epoch: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(flow_run_id.as_bytes());
    // Keeps (“ab”, “c”) and (“a”, “bc”) apart.
    hash.update([0]);
    hash.update(epoch.as_bytes());
    hex::encode(hash.finalize())
}

/// `startedBy` of a flow run's task: `prefect/<agent>/<flow run id>`, at most 128 letters, digits, `-`, `_` and `/`.
pub fn started_by(agent: &str, flow_run_id: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let part = |text: &str| text.chars().map(allowed).collect::<String>();
    let mut text = format!("prefect/{}/{}", part(agent), part(flow_run_id));
    text.truncate(STARTED_BY_MAX);
    text
}
