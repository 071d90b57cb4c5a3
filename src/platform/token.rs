//! The names of a launch: `clientToken`, which makes it happen once, and `startedBy`, by which its task is found.

use sha2::{Digest, Sha256};

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

#[cfg(test)]
mod tests;
