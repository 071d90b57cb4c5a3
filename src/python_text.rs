//! Texts as Python writes them: `str` and `repr` of JSON values, which Prefect writes into labels, tags and messages,
//! and times.

use crate::clock::that_can_be_shown;
use crate::model::RunRefusal;
use serde_json::{Number, Value};
use std::fmt::{Display, Write};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// `str(value)`.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// `repr(value)`.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number_repr(number),
        Value::String(text) => text_repr(text),
        Value::Array(items) => list_repr(items.iter().map(repr)),
        Value::Object(map) => {
            let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{}: {}", text_repr(key), repr(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// `str(list_of_texts)`, e.g. `['a', "it's"]`.
pub(crate) fn list_text(texts: &[String]) -> String {
    list_repr(texts.iter().map(|text| text_repr(text)))
}

/// `repr(text)`: single quotes unless that needs escapes, everything that cannot be printed escaped.
pub(crate) fn text_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == '\\' || c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => push_escape(&mut out, c),
        }
    }
    out.push(quote);
    out
}

/// The name of the Python type that `value` has.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// `bool(value)`.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A refusal where Python fails by accident: what is wrong, then the text Python gives, which people search for.
pub(crate) fn accident(wrong: impl Display, python: impl Display) -> RunRefusal {
    RunRefusal(format!("{wrong}: {python}"))
}

fn list_repr(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Rust changes to exponents at the same magnitudes as Python, but writes `1e-5` for `1e-05` and `1e16` for `1e+16`.
fn number_repr(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    let text = format!("{float:?}");
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
    }
}

/// `str.isprintable`. Rust's own escaping has the same rule (categories C and Z except space) once a preceding
/// character keeps it from escaping combining marks too.
fn is_printable(character: char) -> bool {
    !['a', character].iter().collect::<String>().escape_debug().any(|c| c == '{' && character != '{')
        && character != '\0'
}

fn push_escape(out: &mut String, character: char) {
    let code = u32::from(character);
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

// Prefect's times: ISO 8601 as Python writes it, in many shapes; written in one.

/// Reads a time: `T` or a space, any fraction, `Z`, `+00:00`, `+0000` or no offset at all (UTC, as in Python). Only what
/// can be shown is a time.
pub(crate) fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let text = if text.as_bytes().get(10) == Some(&b' ') { text.replacen(' ', "T", 1) } else { text.to_owned() };
    OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&text, &Iso8601::DEFAULT))
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .ok()
        .and_then(that_can_be_shown)
}

/// Writes a time as Python's `isoformat` does: UTC, six digits, `+00:00`.
pub(crate) fn iso_time(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");
    // Formatting fails for years beyond 9999 only, which no clock here shows.
    time.checked_to_offset(UtcOffset::UTC).and_then(|time| time.format(&format).ok()).unwrap_or_default()
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
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        for text in ["", "now", "2026-11-22", "22.11.2026 16:41"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_shown_in_utc_is_none() {
        for text in [
            "9999-12-31T23:59:59-01:00",
            "9999-12-31 23:59:59-0100",
            "-009999-01-01T00:00:00+01:00",
            "0000-01-01T00:00:00+00:01",
            "-000001-06-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59+01:00"] {
            let read = parse_time(text).unwrap();
            assert!(!iso_time(read).is_empty() && read.format(&Rfc3339).is_ok(), "{text}");
        }
        assert_eq!(parse_time("2026-11-22T18:41:02+02:00").unwrap().offset().whole_hours(), 2, "the offset is kept");
    }

    #[test]
    fn writes_utc_with_six_digits() {
        assert_eq!(iso_time(datetime!(2026-11-22 18:41:15.118061 +2)), "2026-11-22T16:41:15.118061+00:00");
        assert_eq!(iso_time(datetime!(2026-11-22 16:41:15 UTC)), "2026-11-22T16:41:15.000000+00:00");
    }
}
