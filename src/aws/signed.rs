//! Requests that we sign ourselves (Signature Version 4): the few calls for which a whole SDK crate would be too much.

use super::AwsError;
use super::credentials::Cached;
use super::endpoints::{Endpoints, Service};
use super::http::AwsHttp;
use super::{raw, xml};
use crate::http::{Answer, chain};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod tests;

/// How often a read is tried, and the pauses between: throttling and lost answers pass.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// What signed calls need: one region, one set of credentials.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Region that is signed for.
    pub region: String,
    /// Where the services are.
    pub endpoints: Endpoints,
    pub(super) http: AwsHttp,
    credentials: Cached,
}

/// A call before it is signed.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service it is signed for.
    pub service: Service,
    /// HTTP method.
    pub method: http::Method,
    /// Complete URL, percent-encoded.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body, may be empty.
    pub body: Bytes,
}

/// In the values of a form all but the unreserved characters are encoded.
const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Call {
    /// A call of the query protocol: a form with these fields.
    pub(super) fn query<T: AsRef<str>>(signed: &Signed, service: Service, fields: &[(T, T)]) -> Result<Self, AwsError> {
        let field =
            |(name, value): &(T, T)| format!("{}={}", name.as_ref(), utf8_percent_encode(value.as_ref(), IN_FORM));
        Ok(Self {
            service,
            method: http::Method::POST,
            url: format!("{}/", signed.endpoint(service)?),
            headers: vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".into())],
            body: fields.iter().map(field).collect::<Vec<_>>().join("&").into(),
        })
    }
}

impl Service {
    /// What an answer that is no success says, in the language of the service.
    fn error_of(self, answer: &Answer) -> AwsError {
        match self {
            Self::Ecs | Self::Ssm | Self::Lambda | Self::Logs => raw::answer_error(answer),
            Self::Ec2 | Self::S3 | Self::Sts => xml::error(answer),
        }
    }
}

impl Signed {
    /// Signs with these credentials.
    pub fn new(region: &str, endpoints: Endpoints, http: AwsHttp, credentials: Cached) -> Self {
        Self { region: region.to_owned(), endpoints, http, credentials }
    }

    /// The same, signing for another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self.clone() }
    }

    /// The same, signing with other credentials.
    #[must_use]
    pub(super) fn with(&self, credentials: Cached) -> Self {
        Self { credentials, ..self.clone() }
    }

    /// Opens a connection to a service ahead of its first use. Best effort; nothing is signed.
    pub(super) async fn warm_up(&self, service: Service) {
        if let Ok(url) = self.endpoint(service) {
            self.http.warm_up(&url).await;
        }
    }

    /// What is signed with.
    pub(super) fn credentials(&self) -> &Cached {
        &self.credentials
    }

    /// The endpoint of a service, without a trailing slash.
    pub fn endpoint(&self, service: Service) -> Result<String, AwsError> {
        self.endpoints.url(service, &self.region)
    }

    /// Signs and sends, once. Any HTTP status is an answer.
    pub async fn send(&self, call: &Call) -> Result<Answer, AwsError> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| AwsError::Credentials(chain(&error)))?;
        let request = signed(call, credentials, &self.region, SystemTime::now()).map_err(AwsError::NotSent)?;
        Ok(self.http.send(request).await?)
    }

    /// Sends what can be repeated without harm, a few times while there is no answer or one that asks for patience.
    pub async fn read(&self, call: &Call) -> Result<Answer, AwsError> {
        for pause in PAUSES {
            match self.send(call).await {
                Ok(answer) if answer.status >= 500 => {}
                Ok(answer) if answer.status >= 400 && call.service.error_of(&answer).is_throttled() => {}
                Err(AwsError::NotSent(_) | AwsError::NoAnswer(_)) => {}
                settled => return settled,
            }
            tokio::time::sleep(pause).await;
        }
        self.send(call).await
    }
}

/// The signed request: a pure function of call, credentials, region and time.
fn signed(
    call: &Call,
    credentials: Credentials,
    region: &str,
    now: SystemTime,
) -> Result<http::Request<Bytes>, String> {
    let mut request = http::Request::builder().method(call.method.clone()).uri(&call.url);
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let mut request = request.body(call.body.clone()).map_err(|error| format!("{}: {error}", call.url))?;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(call.service.name())
        .time(now)
        .settings(settings(call.service))
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let instructions =
        SignableRequest::new(call.method.as_str(), call.url.as_str(), headers, SignableBody::Bytes(&call.body))
            .and_then(|request| sign(request, &params))
            .map_err(|error| format!("cannot sign the request to {}: {error}", call.url))?;
    instructions.into_parts().0.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// S3 alone takes the path as it is, and wants to know the body's hash.
fn settings(service: Service) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == Service::S3 {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}
