//! What a failed exchange says about its effect.

use std::error::Error;

/// A request that got no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The request itself is impossible: no such URL.
    #[error("{0}")]
    Impossible(String),
    /// Nothing was sent: the time was up before.
    #[error("the time was up")]
    NoTime,
    /// Nothing was sent: no connection (name, route, TLS).
    #[error("{0}")]
    NotSent(String),
    /// Sent, perhaps, but no complete answer came.
    #[error("{reason}")]
    NoAnswer {
        /// What the network said.
        reason: String,
        /// The time was up, as opposed to a connection that broke.
        timed_out: bool,
    },
    /// The answer is longer than this many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// An error and its causes, in one line: the cause is what a person needs.
pub fn chain(error: &dyn Error) -> String {
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
