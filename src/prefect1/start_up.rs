//! Start-up: who we are to the API. Once per process; nothing is sent when an earlier process registered the same.

use super::queries::{self, Scope};
use super::transport::Sender;
use super::{Config, Prefect1, Session};
use crate::config::Backend;

use crate::model::ApiError;
use crate::model::Registration;
use crate::transport::shape::{described, text_at};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

impl Prefect1 {
    /// The registration of this agent. Settings kept in the backend are fetched at each start, as the Python agent did,
    /// and before everything else: they may change name and labels, and with them the identity.
    pub(super) async fn connect(&self, remembered: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        self.check_credential()?;
        let settings = self.fetch_settings().await?;
        let mut config = self.config.clone();
        let warnings = settings.as_ref().map(|settings| (self.apply_settings)(&mut config, settings));
        let identity = self.identity(&config);
        let session = |config, tenant_id: Option<String>, agent_id| {
            let warnings = warnings.clone().unwrap_or_default();
            Arc::new(Session::new(config, tenant_id, agent_id, warnings, &self.credential))
        };

        if let Some(known) = remembered.filter(|known| self.fits(known, &identity)) {
            self.set_session(session(config, known.tenant_id.clone(), Some(known.agent_id.clone())));
            return Ok(Some(Registration { settings, ..known.clone() }));
        }
        let tenant_id = self.find_tenant().await?;
        if self.read_only {
            self.set_session(session(config, tenant_id, None));
            return Ok(None);
        }
        let agent_id = self.register(&config, tenant_id.as_deref()).await?;
        self.set_session(session(config, tenant_id.clone(), Some(agent_id.clone())));
        Ok(Some(Registration { agent_id, tenant_id, identity, settings }))
    }

    /// Prefect Cloud knows nobody without a credential; Prefect Server needs none.
    fn check_credential(&self) -> Result<(), ApiError> {
        if self.config.generation.backend == Backend::Cloud && self.credential.is_none() {
            return Err(ApiError::Unauthorised("no API key is configured for this agent".into()));
        }
        Ok(())
    }

    async fn fetch_settings(&self) -> Result<Option<Value>, ApiError> {
        let Some(id) = &self.config.generation.agent_config_id else { return Ok(None) };
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::agent_config(id)).await?;
        match answer.list("agent_config")?.first() {
            Some(Value::Object(row)) => Ok(Some(row.get("settings").cloned().unwrap_or_default())),
            Some(row) => Err(ApiError::Malformed(format!("a row of `agent_config` is {}", described(Some(row))))),
            None => {
                Err(ApiError::Configuration(format!("agent_config_id: the Prefect API knows no agent config {id}")))
            }
        }
    }

    /// The tenant; `None` in token mode, where the token stands for it.
    async fn find_tenant(&self) -> Result<Option<String>, ApiError> {
        if self.credential.is_token() {
            self.check_token_scope().await?;
            return Ok(None);
        }
        let one = &self.config.generation;
        if let Some(tenant_id) = &one.tenant_id {
            return Ok(Some(tenant_id.clone()));
        }
        match one.backend {
            Backend::Cloud => self.tenant_of_key().await.map(Some),
            Backend::Server => self.first_tenant().await.map(Some),
        }
    }

    async fn check_token_scope(&self) -> Result<(), ApiError> {
        // A tenant goes with API keys only, so the look-up names nobody.
        let answer = self.transport.read(Sender::default(), &queries::token_scope()).await?;
        match text_at(answer.field("auth_info")?, &["api_token_scope"]) {
            Some("RUNNER") => Ok(()),
            scope => Err(ApiError::Unauthorised(format!(
                "the token must have the scope RUNNER, it has {}",
                scope.unwrap_or("none")
            ))),
        }
    }

    async fn tenant_of_key(&self) -> Result<String, ApiError> {
        let answer = self.transport.read(Sender::default(), &queries::tenant_of_key()).await?;
        let tenant_id = text_at(answer.field("auth_info")?, &["tenant_id"]);
        tenant_id.map(str::to_owned).ok_or_else(|| {
            ApiError::Unauthorised(
                "the API key belongs to no tenant; a token was used where an API key is needed".into(),
            )
        })
    }

    async fn first_tenant(&self) -> Result<String, ApiError> {
        let answer = self.transport.read(Sender::default(), &queries::tenants()).await?;
        let Some(tenant) = answer.list("tenant")?.first() else {
            return Err(ApiError::Configuration(
                "the Prefect Server has no tenants: create one with `prefect server create-tenant` or set tenant_id"
                    .into(),
            ));
        };
        let tenant_id = text_at(tenant, &["id"]).map(str::to_owned);
        tenant_id.ok_or_else(|| ApiError::Malformed("the first row of `tenant` has no id".into()))
    }

    async fn register(&self, config: &Config, tenant_id: Option<&str>) -> Result<String, ApiError> {
        let one = &config.generation;
        let scope = Scope { tenant_id: tenant_id.map(str::to_owned), labels: one.labels.clone() };
        let id = self.config.generation.agent_config_id.as_deref();
        let document = queries::register_agent(config, &scope, id);
        let sender = Sender { tenant_id: self.tenant_header(tenant_id), agent_id: None };
        // Registering again finds the same agent, so it may be repeated like a read.
        let answer = self.transport.read(sender, &document).await?;
        let id = text_at(answer.field("register_agent")?, &["id"]);
        id.map(str::to_owned).ok_or_else(|| ApiError::Malformed("no id for the registered agent".into()))
    }

    fn fits(&self, known: &Registration, identity: &str) -> bool {
        known.identity == identity && (known.tenant_id.is_some() || self.credential.is_token())
    }

    /// All that makes the agent's identity, hashed; the key goes in as a hash of its own.
    fn identity(&self, config: &Config) -> String {
        let one = &config.generation;
        let mut labels = one.labels.clone();
        labels.sort_unstable();
        let key = self.credential.secret().map(|secret| hex::encode(Sha256::digest(secret.expose_secret())));
        let parts = json!([
            config.api,
            one.backend.as_str(),
            config.name,
            "ECSAgent",
            labels,
            one.rules.core_version(),
            self.config.generation.agent_config_id,
            self.config.generation.tenant_id,
            self.credential.is_token(),
            key,
        ]);
        hex::encode(Sha256::digest(parts.to_string()))
    }
}

#[cfg(test)]
mod tests;
