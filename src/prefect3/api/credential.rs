//! What goes into `Authorization`.

use crate::config::{AgentSecrets, StoredSecret};
use crate::model::ApiError;
use crate::transport::headers;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// The agent's API key and auth string; empty ones count as none.
#[derive(Debug, Clone, Default)]
pub(super) struct Credential {
    /// API key of Prefect Cloud, or of what stands before a server.
    pub api_key: Option<SecretString>,
    /// `user:password` of a self-hosted server; it beats the key.
    pub auth_string: Option<SecretString>,
    /// Further headers, as flow runs get them: a JSON object.
    pub client_headers: Option<SecretString>,
}

impl Credential {
    pub(super) fn of(secrets: &AgentSecrets) -> Self {
        Self {
            api_key: present(secrets.api_key.as_ref()),
            auth_string: present(secrets.auth_string.as_ref()),
            client_headers: secrets.client_headers.as_ref().map(|headers| headers.stored.value.clone()),
        }
    }

    /// The header's value.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, ApiError> {
        let value = match (&self.auth_string, &self.api_key) {
            (Some(auth_string), _) => format!("Basic {}", encoded(auth_string)),
            (None, Some(key)) => format!("Bearer {}", key.expose_secret()),
            (None, None) => return Ok(None),
        };
        headers::authorization(&value).map(Some)
    }
}

fn encoded(auth_string: &SecretString) -> String {
    aws_smithy_types::base64::encode(auth_string.expose_secret())
}

fn present(secret: Option<&StoredSecret>) -> Option<SecretString> {
    let trimmed = secret?.value.expose_secret().trim();
    (!trimmed.is_empty()).then(|| trimmed.into())
}

#[cfg(test)]
mod tests;
