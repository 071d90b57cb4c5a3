//! Who is asking.

use super::{Backend, Prefect1, Switches, times};
use axum::http::HeaderMap;
use serde_json::{Value, json};

/// Who is asking.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// The tenant that the key or token is good for; none on Prefect Server.
    pub(super) tenant_id: Option<String>,
    /// A token's scope; none for API keys and on Prefect Server.
    pub(super) token_scope: Option<String>,
    /// `X-PREFECT-AGENT-ID`, as sent.
    pub(super) agent_id: Option<String>,
    /// `X-PREFECT-CORE-VERSION`
    pub(super) core_version: Option<String>,
}

impl Caller {
    /// None for a caller whom Prefect Cloud does not know.
    pub(super) fn of(prefect1: &Prefect1, headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut caller = Self {
            agent_id: text("x-prefect-agent-id"),
            core_version: text("x-prefect-core-version"),
            ..Self::default()
        };
        if prefect1.switches.backend == Backend::Server {
            return Some(caller);
        }
        let authorization = text("authorization")?;
        let secret = authorization.strip_prefix("Bearer ")?;
        if let Some(token) = prefect1.tokens.get(secret) {
            caller.tenant_id = Some(token.tenant_id.clone());
            caller.token_scope = Some(token.scope.clone());
            return Some(caller);
        }
        let tenants = prefect1.api_keys.get(secret)?;
        caller.tenant_id = match text("x-prefect-tenant-id") {
            None => Some(tenants.first()?.clone()),
            Some(wanted) => Some(tenants.iter().find(|id| times::uuid(&wanted).as_ref() == Some(id))?.clone()),
        };
        Some(caller)
    }

    /// Whether rows of this tenant may be seen.
    pub(super) fn sees(&self, tenant_id: &str) -> bool {
        self.tenant_id.as_deref().is_none_or(|own| own == tenant_id)
    }

    /// The value of `auth_info`. A token's tenant is not told, nor a key's scope.
    pub(super) fn auth_info(&self) -> Value {
        let tenant_id = if self.token_scope.is_some() { None } else { self.tenant_id.clone() };
        json!({"tenant_id": tenant_id, "user_id": null, "api_token_scope": self.token_scope})
    }
}

/// Status and body for a caller whom Prefect Cloud does not know.
pub(super) fn unauthenticated(switches: &Switches) -> (u16, Value) {
    let error = json!({"message": "Unauthenticated", "locations": [], "extensions": {"code": "UNAUTHENTICATED"}});
    let status = if switches.unauthenticated_is_200 { 200 } else { 401 };
    (status, json!({"errors": [error], "data": null}))
}
