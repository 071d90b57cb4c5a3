//! What is remembered of an agent's registration.

use serde::{Deserialize, Serialize};

/// An agent's registration with Prefect, and what it was registered for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Id that the API gave the agent.
    pub agent_id: String,
    /// Tenant it was registered with; `None` in token mode.
    pub tenant_id: Option<String>,
    /// Fingerprint of all that makes the identity (API, name, type, labels, version, configuration id, key); never a secret itself.
    pub identity: String,
    /// Settings fetched from the backend for `agent_config_id`, honoured until fetched again.
    #[serde(default)]
    pub settings: Option<serde_json::Value>,
}
