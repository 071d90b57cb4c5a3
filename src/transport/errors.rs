//! What a failed exchange means to the one who asked, and when to come again.

use super::without_userinfo;
use crate::http::{Answer, SendError};
use crate::model::ApiError;
use crate::redaction::CUT;
use reqwest::Url;
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

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

/// Why a body is no JSON. A page is quoted, since its text says who has answered. Whatever else came may hold secrets.
pub(crate) fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'<') => format!("no JSON: {}", excerpt(body)),
        Some(_) => format!("broken JSON of {} bytes: {error}", body.len()),
    }
}

// When to come again: what an answer says of it, and what is made of that. Pure.

/// Set by Prefect Cloud while it is in maintenance.
const MAINTENANCE: HeaderName = HeaderName::from_static("prefect-maintenance");
/// The statuses with which that header counts.
const MAINTENANCE_STATUSES: [u16; 4] = [408, 429, 502, 503];
/// No announcement is believed for longer: the next poll hears of it again.
const LONGEST: Duration = Duration::from_hours(24);

/// What an answer says of when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Again {
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Prefect is in maintenance.
    pub maintenance: bool,
}

impl Again {
    /// Reads an answer's headers. `now`: for a date in an answer that does not say when it was made.
    pub(crate) fn read(status: u16, headers: &HeaderMap, now: OffsetDateTime) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let made = text(DATE).and_then(http_date).unwrap_or(now);
        let maintenance = text(MAINTENANCE).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self {
            retry_after: text(RETRY_AFTER).and_then(|text| retry_after(text, made)),
            maintenance: maintenance && MAINTENANCE_STATUSES.contains(&status),
        }
    }
}

/// Seconds, or a date; by the clock of whoever wrote it, which may be another than ours.
fn retry_after(text: &str, made: OffsetDateTime) -> Option<Duration> {
    let asked = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => Duration::try_from(http_date(text)? - made).unwrap_or_default(),
    };
    Some(asked.min(LONGEST))
}

pub(crate) fn http_date(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc2822).ok()
}

/// How long to wait before a request that may be repeated is sent again; `None` = it is not sent again.
///
/// Whoever says when to come again is asked then, whatever the status: never earlier, and not at all when that is
/// beyond `most`. Else `usual` is the pause, after trouble that passes.
pub(crate) fn pause(usual: Duration, passing: bool, asked: Option<Duration>, most: Duration) -> Option<Duration> {
    let pause = match asked {
        Some(asked) => asked.max(usual),
        None if passing => usual,
        None => return None,
    };
    (pause < most).then_some(pause)
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

#[cfg(test)]
mod again_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

    fn read(status: u16, headers: &[(&'static str, &'static str)]) -> Again {
        let pair =
            |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), value.parse().unwrap());
        Again::read(status, &headers.iter().map(pair).collect(), NOW)
    }

    fn asked(headers: &[(&'static str, &'static str)]) -> Option<f64> {
        read(503, headers).retry_after.map(|asked| asked.as_secs_f64())
    }

    #[test]
    fn seconds_and_dates_are_read_and_a_date_by_the_clock_of_the_answer() {
        for (text, expected) in [
            ("7", Some(7.0)),
            (" 0 ", Some(0.0)),
            ("1.5", Some(1.5)),
            ("-1", None),
            ("nan", None),
            ("inf", None),
            ("", None),
            ("soon", None),
            ("99999999999999999999", Some(86_400.0)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30.0)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0.0)),
            ("Tue, 24 Nov 2036 11:00:00 GMT", Some(86_400.0)),
        ] {
            assert_eq!(asked(&[("retry-after", text)]), expected, "{text:?}");
        }
        let by_its_clock =
            [("retry-after", "Tue, 24 Nov 2026 09:00:30 GMT"), ("date", "Tue, 24 Nov 2026 09:00:00 GMT")];
        assert_eq!(asked(&by_its_clock), Some(30.0), "its clock is three hours behind ours");
    }

    #[test]
    fn maintenance_counts_with_four_statuses_only() {
        for status in [200, 401, 404, 408, 429, 500, 502, 503, 504] {
            let maintenance = read(status, &[("prefect-maintenance", "true")]).maintenance;
            assert_eq!(maintenance, [408, 429, 502, 503].contains(&status), "{status}");
        }
        assert!(read(503, &[("prefect-maintenance", "True")]).maintenance);
        assert!(!read(503, &[("prefect-maintenance", "false")]).maintenance && !read(503, &[]).maintenance);
    }

    #[test]
    fn whoever_says_when_is_asked_then_or_not_at_all() {
        let (usual, seconds) = (Duration::from_millis(100), Duration::from_secs);
        for (passing, asked, most, expected) in [
            (true, None, seconds(10), Some(usual)),
            (false, None, seconds(10), None),
            (true, None, usual, None),
            (true, Some(seconds(3)), seconds(10), Some(seconds(3))),
            (false, Some(seconds(3)), seconds(10), Some(seconds(3))),
            (false, Some(Duration::ZERO), seconds(10), Some(usual)),
            (true, Some(seconds(10)), seconds(10), None),
        ] {
            assert_eq!(pause(usual, passing, asked, most), expected, "{passing} {asked:?} {most:?}");
        }
    }
}
