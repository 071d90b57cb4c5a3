//! What can go wrong with a call: in which way, and whether it had its effect.

use crate::call::{Call, Service};
use std::time::Duration;

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
    fn effects(self, call: Call) -> &'static [Effect] {
        use Effect::{Done, Half, None};
        let in_aws = call.service() != Service::Prefect;
        let unclear: &[Effect] = if call.is_batch() { &[None, Half, Done] } else { &[None, Done] };
        let effects: &[Effect] = match self {
            Self::NotSent | Self::TooMany | Self::Unauthorised => &[None],
            Self::Timeout | Self::Dropped | Self::ServerError | Self::Html => unclear,
            Self::Malformed | Self::Slow => &[Done],
            Self::Disguised if in_aws => &[None],
            Self::Conflict | Self::SaysNothing if call == Call::RunTask => &[None, Done],
            Self::Conflict if !in_aws && call.changes() => &[None],
            Self::NoCapacity | Self::Failures if call == Call::RunTask => &[None],
            Self::Disguised | Self::Conflict | Self::NoCapacity | Self::Failures | Self::SaysNothing => &[],
        };
        // Where nothing changes, it does not matter how far it came.
        if call.changes() { effects } else { &effects[..effects.len().min(1)] }
    }

    /// How long a call that goes wrong like this takes.
    pub fn takes(self) -> Duration {
        match self {
            Self::Timeout => Duration::from_secs(15),
            Self::Slow => Duration::from_secs(8),
            _ => Duration::ZERO,
        }
    }
}

impl Fault {
    /// Everything that can go wrong with a call.
    pub fn all_of(call: Call) -> impl Iterator<Item = Self> {
        Kind::ALL
            .into_iter()
            .flat_map(move |kind| kind.effects(call).iter().map(move |effect| Self { kind, effect: *effect }))
    }

    /// Answered in the end, as it should be.
    pub fn is_answered(self) -> bool {
        self.kind == Kind::Slow
    }
}
