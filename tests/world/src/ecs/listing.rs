//! Pages of a list.

use crate::answer::ServiceError;
use serde_json::{Map, Value, json};

/// A page of `all`: at most `maxResults`, at most 100; the token is the number of the next entry.
pub(super) fn page(key: &str, all: &[Value], input: &Value) -> Result<Value, ServiceError> {
    let invalid = |message: &str| ServiceError::new("InvalidParameterException", message);
    let most = input["maxResults"].as_u64().unwrap_or(100);
    let most = usize::try_from(most)
        .ok()
        .filter(|most| (1..=100).contains(most))
        .ok_or_else(|| invalid("maxResults must be between 1 and 100"))?;
    let start = match input["nextToken"].as_str() {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|number| number.parse::<usize>().ok())
            .ok_or_else(|| invalid("Invalid token"))?,
    };
    let end = all.len().min(start + most);
    let mut answer = Map::new();
    answer.insert(key.to_owned(), json!(all.get(start..end).unwrap_or_default()));
    if end < all.len() {
        answer.insert("nextToken".to_owned(), json!(format!("page-{end}")));
    }
    Ok(Value::Object(answer))
}
