//! When a request to a Prefect API is sent again: one policy for both generations.
//!
//! What changes nothing when it is repeated goes by [`repeat`], a write by [`write()`]. A status that passes is named in
//! [`is_passing`], the pauses of each generation in [`PAUSES_OF_PREFECT_1`] and [`PAUSES_OF_PREFECT_2_AND_3`].

use super::{Deadline, explain};
use crate::http::SendError;
use crate::model::ApiError;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Prefect 0.15 and 1: the pauses before each repetition.
pub(crate) const PAUSES_OF_PREFECT_1: &[Duration] = &[Duration::from_millis(100), Duration::from_millis(400)];
/// Prefect 2 and 3: the same. Servers on `SQLite` answer 503 while their database is locked, which may take seconds.
pub(crate) const PAUSES_OF_PREFECT_2_AND_3: &[Duration] =
    &[Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1), Duration::from_secs(2)];
/// A write is not held up for longer.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// What became of one exchange.
pub(crate) struct Attempt<T> {
    /// The answer.
    pub answer: Result<T, ApiError>,
    /// The same request may get another answer a moment later.
    pub passing: bool,
    /// How much later it is to be repeated, if the answer says so.
    pub asked: Option<Duration>,
}

impl<T> Attempt<T> {
    /// Nothing came back. `shown` stands for the API's URL.
    pub(crate) fn unanswered(error: SendError, shown: &str) -> Self {
        // A connection that failed or broke may be better a moment later; what took too long takes too long again.
        let passing = matches!(error, SendError::NotSent(_) | SendError::NoAnswer { timed_out: false, .. });
        Self { answer: Err(explain(error, shown)), passing, asked: None }
    }

    /// Something came back; `asked`: when to come again, if it says so.
    pub(crate) fn answered(answer: Result<T, ApiError>, asked: Option<Duration>) -> Self {
        let passing = answer.as_ref().is_err_and(is_passing);
        let asked = asked.filter(|_| answer.is_err());
        Self { answer, passing, asked }
    }
}

/// Whether the same request may get another answer a moment later, by the status that came back.
fn is_passing(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { status: 502..=504, .. })
}

/// Whether a request is certain to have had no effect, so that a repetition is none.
fn was_never_done(error: &ApiError) -> bool {
    matches!(error, ApiError::Unreachable { .. } | ApiError::Throttled { .. } | ApiError::Maintenance { .. })
}

/// Sends what changes nothing when it is repeated, again after each of `pauses` while its trouble may pass, and after
/// whatever says when to come again, then; never when that is beyond the deadline, or after `patience`. The last
/// attempt, and whether an earlier one may have had its effect.
pub(crate) async fn repeat<T, F: Future<Output = Attempt<T>>>(
    pauses: &[Duration],
    deadline: &Deadline,
    patience: Option<Duration>,
    attempt: impl Fn() -> F,
) -> (Attempt<T>, bool) {
    let mut repeated = false;
    for usual in pauses {
        let tried = attempt().await;
        let Some(pause) = pause_within(deadline, patience, *usual, &tried) else { return (tried, repeated) };
        repeated |= !tried.answer.as_ref().is_err_and(was_never_done);
        tokio::time::sleep(pause).await;
    }
    (attempt().await, repeated)
}

/// Sends a write, once, unless there were too many requests: such a one was not carried out, and is sent again when it
/// may be, if that is soon.
pub(crate) async fn write<T, F: Future<Output = Attempt<T>>>(
    deadline: &Deadline,
    attempt: impl Fn() -> F,
) -> Result<T, ApiError> {
    let tried = attempt().await;
    if !tried.answer.as_ref().is_err_and(was_never_done) {
        return tried.answer;
    }
    let only_when_asked = Attempt { passing: false, ..tried };
    match pause_within(deadline, Some(WRITE_PATIENCE), Duration::ZERO, &only_when_asked) {
        Some(pause) => tokio::time::sleep(pause).await,
        None => return only_when_asked.answer,
    }
    attempt().await.answer
}

/// How long to wait before a request is sent again, if it is.
fn pause_within<T>(
    deadline: &Deadline,
    patience: Option<Duration>,
    usual: Duration,
    tried: &Attempt<T>,
) -> Option<Duration> {
    let left = deadline.time_left()?;
    pause(usual, tried.passing, tried.asked, patience.map_or(left, |patience| left.min(patience)))
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
fn pause(usual: Duration, passing: bool, asked: Option<Duration>, most: Duration) -> Option<Duration> {
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
    fn what_was_not_answered_passes_unless_it_took_too_long_and_names_the_api_as_people_know_it() {
        let no_answer = |timed_out| SendError::NoAnswer { reason: "reset".into(), timed_out };
        for (error, passing) in [
            (SendError::NotSent("refused".into()), true),
            (no_answer(false), true),
            (no_answer(true), false),
            (SendError::NoTime, false),
            (SendError::TooLong(1024 * 1024), false),
            (SendError::Impossible("no scheme".into()), false),
        ] {
            let tried = Attempt::<()>::unanswered(error, "https://api");
            assert_eq!((tried.passing, tried.asked), (passing, None), "{:?}", tried.answer);
        }
        let said = Attempt::<()>::unanswered(SendError::NotSent("refused".into()), "https://api").answer.unwrap_err();
        assert_eq!(said.to_string(), "cannot connect to the Prefect API at https://api: refused");
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
