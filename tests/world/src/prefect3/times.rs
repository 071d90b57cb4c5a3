//! Points in time and identifiers, as the server reads and writes them.

use super::Generation;
use crate::{ids, prefect1::times};
use serde_json::Value;
use time::{Duration, OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
const MICROSECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");

pub(super) use times::{parse, uuid};

/// To the microsecond, which is all that the server keeps.
pub(super) fn micros(at: OffsetDateTime) -> OffsetDateTime {
    at - Duration::nanoseconds(i64::from(at.nanosecond() % 1000))
}

/// ISO 8601 in UTC, with six digits of the second unless all are zero: `2026-11-22T16:41:02.881859Z`; Prefect 2 writes
/// `+00:00` for the `Z`.
pub(super) fn show(at: OffsetDateTime, generation: Generation) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let format = if at.microsecond() == 0 { SECONDS } else { MICROSECONDS };
    let zone = if generation.is_two() { "+00:00" } else { "Z" };
    at.format(format).map(|text| text + zone).unwrap_or_default()
}

/// As JSON; null for none.
pub(super) fn json(at: Option<OffsetDateTime>, generation: Generation) -> Value {
    at.map_or(Value::Null, |at| show(at, generation).into())
}

/// A new UUID.
pub(super) fn new_id() -> String {
    ids::uuid().to_string()
}

/// A new UUID that begins with its time: states have these.
pub(super) fn new_id_at(at: OffsetDateTime) -> String {
    let mut random = [0; 10];
    random.copy_from_slice(&ids::uuid().as_bytes()[..10]);
    let millis = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}

/// A name as the server makes them up: an adjective and an animal.
pub(super) fn new_name() -> String {
    const ADJECTIVES: [&str; 8] =
        ["utopian", "logical", "relaxed", "elastic", "neat", "positive", "zircon", "outgoing"];
    const ANIMALS: [&str; 8] = ["lemming", "hare", "rook", "cat", "locust", "porcupine", "pudu", "impala"];
    let id = ids::uuid();
    let pick = |list: [&'static str; 8], byte: u8| list[usize::from(byte % 8)];
    format!("{}-{}", pick(ADJECTIVES, id.as_bytes()[0]), pick(ANIMALS, id.as_bytes()[1]))
}
