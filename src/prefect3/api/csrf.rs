//! The token that a self-hosted server may ask for with every write. It is fetched only once a server has asked.

use crate::panics::lock;
use reqwest::header::HeaderValue;
use std::sync::Mutex;

/// Header of the token.
pub(super) const TOKEN_HEADER: &str = "prefect-csrf-token";
/// Header of the client that the token was given to.
pub(super) const CLIENT_HEADER: &str = "prefect-csrf-client";

/// The token of this process. The server gives each client one; a new one makes the old one void.
#[derive(Debug)]
pub(super) struct Csrf {
    /// The client's id.
    pub client: String,
    token: Mutex<Option<HeaderValue>>,
    /// Held while a token is fetched.
    pub fetching: tokio::sync::Mutex<()>,
}

impl Csrf {
    pub(super) fn new(client: String) -> Self {
        Self { client, token: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The token, if the server has asked for one.
    pub(super) fn token(&self) -> Option<HeaderValue> {
        lock(&self.token).clone()
    }

    pub(super) fn set(&self, token: HeaderValue) {
        *lock(&self.token) = Some(token);
    }
}

/// Whether this answer to a request for a token says that the server has none to give: it does not use them (422), or is
/// too old to (404, 405). A 200 without a token is as good.
pub(super) fn is_without(status: u16) -> bool {
    matches!(status, 200..=299 | 404 | 405 | 422)
}

/// Whether a refusal asks for a token, or for a new one. Such a request was not looked at any further.
pub(super) fn is_asked_for(status: u16, body: &[u8]) -> bool {
    let said = String::from_utf8_lossy(body);
    status == 403 && (said.contains("CSRF token") || said.contains("Missing client identifier"))
}
