//! The one HTTP client for Prefect: TLS roots, time limits, and what a network error says about the effect.
//!
//! The roots are Mozilla's, compiled in: scanning the operating system's certificates costs a cold start tens of
//! milliseconds. A self-hosted Prefect's private authority is added to them.

use bytes::{Bytes, BytesMut};
use reqwest::redirect::{Attempt, Policy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A connection that takes longer counts as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The sockets of a function that was frozen longer than this are likely dead.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// A server of Prefect 2 or 3 closes connections that were idle for 5 s.
pub const WORKER_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Redirects that are followed at most, within one host.
const MAX_REDIRECTS: usize = 3;
/// Longer answers are not read: no poll has so much to say, and memory is bounded.
const MAX_BODY_BYTES: usize = 20 * 1024 * 1024;
/// What Prefect's access log shows.
const USER_AGENT: &str = concat!("prefect-serverless-agent/", env!("CARGO_PKG_VERSION"));

/// A client that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The private authority's certificates cannot be read.
    #[error("ca_bundle: {0}")]
    CaBundle(String),
    /// TLS or the client itself could not be set up.
    #[error("the HTTP client cannot be built: {0}")]
    Setup(String),
}

/// What a failed exchange says about its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// The request itself is impossible: no such URL.
    Impossible(String),
    /// Nothing was sent: the time was up before.
    NoTime,
    /// Nothing was sent: no connection (name, route, TLS).
    NotSent(String),
    /// Sent, perhaps, but no complete answer came.
    NoAnswer {
        /// What the network said.
        reason: String,
        /// The time was up, as opposed to a connection that broke.
        timed_out: bool,
    },
    /// The answer is longer than 20 MiB.
    TooLong,
}

/// Builds the client. `ca_pem` holds the certificates of a private authority, which is trusted besides the public ones.
///
/// Each request sets its own time limit; a connection is given up after 3 s.
pub fn client(ca_pem: Option<&str>) -> Result<reqwest::Client, ClientError> {
    client_idle_for(POOL_IDLE_TIMEOUT, ca_pem)
}

/// As [`client`]; connections that were idle for longer than this are not used again.
pub fn client_idle_for(idle: Duration, ca_pem: Option<&str>) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(ca_pem)?)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(idle)
        .tcp_nodelay(true)
        .redirect(Policy::custom(redirect))
        .user_agent(USER_AGENT)
        .build()
        .map_err(|error| ClientError::Setup(describe(&error)))
}

/// Public roots, the private ones, no client certificate.
fn tls(ca_pem: Option<&str>) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in private_roots(ca_pem)? {
        roots.add(certificate).map_err(|error| ClientError::CaBundle(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of a PEM text; a text without any is an error, because it would silently trust nobody new.
fn private_roots(ca_pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let Some(pem) = ca_pem else { return Ok(Vec::new()) };
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ClientError::CaBundle(format!("no PEM text: {error}")))?;
    if certificates.is_empty() {
        return Err(ClientError::CaBundle("the PEM text holds no certificate".into()));
    }
    Ok(certificates)
}

/// Follows a redirect only when it keeps method and body (307, 308) and stays with the same scheme, host and port:
/// the headers carry credentials.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let same_origin = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_body && same_origin && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Reads a whole answer of at most 20 MiB.
pub async fn body(mut response: reqwest::Response) -> Result<Bytes, SendError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error.without_url()))? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(SendError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Tells what a request that got no answer may have done. The texts hold no URL, which may hold a password.
pub fn classify(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    if error.is_builder() {
        return SendError::Impossible(describe(&error));
    }
    if error.is_connect() {
        return SendError::NotSent(describe(&error));
    }
    no_answer(&error)
}

fn no_answer(error: &reqwest::Error) -> SendError {
    SendError::NoAnswer { reason: describe(error), timed_out: error.is_timeout() }
}

/// An error and its causes, in one line: the cause is what a person needs.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
