//! When to come again: what an answer says of it, and what is made of that. Pure.

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

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

fn http_date(text: &str) -> Option<OffsetDateTime> {
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
