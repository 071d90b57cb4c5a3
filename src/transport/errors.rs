//! What a failed exchange means to the one who asked.

use crate::http_client::SendError;
use crate::orchestrator::ApiError;

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

/// The beginning of a body, in one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..EXCERPT_CHARS * 4).unwrap_or(body));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { "(empty body)".into() } else { text.chars().take(EXCERPT_CHARS).collect() }
}

/// Why a body is no JSON. A page is quoted, since its text says who has answered. Whatever else came may hold secrets.
pub(crate) fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'<') => format!("no JSON: {}", excerpt(body)),
        Some(_) => format!("broken JSON of {} bytes: {error}", body.len()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    #[test]
    fn only_a_page_is_quoted() {
        let said = |body: &[u8]| not_json(body, &serde_json::from_slice::<Value>(body).unwrap_err());
        assert_eq!(said(b" <h1>Sign in</h1>"), "no JSON: <h1>Sign in</h1>");
        assert_eq!(said(b""), "no JSON: (empty body)");
        for secret in [&b"{\"a\": \"hunter2"[..], b"\xff\xfe{\"a\": \"hunter2\"}", b"hunter2", b"[\"hunter2\"]]"] {
            let said = said(secret);
            assert!(said.starts_with("broken JSON of ") && !said.contains("hunter2"), "{said}");
        }
    }
}
