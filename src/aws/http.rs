//! The AWS SDK's connector: its requests leave like all others ([`crate::http`]), and so do those that we sign ourselves.
//!
//! The SDK's own client can only trust certificates given as files, which takes milliseconds to read at every cold
//! start, and it hides whether a request had left the machine when it failed.

use super::AwsError;
use crate::http::{Answer, Http, Request, SendError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::HeaderMap;
use std::time::Duration;

impl From<SendError> for AwsError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Impossible(_) | SendError::NoTime | SendError::NotSent(_) => Self::NotSent(error.to_string()),
            SendError::NoAnswer { .. } | SendError::TooLong(_) => Self::NoAnswer(error.to_string()),
        }
    }
}

/// The way to AWS; clones share its connections.
#[derive(Debug, Clone)]
pub struct AwsHttp {
    http: Http,
    /// From the start to the last byte of the answer of one attempt.
    attempt: Duration,
}

impl AwsHttp {
    /// The longest that an attempt takes usually.
    pub const ATTEMPT: Duration = Duration::from_secs(8);

    /// Sends this way; an attempt takes `attempt` at most.
    pub fn new(http: Http, attempt: Duration) -> Self {
        Self { http, attempt }
    }

    /// The same, whose requests go `way` first.
    #[must_use]
    pub(super) fn through(&self, way: impl FnOnce(Http) -> Http) -> Self {
        Self { http: way(self.http.clone()), attempt: self.attempt }
    }

    /// The same with another limit of one attempt.
    #[must_use]
    pub(super) fn within(&self, attempt: Duration) -> Self {
        Self { attempt, ..self.clone() }
    }

    /// Opens a connection ahead of its first use; see [`Http::warm_up`].
    pub async fn warm_up(&self, url: &str) {
        self.http.warm_up(url, url, HeaderMap::new(), self.attempt).await;
    }

    /// How requests leave that say for themselves how long they wait.
    pub(super) fn way(&self) -> &Http {
        &self.http
    }

    /// Sends one request, once, and reads the whole answer.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<Answer, SendError> {
        let (parts, body) = request.into_parts();
        let (method, url, headers, timeout) = (parts.method, parts.uri.to_string(), parts.headers, self.attempt);
        self.http.send(Request { method, url, headers, body: Some(body), timeout }).await
    }
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

fn connector_error(error: SendError) -> ConnectorError {
    match error {
        SendError::NoTime | SendError::NoAnswer { timed_out: true, .. } => ConnectorError::timeout(error.into()),
        _ => ConnectorError::io(error.into()),
    }
}

fn sdk_response(answer: Answer) -> Result<HttpResponse, String> {
    let mut response = http::Response::new(SdkBody::from(answer.body));
    *response.status_mut() = http::StatusCode::from_u16(answer.status).map_err(|error| error.to_string())?;
    *response.headers_mut() = answer.headers;
    // Header values that are no text cannot be represented there.
    HttpResponse::try_from(response).map_err(|error| error.to_string())
}
