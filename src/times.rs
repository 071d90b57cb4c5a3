//! Prefect's times: ISO 8601 as Python writes it, in many shapes; written in one.

use time::format_description::well_known::{Iso8601, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Reads a time: `T` or a space, any fraction, `Z`, `+00:00`, `+0000` or no offset at all (UTC, as in Python).
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let text = if text.as_bytes().get(10) == Some(&b' ') { text.replacen(' ', "T", 1) } else { text.to_owned() };
    OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&text, &Iso8601::DEFAULT))
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .ok()
}

/// Writes a time as Python's `isoformat` does: UTC, six digits, `+00:00`.
pub(crate) fn iso(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");
    // Formatting fails for years beyond 9999 only, which no clock here shows.
    time.to_offset(UtcOffset::UTC).format(&format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn reads_every_shape_that_python_and_postgres_write() {
        for (text, expected) in [
            ("2026-11-22T16:41:02.881859+00:00", datetime!(2026-11-22 16:41:02.881859 UTC)),
            ("2026-11-22T16:41:02Z", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T16:41:02.5Z", datetime!(2026-11-22 16:41:02.5 UTC)),
            ("2026-11-22T18:41:02+02:00", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T11:11:02.000001-05:30", datetime!(2026-11-22 16:41:02.000001 UTC)),
            ("2026-11-22 16:41:02+00:00", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T16:41:02", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T16:41:02.123456", datetime!(2026-11-22 16:41:02.123456 UTC)),
            ("2026-11-22T16:41:02+0000", datetime!(2026-11-22 16:41:02 UTC)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in ["", "now", "2026-11-22", "22.11.2026 16:41"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_utc_with_six_digits() {
        assert_eq!(iso(datetime!(2026-11-22 18:41:15.118061 +2)), "2026-11-22T16:41:15.118061+00:00");
        assert_eq!(iso(datetime!(2026-11-22 16:41:15 UTC)), "2026-11-22T16:41:15.000000+00:00");
    }
}
