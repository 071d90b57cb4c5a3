//! Points in time, as Prefect and its database read and write them.

use serde_json::Value;
use time::{
    OffsetDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

const MICROSECONDS: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6][offset_hour sign:mandatory]:[offset_minute]"
);

/// Reads ISO 8601; a space for the `T` and a missing offset (UTC) are allowed.
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim().replacen(' ', "T", 1);
    OffsetDateTime::parse(&text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339)).ok()
}

/// Writes ISO 8601 with six digits and the offset, e.g. `2026-11-22T16:41:02.881859+00:00`.
pub(super) fn format(at: OffsetDateTime) -> String {
    at.format(MICROSECONDS).unwrap_or_default()
}

/// As JSON; null for none.
pub(super) fn json(at: Option<OffsetDateTime>) -> Value {
    at.map_or(Value::Null, |at| format(at).into())
}

/// A UUID in its usual form; none when the text is no UUID.
pub(crate) fn uuid(text: &str) -> Option<String> {
    uuid::Uuid::parse_str(text).ok().map(|id| id.to_string())
}

/// A new UUID.
pub(super) fn new_id() -> String {
    crate::ids::uuid().to_string()
}
