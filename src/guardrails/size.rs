//! Sizes of tasks as ECS reads them: `1024`, `1 vCPU`, `.5 vcpu`, `2 GB`.

use serde_json::Value;

/// A unit that sizes may be written in, and how many of the plain numbers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    name: &'static str,
    holds: u64,
}

/// CPU units are thousandths of a vCPU, of which there are 1024.
pub(super) const CPU: Unit = Unit { name: "vcpu", holds: 1024 };
/// MiB.
pub(super) const MEMORY: Unit = Unit { name: "gb", holds: 1024 };

/// More decimal places than this say nothing.
const MOST_PLACES: usize = 9;

/// The size in plain numbers, rounded up; `None` = it cannot be read. What is larger than every number is the largest one.
pub(super) fn size(value: &Value, unit: Unit) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => read(text.trim_matches(' '), unit),
        _ => None,
    }
}

fn read(text: &str, unit: Unit) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, written) = text.split_at(end);
    let written = written.trim_matches(' ');
    if written.is_empty() {
        return if number.contains('.') { None } else { whole(number) };
    }
    if !written.eq_ignore_ascii_case(unit.name) {
        return None;
    }
    let (before, places) = number.split_once('.').unwrap_or((number, ""));
    if before.is_empty() && places.is_empty() || places.contains('.') || places.len() > MOST_PLACES {
        return None;
    }
    let before = if before.is_empty() { 0 } else { whole(before)? };
    let fraction = if places.is_empty() { 0 } else { whole(places)? };
    let parts = 10_u64.checked_pow(u32::try_from(places.len()).ok()?)?;
    Some(before.saturating_mul(unit.holds).saturating_add((fraction.saturating_mul(unit.holds)).div_ceil(parts)))
}

fn whole(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_are_read_as_ecs_reads_them() {
        for (value, cpu, memory) in [
            (json!(1024), Some(1024), Some(1024)),
            (json!("1024"), Some(1024), Some(1024)),
            (json!(" 1024 "), Some(1024), Some(1024)),
            (json!("1 vCPU"), Some(1024), None),
            (json!("1vcpu"), Some(1024), None),
            (json!(".25 vCPU"), Some(256), None),
            (json!("0.3 vCPU"), Some(308), None),
            (json!("2 GB"), None, Some(2048)),
            (json!("0.5gb"), None, Some(512)),
            (json!("99999999999999999999999"), Some(u64::MAX), Some(u64::MAX)),
            (json!("99999999999999999999999 GB"), None, Some(u64::MAX)),
            (json!("1e9"), None, None),
            (json!("4,096"), None, None),
            (json!("+1"), None, None),
            (json!("-1"), None, None),
            (json!(-1), None, None),
            (json!(1.5), None, None),
            (json!("1.5"), None, None),
            (json!("1.2.3 GB"), None, None),
            (json!(". GB"), None, None),
            (json!("１０２４"), None, None),
            (json!("0x400"), None, None),
            (json!(""), None, None),
            (json!(null), None, None),
            (json!([1024]), None, None),
        ] {
            assert_eq!((size(&value, CPU), size(&value, MEMORY)), (cpu, memory), "{value}");
        }
    }
}
