//! What a failed exchange means to the one who asked.

use crate::http_client::SendError;
use crate::orchestrator::ApiError;
use crate::redaction::CUT;

/// How much of a body that is no JSON an error shows.
const EXCERPT_CHARS: usize = 300;

/// Why there is no answer. `shown` stands for the API's URL.
pub(crate) fn explain(error: SendError, shown: &str) -> ApiError {
    match error {
        SendError::Impossible(reason) => ApiError::Configuration(format!("api: {shown}: {reason}")),
        SendError::NotSent(reason) => ApiError::Unreachable { api: shown.to_owned(), reason },
        SendError::NoAnswer { reason, timed_out: true } => ApiError::NoAnswer(format!("timed out: {reason}")),
        SendError::NoAnswer { reason, .. } => ApiError::NoAnswer(reason),
        SendError::TooLong => ApiError::Malformed("longer than 20 MiB".into()),
    }
}

/// Whether the same request may get an answer a moment later: the connection failed or broke. What took too long takes
/// too long again.
pub(crate) fn is_passing(error: &SendError) -> bool {
    matches!(error, SendError::NotSent(_) | SendError::NoAnswer { timed_out: false, .. })
}

/// The beginning of a body, in one line. A cut is marked, so that the beginning of a secret before it can be told.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let beginning = body.get(..EXCERPT_CHARS * 4).unwrap_or(body);
    let text = String::from_utf8_lossy(beginning).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut excerpt: String = text.chars().take(EXCERPT_CHARS).collect();
    if excerpt.len() < text.len() || beginning.len() < body.len() {
        excerpt = excerpt.chars().take(EXCERPT_CHARS - 1).chain([CUT]).collect();
    } else if excerpt.is_empty() {
        excerpt.push_str("(empty body)");
    }
    excerpt
}
