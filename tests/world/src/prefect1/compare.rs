//! One column against one comparison, as the database does it: with NULL as the third truth value.

use super::times;
use serde_json::Value;
use std::cmp::Ordering;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    Text,
    Int,
    Time,
    Json,
}

impl Kind {
    /// By the name of the comparison's input type.
    pub(super) fn of(comparison: &str) -> Self {
        match comparison {
            "uuid_comparison_exp" => Self::Uuid,
            "Int_comparison_exp" => Self::Int,
            "timestamptz_comparison_exp" => Self::Time,
            "jsonb_comparison_exp" => Self::Json,
            _ => Self::Text,
        }
    }

    /// The database's complaint about a literal that is not of this kind.
    pub(super) fn complaint(self, literal: &Value) -> Option<String> {
        let text = literal.as_str();
        match self {
            Self::Uuid if text.and_then(times::uuid).is_none() => {
                Some(format!("invalid input syntax for type uuid: {literal}"))
            }
            Self::Time if text.and_then(times::parse).is_none() => {
                Some(format!("invalid input syntax for type timestamp with time zone: {literal}"))
            }
            _ => None,
        }
    }

    fn order(self, left: &Value, right: &Value) -> Option<Ordering> {
        match self {
            Self::Int => left.as_i64()?.partial_cmp(&right.as_i64()?),
            Self::Time => times::parse(left.as_str()?)?.partial_cmp(&times::parse(right.as_str()?)?),
            Self::Uuid => times::uuid(left.as_str()?)?.partial_cmp(&times::uuid(right.as_str()?)?),
            Self::Text | Self::Json => left.as_str()?.partial_cmp(right.as_str()?),
        }
    }

    fn equal(self, left: &Value, right: &Value) -> bool {
        if self == Self::Json { left == right } else { self.order(left, right) == Some(Ordering::Equal) }
    }
}

/// Whether the column satisfies one operator; none is SQL's NULL.
pub(super) fn compare(kind: Kind, column: &Value, operator: &str, operand: &Value) -> Option<bool> {
    if operator == "_is_null" {
        return Some(operand.as_bool() == Some(column.is_null()));
    }
    if column.is_null() {
        return None;
    }
    let order = || kind.order(column, operand);
    let among = || operand.as_array().is_some_and(|items| items.iter().any(|item| kind.equal(column, item)));
    Some(match operator {
        "_eq" => kind.equal(column, operand),
        "_neq" => !kind.equal(column, operand),
        "_in" => among(),
        "_nin" => !among(),
        "_gt" => order()? == Ordering::Greater,
        "_gte" => order()? != Ordering::Less,
        "_lt" => order()? == Ordering::Less,
        "_lte" => order()? != Ordering::Greater,
        "_contains" => contains(column, operand),
        "_contained_in" => contains(operand, column),
        "_has_key" => has_key(column, operand),
        "_has_keys_all" => operand.as_array().is_some_and(|keys| keys.iter().all(|key| has_key(column, key))),
        "_has_keys_any" => operand.as_array().is_some_and(|keys| keys.iter().any(|key| has_key(column, key))),
        _ => return None,
    })
}

/// jsonb's `outer @> inner`.
fn contains(outer: &Value, inner: &Value) -> bool {
    match (outer, inner) {
        (Value::Array(outer), Value::Array(inner)) => {
            inner.iter().all(|item| outer.iter().any(|candidate| contains(candidate, item)))
        }
        (Value::Object(outer), Value::Object(inner)) => {
            inner.iter().all(|(key, item)| outer.get(key).is_some_and(|candidate| contains(candidate, item)))
        }
        (Value::Array(outer), scalar) if !scalar.is_object() => outer.contains(scalar),
        _ => outer == inner,
    }
}

fn has_key(json: &Value, key: &Value) -> bool {
    match json {
        Value::Array(items) => items.contains(key),
        Value::Object(object) => key.as_str().is_some_and(|key| object.contains_key(key)),
        _ => json == key,
    }
}
