//! Hasura's `order_by`, `limit` and `offset`.

use super::{failure::Failure, times};
use serde_json::Value;
use std::cmp::Ordering;

/// Orders rows and takes the page that is asked for.
pub(super) fn page(mut rows: Vec<Value>, arguments: &Value) -> Result<Vec<Value>, Failure> {
    let order = &arguments["order_by"];
    let orders = match order {
        Value::Array(orders) => orders.as_slice(),
        Value::Object(_) => std::slice::from_ref(order),
        _ => &[],
    };
    rows.sort_by(|left, right| {
        orders.iter().map(|order| by(order, left, right)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    let offset = number(&arguments["offset"])?.unwrap_or(0);
    let limit = number(&arguments["limit"])?.unwrap_or(usize::MAX);
    Ok(rows.into_iter().skip(offset).take(limit).collect())
}

fn number(value: &Value) -> Result<Option<usize>, Failure> {
    match value.as_i64() {
        None => Ok(None),
        Some(number) => usize::try_from(number).map(Some).map_err(|_| Failure::new("unexpected negative value")),
    }
}

/// Columns of one order in turn; a nested object orders by a related row.
fn by(order: &Value, left: &Value, right: &Value) -> Ordering {
    let columns = order.as_object().into_iter().flatten();
    columns
        .map(|(column, order)| match order.as_str() {
            Some(order) => columns_by(order, &left[column], &right[column]),
            None => by(order, &left[column], &right[column]),
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The database takes NULL for the greatest value unless told otherwise.
fn columns_by(order: &str, left: &Value, right: &Value) -> Ordering {
    let descending = order.starts_with("desc");
    let nulls_first = order.ends_with("_nulls_first") || order == "desc";
    match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) if nulls_first => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if nulls_first => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => values(right, left),
        (false, false) => values(left, right),
    }
}

fn values(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::String(left), Value::String(right)) => match (times::parse(left), times::parse(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(right),
        },
        _ => left.as_i64().cmp(&right.as_i64()),
    }
}
