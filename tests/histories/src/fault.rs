//! What can go wrong with a call: in which way, and whether it had its effect.

use crate::call::{Call, Generation, Service};
use axum::body::to_bytes;
use axum::response::Response;
use futures_util::FutureExt;
use prefect_serverless_agent::http::{Answer, SendError};
use serde_json::{Value, json};
use world::answer::{ServiceError, html, service_error};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No connection: nothing was sent.
    NotSent,
    /// No answer for as long as the client waits.
    Timeout,
    /// The connection broke before the answer.
    Dropped,
    /// HTTP 429, or AWS's throttling by its own name.
    TooMany,
    /// AWS's throttling in the disguise of `InvalidParameterException`.
    Disguised,
    /// HTTP 5xx.
    ServerError,
    /// A proxy's page instead of an answer.
    Html,
    /// A successful answer that cannot be understood.
    Malformed,
    /// `ConflictException`, or a version that Prefect does not expect.
    Conflict,
    /// Key or permission refused.
    Unauthorised,
    /// No capacity, as an exception.
    NoCapacity,
    /// No capacity, as `failures[]` of a successful answer.
    Failures,
    /// A successful answer with neither a task nor a failure.
    SaysNothing,
    /// Answered, but late.
    Slow,
}

/// How far the call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing was done.
    None,
    /// The first half of a request with several changes was done.
    Half,
    /// All was done.
    Done,
}

/// One way of going wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// How.
    pub kind: Kind,
    /// How far.
    pub effect: Effect,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NotSent,
        Self::Timeout,
        Self::Dropped,
        Self::TooMany,
        Self::Disguised,
        Self::ServerError,
        Self::Html,
        Self::Malformed,
        Self::Conflict,
        Self::Unauthorised,
        Self::NoCapacity,
        Self::Failures,
        Self::SaysNothing,
        Self::Slow,
    ];

    /// How far a call may have come when it goes wrong like this; nothing where it cannot.
    fn effects(self, call: Call, generation: Generation) -> &'static [Effect] {
        use Effect::{Done, Half, None};
        let in_aws = call.service() != Service::Prefect;
        let unclear: &[Effect] = if call.is_batch(generation) { &[None, Half, Done] } else { &[None, Done] };
        let effects: &[Effect] = match self {
            Self::NotSent | Self::TooMany | Self::Unauthorised => &[None],
            Self::Timeout | Self::Dropped | Self::ServerError | Self::Html => unclear,
            Self::Malformed | Self::Slow => &[Done],
            Self::Disguised if call.service() == Service::Ecs => &[None],
            Self::Conflict | Self::SaysNothing if call == Call::RunTask => &[None, Done],
            Self::Conflict if !in_aws && call.sets_states() => &[None],
            Self::NoCapacity | Self::Failures if call == Call::RunTask => &[None],
            Self::Disguised | Self::Conflict | Self::NoCapacity | Self::Failures | Self::SaysNothing => &[],
        };
        // Where nothing changes, it does not matter how far it came.
        if call.changes() { effects } else { &effects[..effects.len().min(1)] }
    }
}

impl Fault {
    /// Everything that can go wrong with a call.
    pub fn all_of(call: Call, generation: Generation) -> impl Iterator<Item = Self> {
        let effects = move |kind: Kind| kind.effects(call, generation).iter();
        Kind::ALL.into_iter().flat_map(move |kind| effects(kind).map(move |effect| Self { kind, effect: *effect }))
    }

    /// What the client gets instead of an answer, which is `answered` where the request had its effect.
    pub fn instead(self, call: Call, answered: Option<Answer>) -> Result<Answer, SendError> {
        let no_answer = |reason: &str| Err(SendError::NoAnswer { reason: reason.into(), timed_out: false });
        let started = || answered.as_ref().and_then(|answer| task_of(&answer.body));
        let error = |status: u16, code: &str, message: &str| {
            let service = if call.service() == Service::Ec2 { "ec2" } else { "ecs" };
            Ok(whole(service_error(service, ServiceError::new(code, message).status(status))))
        };
        let said =
            |status: u16, text: &str| Ok(whole(world::answer::answer(status, "application/json", text.to_owned())));
        let in_aws = call.service() != Service::Prefect;
        match self.kind {
            Kind::NotSent => Err(SendError::NotSent("connection refused".into())),
            Kind::Dropped => no_answer("connection reset"),
            Kind::Slow => answered.ok_or(SendError::NoTime),
            // Whoever waits ends that.
            Kind::Timeout => no_answer("timed out"),
            Kind::TooMany if call.service() == Service::Ec2 => {
                error(503, "RequestLimitExceeded", "Request limit exceeded.")
            }
            Kind::TooMany if in_aws => error(400, "ThrottlingException", "Rate exceeded"),
            Kind::TooMany => said(429, r#"{"exception_message": "Too many requests"}"#),
            Kind::Disguised => error(400, "InvalidParameterException", "Rate exceeded"),
            Kind::ServerError if in_aws => {
                error(500, "ServerException", "Service Unavailable. Please try again later.")
            }
            Kind::ServerError => said(503, r#"{"exception_message": "Service Unavailable"}"#),
            Kind::Html => Ok(whole(html(502))),
            Kind::Malformed => said(200, "{\"data\": {\"oops"),
            Kind::Unauthorised if call.service() == Service::Ec2 => {
                error(403, "UnauthorizedOperation", "You are not authorized to perform this operation.")
            }
            Kind::Unauthorised if in_aws => error(
                400,
                "AccessDeniedException",
                "User: arn:aws:sts::123456789012:assumed-role/poll/x is not authorized",
            ),
            Kind::Unauthorised => said(401, r#"{"detail": "Unauthorized"}"#),
            Kind::Conflict if in_aws => {
                let arns: Vec<String> = started().into_iter().collect();
                let error = ServiceError::new(
                    "ConflictException",
                    "The client token was already used with different request parameters.",
                );
                Ok(whole(service_error("ecs", error.with("resourceIds", json!(arns)))))
            }
            // Prefect 1 says so in its own words; see `World::answer`.
            Kind::Conflict => answered.map_or_else(|| said(409, r#"{"exception_message": "Conflict"}"#), Ok),
            Kind::NoCapacity => error(400, "ClientException", NO_CAPACITY),
            Kind::Failures => said(200, r#"{"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]}"#),
            Kind::SaysNothing => said(200, r#"{"tasks": [], "failures": []}"#),
        }
    }
}

const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";

/// The task that an answer to `RunTask` tells of.
fn task_of(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer["tasks"][0]["taskArn"].as_str().map(str::to_owned)
}

/// An answer of a fake, all of it.
pub fn whole(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).now_or_never().and_then(Result::ok).unwrap_or_default();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}
