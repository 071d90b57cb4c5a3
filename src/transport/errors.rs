//! What a failed exchange means to the one who asked.

use super::without_userinfo;
use crate::http::{Answer, SendError};
use crate::model::ApiError;
use crate::redaction::CUT;
use reqwest::Url;
use reqwest::header::LOCATION;

/// How much of a body that is no JSON an error shows.
const EXCERPT_CHARS: usize = 300;

/// Why there is no answer. `shown` stands for the API's URL.
pub(crate) fn explain(error: SendError, shown: &str) -> ApiError {
    match error {
        SendError::Impossible(reason) => ApiError::Configuration(format!("api: {shown}: {reason}")),
        SendError::NoTime => ApiError::NoTime,
        SendError::NotSent(reason) => ApiError::Unreachable { api: shown.to_owned(), reason },
        SendError::NoAnswer { reason, timed_out: true } => ApiError::NoAnswer(format!("timed out: {reason}")),
        SendError::NoAnswer { reason, .. } => ApiError::NoAnswer(reason),
        SendError::TooLong(most) => ApiError::Malformed(format!("longer than {} MiB", most / 1024 / 1024)),
    }
}

/// Where an answer sends whoever asked, if it does so.
pub(crate) fn location(answer: &Answer) -> Option<String> {
    let location = answer.headers.get(LOCATION).filter(|_| (300..400).contains(&answer.status))?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// A redirect that is not followed: another host must not get the credential, and another method is another request.
/// `path` follows the API's URL in what was asked for.
pub(crate) fn redirected(status: u16, location: &str, api: &str, path: &str) -> ApiError {
    let asked = format!("{api}{path}");
    let target = Url::parse(&asked).and_then(|asked| asked.join(location));
    let Ok(target) = target else {
        let shown = without_userinfo(api);
        return ApiError::Configuration(format!("api: {shown} answers HTTP {status}, which leads nowhere"));
    };
    let (shown, target) = (without_userinfo(api), without_userinfo(target.as_str()));
    let path = path.split('?').next().unwrap_or_default();
    let moved = target.strip_suffix(path.trim_end_matches('/')).unwrap_or(&target);
    ApiError::Configuration(format!(
        "api: {shown} answers HTTP {status} and sends to {}. If the Prefect API is there now, write `api: {}`; if that is \
         a page to log in, whatever stands before the API does not let the agent in",
        bounded(&target),
        bounded(moved),
    ))
}

fn bounded(url: &str) -> String {
    url.chars().take(EXCERPT_CHARS).collect()
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
