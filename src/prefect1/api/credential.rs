//! Which secret goes into `Authorization`.

use crate::config::{AgentSecrets, Backend, Rules, StoredSecret};
use secrecy::{ExposeSecret, SecretString};

/// An API key, else, for Prefect 0.15 only, a legacy token, else nothing.
pub(super) struct Credential {
    api_key: Option<SecretString>,
    auth_token: Option<SecretString>,
    backend: Backend,
}

impl Credential {
    /// Empty secrets count as none.
    pub(super) fn choose(secrets: &AgentSecrets, rules: Rules, backend: Backend) -> Self {
        let auth_token = secrets.auth_token.as_ref().filter(|_| rules == Rules::V0_15);
        Self { api_key: present(secrets.api_key.as_ref()), auth_token: present(auth_token), backend }
    }

    /// The API key.
    pub(super) fn api_key(&self) -> Option<&SecretString> {
        self.api_key.as_ref()
    }

    /// The legacy token, also when a key beats it.
    pub(super) fn auth_token(&self) -> Option<&SecretString> {
        self.auth_token.as_ref()
    }

    /// What goes into `Authorization`.
    pub(super) fn secret(&self) -> Option<&SecretString> {
        self.api_key.as_ref().or(self.auth_token.as_ref())
    }

    /// Nothing goes into `Authorization`.
    pub(super) fn is_none(&self) -> bool {
        self.secret().is_none()
    }

    /// Token mode: Prefect Cloud knows the tenant by the token.
    pub(super) fn is_token(&self) -> bool {
        self.backend == Backend::Cloud && self.api_key.is_none() && self.auth_token.is_some()
    }
}

fn present(secret: Option<&StoredSecret>) -> Option<SecretString> {
    secret.map(|secret| secret.value.clone()).filter(|value| !value.expose_secret().trim().is_empty())
}
