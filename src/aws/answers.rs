//! What AWS says: the JSON of SDK operations as it is, the XML of others, and what went wrong, told apart by what it says
//! about the effect.

use crate::http::{Answer, SendError, chain};
use crate::panics::lock;
use crate::transport::shape;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Map, Value};
use std::error::Error;
use std::sync::{Arc, Mutex};

/// An AWS call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Nothing was sent: no connection could be made.
    #[error("cannot connect to AWS: {0}")]
    NotSent(String),
    /// No credentials could be had, or the role to assume refused us.
    #[error("no AWS credentials: {0}")]
    Credentials(String),
    /// Sent, but no complete answer came: the outcome is unknown.
    #[error("no answer from AWS: {0}")]
    NoAnswer(String),
    /// AWS answered with an error.
    #[error("{}: {message}", if code.is_empty() { format!("HTTP {status}") } else { code.clone() })]
    Answer {
        /// HTTP status.
        status: u16,
        /// Error code without namespace, e.g. `ThrottlingException`; empty when the answer was no AWS error (HTML of
        /// a proxy or load balancer).
        code: String,
        /// AWS's own text.
        message: String,
        /// `resourceIds` of a `ConflictException`: ARNs of the tasks that the token already started.
        resource_ids: Vec<String>,
    },
    /// A successful answer of another shape than documented: the outcome is unknown.
    #[error("AWS's answer cannot be understood: {0}")]
    Malformed(String),
}

impl AwsError {
    /// AWS's error code, if AWS answered with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }

    /// Parameter Store has no such parameter.
    pub fn is_parameter_not_found(&self) -> bool {
        self.code() == Some("ParameterNotFound")
    }

    /// Whoever asked lacks the permission.
    pub fn is_denied(&self) -> bool {
        self.code().is_some_and(is_denial)
    }

    /// Refused for want of throughput, nothing done: asking again a little later can help. This knows the codes that
    /// say so by themselves, not the messages that say so under other codes.
    pub fn is_throttled(&self) -> bool {
        self.code().is_some_and(is_throttling) || matches!(self, Self::Answer { status: 429, .. })
    }
}

/// An error code that says that whoever asks lacks the permission, as the services put it.
pub(crate) fn is_denial(code: &str) -> bool {
    const CODES: [&str; 6] = [
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "NotAuthorized",
        "UnauthorizedException",
        "UnauthorizedOperation",
    ];
    CODES.contains(&code)
}

/// An error code that by itself says "too fast": those that the AWS SDK repeats, two that it does not know, and not
/// `LimitExceededException`, which ECS and CloudWatch Logs answer where a quota of things is used up: time does not help.
pub(crate) fn is_throttling(code: &str) -> bool {
    match code {
        "LimitExceededException" => false,
        "TooManyUpdates" | "TooManyRequests" => true,
        code => aws_runtime::retries::classifiers::THROTTLING_ERRORS.contains(&code),
    }
}

// SDK operations with the JSON as it is: the request body verbatim, the answer as it came over the wire.

/// One call's bytes: what to send (replacing what the SDK serialised) and what came back last.
#[derive(Clone, Default)]
pub(super) struct Wire {
    body: Option<Bytes>,
    answer: Arc<Mutex<Option<(u16, Bytes)>>>,
}

/// Bodies may hold secrets: never printed.
impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Wire {
    /// Sends exactly this object.
    pub(super) fn verbatim(body: &Map<String, Value>) -> Result<Self, AwsError> {
        let bytes = serde_json::to_vec(body).map_err(|error| AwsError::NotSent(error.to_string()))?;
        Ok(Self { body: Some(bytes.into()), answer: Arc::default() })
    }

    /// The answer as JSON; errors are told apart by what they say about the effect.
    pub(super) fn json<O, E>(
        &self,
        result: Result<O, SdkError<E, HttpResponse>>,
    ) -> Result<Map<String, Value>, AwsError>
    where
        E: Error + 'static,
    {
        match result {
            Ok(_) => {}
            // Understood by the service, but not by the SDK's parser: what came counts.
            Err(SdkError::ResponseError(_)) if self.succeeded() => {}
            Err(error) => return Err(self.error(&error)),
        }
        match self.take() {
            // Not quoted: it may hold the parameters' values.
            Some((_, body)) => serde_json::from_slice(&body)
                .map_err(|error| format!("{error}, of {} bytes", body.len()))
                .and_then(shape::object)
                .map_err(AwsError::Malformed),
            None => Err(AwsError::Malformed("no body".into())),
        }
    }

    /// What a failed call says about its effect.
    pub(super) fn error<E: Error + 'static>(&self, error: &SdkError<E, HttpResponse>) -> AwsError {
        match (error, self.take()) {
            (SdkError::ServiceError(_) | SdkError::ResponseError(_), Some((status, body))) => {
                if (200..300).contains(&status) {
                    AwsError::Malformed(format!("{}, of {} bytes", chain(error), body.len()))
                } else {
                    json_error(status, header_code(error).as_deref(), &body)
                }
            }
            (SdkError::ServiceError(_) | SdkError::ResponseError(_), None) => AwsError::Malformed(chain(error)),
            (SdkError::TimeoutError(_), _) => AwsError::NoAnswer(chain(error)),
            _ => without_answer(error),
        }
    }

    fn succeeded(&self) -> bool {
        let answer = lock(&self.answer);
        answer.as_ref().is_some_and(|(status, _)| (200..300).contains(status))
    }

    fn take(&self) -> Option<(u16, Bytes)> {
        lock(&self.answer).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "Wire"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(body) = &self.body {
            let request = context.request_mut();
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body.clone());
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let body = response.body().bytes().map(Bytes::copy_from_slice).unwrap_or_default();
        let mut answer = lock(&self.answer);
        *answer = Some((response.status().as_u16(), body));
        Ok(())
    }
}

/// A call that ended without any answer: not signed, not sent, or sent and then nothing.
fn without_answer(error: &(dyn Error + 'static)) -> AwsError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        // First of all: a role that cannot be assumed has a failed call of its own among its causes.
        if current.is::<CredentialsError>() {
            return AwsError::Credentials(chain(current));
        }
        if let Some(transport) = current.downcast_ref::<SendError>() {
            return transport.clone().into();
        }
        cause = current.source();
    }
    AwsError::NotSent(chain(error))
}

fn header_code<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    Some(error.raw_response()?.headers().get("x-amzn-errortype")?.to_owned())
}

/// An error answer of a JSON service; anything else (a proxy's HTML) keeps its status and has no code.
fn json_error(status: u16, header_code: Option<&str>, body: &[u8]) -> AwsError {
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let text = |keys: &[&str]| keys.iter().find_map(|key| fields.get(*key)?.as_str());
    let code = text(&["__type", "code", "Code"]).or(header_code).unwrap_or_default();
    let resource_ids = fields.get("resourceIds").and_then(Value::as_array).into_iter().flatten();
    AwsError::Answer {
        status,
        code: bare_code(code).to_owned(),
        message: text(&["message", "Message", "errorMessage"]).map_or_else(|| excerpt(body), ToOwned::to_owned),
        resource_ids: resource_ids.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
    }
}

pub(super) fn answer_error(answer: &Answer) -> AwsError {
    let code = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    json_error(answer.status, code, &answer.body)
}

/// `com.amazonaws.ecs#ConflictException:http://…` → `ConflictException`.
fn bare_code(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, name)| name);
    code.split_once(':').map_or(code, |(name, _)| name)
}

/// The first characters of a body, for people. A cut is marked, so that the beginning of a secret before it can be told.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut short: String = text.trim().chars().take(200).collect();
    if short.len() < text.trim().len() {
        short.push(crate::redaction::CUT);
    } else if short.is_empty() {
        short.push_str("an empty body");
    }
    short
}

// What is read of the answers of EC2, S3 and STS, which are XML. Namespaces are of no interest: a name alone says what is
// meant.

/// More nodes than any answer has; each costs memory. (How deep they are nested costs nothing: nothing here recurses.)
const MAX_NODES: u32 = 500_000;

/// The first child of this name.
pub(super) fn child<'a, 'b>(element: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    element.children().find(|child| child.tag_name().name() == name)
}

/// The trimmed text of the first child of this name, unless empty.
pub(super) fn text_of<'a>(element: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(element, name)?.text().map(str::trim).filter(|text| !text.is_empty())
}

/// A successful answer, else AWS's error.
pub(super) fn expect_xml(answer: &Answer) -> Result<Document<'_>, AwsError> {
    if !(200..300).contains(&answer.status) {
        return Err(xml_error(answer));
    }
    // Where it is none, and not what stands there: it may hold credentials.
    parse_xml(answer).map_err(|place| AwsError::Malformed(format!("no XML {place}, in {} bytes", answer.body.len())))
}

/// An error answer; anything but AWS's own XML keeps its status and has no code.
pub(super) fn xml_error(answer: &Answer) -> AwsError {
    let document = parse_xml(answer).ok();
    let error = document.iter().flat_map(Document::descendants).find(|node| node.tag_name().name() == "Error");
    let text = |name| error.and_then(|error| text_of(error, name)).map(ToOwned::to_owned);
    AwsError::Answer {
        status: answer.status,
        code: text("Code").unwrap_or_default(),
        message: text("Message").unwrap_or_else(|| excerpt(&answer.body)),
        resource_ids: Vec::new(),
    }
}

/// The document, or where it is none.
fn parse_xml(answer: &Answer) -> Result<Document<'_>, String> {
    let text = std::str::from_utf8(&answer.body).map_err(|error| format!("after byte {}", error.valid_up_to()))?;
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| format!("at {}", error.pos()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, headers: http::HeaderMap::new(), body: text.to_owned().into() }
    }

    #[test]
    fn a_missing_permission_has_many_names_and_a_wrong_key_is_none() {
        let error = |code: &str| AwsError::Answer {
            status: 403,
            code: code.into(),
            message: String::new(),
            resource_ids: Vec::new(),
        };
        for code in ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"] {
            assert!(error(code).is_denied(), "{code}");
        }
        for code in ["InvalidClientTokenId", "ExpiredToken", "ThrottlingException", ""] {
            assert!(!error(code).is_denied(), "{code}");
        }
        assert!(!AwsError::NoAnswer("AccessDenied".into()).is_denied());
    }

    #[test]
    fn lists_text_and_entities_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><!-- c --><s><item><id>a&amp;b</id></item><item><id>\
                    <![CDATA[<c>]]></id></item></s><e/></R>";
        let answer = answer(200, text);
        let document = expect_xml(&answer).unwrap();
        let root = document.root_element();
        let ids: Vec<_> = child(root, "s").unwrap().children().filter_map(|item| text_of(item, "id")).collect();
        assert_eq!(ids, ["a&b", "<c>"]);
        assert_eq!(text_of(root, "e"), None);
    }

    #[test]
    fn what_is_cut_off_or_no_xml_is_an_error_that_quotes_nothing() {
        for text in [
            "",
            "<a><b></b>",
            "{\"a\": 1}",
            "<a",
            "<a>&hush;</a>",
            "<a></hush>",
            "<!DOCTYPE hush [<!ENTITY a 'b'>]><a/>",
        ] {
            let AwsError::Malformed(said) = expect_xml(&answer(200, text)).unwrap_err() else { unreachable!("{text}") };
            assert!(said.starts_with("no XML at ") && !said.contains("hush"), "{text}: {said}");
        }
        let not_unicode = Answer { body: b"<a>\xff</a>".as_slice().into(), ..answer(200, "") };
        assert_eq!(
            expect_xml(&not_unicode).unwrap_err(),
            AwsError::Malformed("no XML after byte 3, in 8 bytes".into())
        );
    }

    #[test]
    fn neither_depth_nor_breadth_ends_the_process() {
        let deep = format!("{}<Error><Code>Odd</Code></Error>{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(expect_xml(&answer(200, &deep)).is_ok());
        assert!(matches!(xml_error(&answer(400, &deep)), AwsError::Answer { code, .. } if code == "Odd"));
        for endless in ["<a>".repeat(1_000_000), format!("<a>{}</a>", "<b/>".repeat(1_000_000))] {
            assert!(matches!(expect_xml(&answer(200, &endless)), Err(AwsError::Malformed(_))));
        }
    }
}
