//! Places inside a value: `a.b[0].c`.

use crate::model::RunRefusal;
use crate::python_text::list_text;
use serde_json::{Map, Value};
use std::borrow::Cow;

fn keys(path: &str) -> Vec<String> {
    path.replace('[', ".").replace(']', "").split('.').map(str::to_owned).collect()
}

/// What is at a path. Whole numbers are indices (negative ones count from the end), of texts too; they never name a key.
pub(crate) fn get(values: &Map<String, Value>, path: &str) -> Option<Value> {
    let mut keys = keys(path).into_iter();
    let first = keys.next().filter(|key| index(key).is_none())?;
    follow(values.get(&first)?, keys)
}

/// As [`get`], in a value of any type.
pub(crate) fn get_in(value: &Value, path: &str) -> Option<Value> {
    follow(value, keys(path).into_iter())
}

fn follow(value: &Value, keys: impl Iterator<Item = String>) -> Option<Value> {
    let mut here = Cow::Borrowed(value);
    for key in keys {
        here = match here {
            Cow::Borrowed(value) => step(value, &key)?,
            Cow::Owned(value) => Cow::Owned(step(&value, &key)?.into_owned()),
        };
    }
    Some(here.into_owned())
}

fn step<'a>(value: &'a Value, key: &str) -> Option<Cow<'a, Value>> {
    match (value, index(key)) {
        (Value::Object(map), None) => map.get(key).map(Cow::Borrowed),
        (Value::Array(items), Some(index)) => items.get(place(index, items.len())?).map(Cow::Borrowed),
        (Value::String(text), Some(index)) => {
            let character = text.chars().nth(place(index, text.chars().count())?)?;
            Some(Cow::Owned(Value::String(character.into())))
        }
        _ => None,
    }
}

/// A key that Python's `int` takes.
fn index(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let grouped = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    if !grouped {
        return None;
    }
    // A number too large for a list is an index all the same: one that is not there.
    Some(key.replace('_', "").parse().unwrap_or(i64::MAX))
}

fn place(index: i64, length: usize) -> Option<usize> {
    let from_start = if index < 0 { i64::try_from(length).ok()?.checked_add(index)? } else { index };
    usize::try_from(from_start).ok().filter(|at| *at < length)
}

/// Puts a value at a path; objects on the way are made. Refused where something else is in the way.
pub(crate) fn set(values: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), RunRefusal> {
    let keys = keys(path);
    let Some((last, way)) = keys.split_last() else { return Ok(()) };
    let mut place = values;
    for key in way {
        let inner = place.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = inner else {
            let path = list_text(&keys);
            return Err(RunRefusal(format!("TypeError: Key path exists and contains a non-dict value: {path}")));
        };
        place = inner;
    }
    place.insert(last.clone(), value);
    Ok(())
}

/// `over` on top of `base`: objects are merged all the way down, anything else replaces.
pub(crate) fn deep_merge(mut base: Map<String, Value>, over: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in over {
        let merged = match (base.get_mut(&key).map(Value::take), value) {
            (Some(Value::Object(base)), Value::Object(over)) => Value::Object(deep_merge(base, over)),
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

#[cfg(test)]
mod tests;
