//! Times and texts as people say them.

use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// A span in its two largest units: `12 s`, `5 min`, `2 h 5 min`, `3 d 4 h`. What is negative is nothing.
pub fn span(span: time::Duration) -> String {
    let seconds = span.whole_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |large: String, rest: i64, unit: &str| if rest == 0 { large } else { format!("{large} {rest} {unit}") };
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=3599 => format!("{minutes} min"),
        3600..=86_399 => with(format!("{hours} h"), minutes % 60, "min"),
        _ => with(format!("{days} d"), hours % 24, "h"),
    }
}

/// How long ago, or how long until: `12 s ago`, `in 33 s`.
pub fn relative(instant: OffsetDateTime, now: OffsetDateTime) -> String {
    if instant > now { format!("in {}", span(instant - now)) } else { format!("{} ago", span(now - instant)) }
}

/// A time of day, with its day where that is not today's: `14:02:10`, `2026-11-23 14:02:10`. All times are UTC.
pub fn clock(instant: OffsetDateTime, now: OffsetDateTime) -> String {
    // A time that UTC has no date for is shown in its own offset.
    let in_utc = |time: OffsetDateTime| time.checked_to_offset(UtcOffset::UTC);
    let Some(instant) = in_utc(instant) else { return instant.to_string() };
    let shown = if in_utc(now).is_some_and(|now| now.date() == instant.date()) {
        instant.format(format_description!("[hour]:[minute]:[second]"))
    } else {
        instant.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"))
    };
    // A time that has no text in four digits of a year is shown as it is.
    shown.unwrap_or_else(|_| instant.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, said) in [
            (-5, "0 s"),
            (0, "0 s"),
            (119, "119 s"),
            (125, "2 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_400, "1 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(span(time::Duration::seconds(seconds)), said);
        }
    }

    #[test]
    fn times_are_relative_to_now_and_of_another_day_where_they_are() {
        let now = datetime!(2026-11-24 00:00:10 UTC);
        assert_eq!(relative(now - time::Duration::seconds(12), now), "12 s ago");
        assert_eq!(relative(now + time::Duration::seconds(33), now), "in 33 s");
        assert_eq!(clock(datetime!(2026-11-24 01:02:03.5 +1), now), "00:02:03");
        assert_eq!(clock(datetime!(2026-11-23 23:59:59 UTC), now), "2026-11-23 23:59:59");
        assert_eq!(clock(datetime!(9999-12-31 23:59:59 -1), now), "9999-12-31 23:59:59.0 -01:00:00");
    }
}
