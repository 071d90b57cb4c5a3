//! The one HTTP client under all AWS calls, those of the SDK and those we sign ourselves.
//!
//! The SDK's own client can only trust certificates given as files, which takes milliseconds to read at every cold
//! start, and it hides whether a request had left the machine when it failed. This one trusts the built-in web
//! roots (and those of `AWS_CA_BUNDLE`), and every failure says whether the request may have arrived.

use super::AwsError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::HeaderMap;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Time limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To connect, with the TLS handshake.
    pub connect: Duration,
    /// From the start to the last byte of the answer.
    pub attempt: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), attempt: Duration::from_secs(8) }
    }
}

/// Connections idle for longer are not reused: what a frozen function held open is dead when it thaws.
const IDLE: Duration = Duration::from_secs(20);

/// Answers larger than this are refused: the largest legitimate one is a document of a few megabytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A request that got no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TransportError {
    /// Whether (a part of) the request may have reached the other side.
    pub sent: bool,
    /// Whether a time limit ended it.
    pub timed_out: bool,
    /// What the network said.
    pub text: String,
}

impl From<TransportError> for AwsError {
    fn from(error: TransportError) -> Self {
        if error.sent { Self::NoAnswer(error.text) } else { Self::NotSent(error.text) }
    }
}

/// The shared HTTP client; clones share its connections.
#[derive(Debug, Clone)]
pub struct AwsHttp {
    client: reqwest::Client,
}

impl AwsHttp {
    /// Builds the client. `ca_bundle` is the text of a PEM file of further authorities to trust.
    pub fn new(limits: Limits, ca_bundle: Option<&str>) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_bundle)?)
            .connect_timeout(limits.connect)
            .timeout(limits.attempt)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| format!("cannot build the HTTP client: {}", chain(&error)))?;
        Ok(Self { client })
    }

    /// Opens a connection ahead of its first use: what takes long is the TLS handshake, so a plain address is not asked.
    /// Any answer will do, and so will none.
    pub async fn warm_up(&self, url: &str) {
        if !url.starts_with("https:") {
            return;
        }
        let asked = match http::Request::get(url).body(Bytes::new()) {
            Ok(request) => self.send(request).await.map(drop).map_err(|error| error.text),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = asked {
            tracing::debug!(url, error, "no connection yet");
        }
    }

    /// Sends one request, once, and reads the whole answer.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<Answer, TransportError> {
        let request = reqwest::Request::try_from(request).map_err(|error| transport_error(&error, false))?;
        let mut response = self.client.execute(request).await.map_err(|error| {
            let never_left = error.is_connect() || error.is_builder();
            transport_error(&error, !never_left)
        })?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(&error, true))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let text = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes");
                return Err(TransportError { sent: true, timed_out: false, text });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.into() })
    }
}

fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = ca_bundle {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("AWS_CA_BUNDLE is not PEM: {error:?}"))?;
            roots.add(certificate).map_err(|error| format!("AWS_CA_BUNDLE has an unusable certificate: {error}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn transport_error(error: &reqwest::Error, sent: bool) -> TransportError {
    TransportError { sent, timed_out: error.is_timeout(), text: chain(error) }
}

/// An error with all that caused it, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl HttpClient for AwsHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for AwsHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).unwrap_or_default();
            let answer = this.send(http::Request::from_parts(parts, body)).await.map_err(connector_error)?;
            sdk_response(answer).map_err(|text| ConnectorError::other(text.into(), None))
        })
    }
}

fn connector_error(error: TransportError) -> ConnectorError {
    if error.timed_out { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}

fn sdk_response(answer: Answer) -> Result<HttpResponse, String> {
    let mut response = http::Response::new(SdkBody::from(answer.body));
    *response.status_mut() = http::StatusCode::from_u16(answer.status).map_err(|error| error.to_string())?;
    *response.headers_mut() = answer.headers;
    // Header values that are no text cannot be represented there.
    HttpResponse::try_from(response).map_err(|error| error.to_string())
}
