//! CloudWatch Logs: streams that are read with `GetLogEvents`, and queries over them.

mod insights;

use crate::{
    World,
    answer::{ServiceError, aws_json},
    route::Scope,
    world::State,
};
use axum::{body::Bytes, response::Response};
use serde_json::{Value, json};
use std::collections::HashMap;
use time::OffsetDateTime;

/// The most events of one answer, and the default.
const PAGE: usize = 10_000;

/// All log groups of all accounts and regions.
#[derive(Default)]
pub struct Logs {
    /// Streams by group.
    groups: HashMap<(Scope, String), HashMap<String, Vec<Event>>>,
    /// Queries of Logs Insights by id.
    queries: HashMap<String, insights::Query>,
}

/// A line.
#[derive(Clone, Debug)]
struct Event {
    /// Milliseconds since 1970.
    timestamp: i128,
    message: String,
}

impl Logs {
    /// Adds lines to a stream, which is made with its group if it is missing.
    pub fn write(
        &mut self,
        scope: &Scope,
        (group, stream): (&str, &str),
        lines: impl IntoIterator<Item = impl Into<String>>,
        now: OffsetDateTime,
    ) {
        let timestamp = now.unix_timestamp_nanos() / 1_000_000;
        let streams = self.groups.entry((scope.clone(), group.to_owned())).or_default();
        let events = streams.entry(stream.to_owned()).or_default();
        events.extend(lines.into_iter().map(|line| Event { timestamp, message: line.into() }));
    }

    /// Makes a group without streams.
    pub fn create_group(&mut self, scope: &Scope, group: &str) {
        self.groups.entry((scope.clone(), group.to_owned())).or_default();
    }

    /// The groups whose names begin so, by name.
    fn describe_groups(&self, scope: &Scope, input: &Value) -> Value {
        let prefix = input["logGroupNamePrefix"].as_str().unwrap_or_default();
        let own = self.groups.keys().filter(|(of, name)| of == scope && name.starts_with(prefix));
        let mut names: Vec<&str> = own.map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        let group = |name: &&str| json!({"logGroupName": name, "arn": scope.arn("logs", &format!("log-group:{name}:*")), "storedBytes": 0});
        json!({"logGroups": names.iter().map(group).collect::<Vec<_>>()})
    }

    fn get_log_events(&self, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
        let name = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
        let missing = |what: &str| {
            ServiceError::new("ResourceNotFoundException", format!("The specified log {what} does not exist."))
        };
        let streams = self.groups.get(&(scope.clone(), name("logGroupName"))).ok_or_else(|| missing("group"))?;
        let events = streams.get(&name("logStreamName")).ok_or_else(|| missing("stream"))?;
        let (start, end) = page(events.len(), input)?;
        let shown = events.get(start..end).unwrap_or_default().iter().map(
            |event| json!({"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.timestamp}),
        );
        Ok(json!({
            "events": shown.collect::<Value>(),
            "nextForwardToken": format!("f/{end}"),
            "nextBackwardToken": format!("b/{start}"),
        }))
    }
}

/// From where to where the events of an answer go, of so many.
fn page(count: usize, input: &Value) -> Result<(usize, usize), ServiceError> {
    let invalid = |message: &str| ServiceError::new("InvalidParameterException", message);
    let limit = match &input["limit"] {
        Value::Null => PAGE,
        limit => limit
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=PAGE).contains(limit))
            .ok_or_else(|| invalid("limit must be between 1 and 10000"))?,
    };
    let forwards = |start: usize| (start.min(count), count.min(start.saturating_add(limit)));
    let backwards = |end: usize| (end.min(count).saturating_sub(limit), end.min(count));
    let Some(token) = input["nextToken"].as_str() else {
        let from_head = input["startFromHead"].as_bool().unwrap_or_default();
        return Ok(if from_head { forwards(0) } else { backwards(count) });
    };
    let place = |digits: &str| digits.parse().map_err(|_| invalid("The specified nextToken is invalid."));
    match token.split_once('/') {
        Some(("f", digits)) => Ok(forwards(place(digits)?)),
        Some(("b", digits)) => Ok(backwards(place(digits)?)),
        _ => Err(invalid("The specified nextToken is invalid.")),
    }
}

/// Answers one request.
pub fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let Ok(input) = serde_json::from_slice::<Value>(body) else {
        return aws_json(Err(ServiceError::new("SerializationException", "")));
    };
    let State { logs, .. } = &mut *world.lock();
    aws_json(match operation {
        "GetLogEvents" => logs.get_log_events(scope, &input),
        "StartQuery" => logs.start_query(scope, &input),
        "GetQueryResults" => logs.query_results(&input),
        "StopQuery" => logs.stop_query(&input),
        "DescribeLogGroups" => Ok(logs.describe_groups(scope, &input)),
        _ => Err(ServiceError::new("UnknownOperationException", "")),
    })
}

impl World {
    /// Adds lines to a log stream of the world's own account and region.
    pub fn log_lines(&self, group: &str, stream: &str, lines: impl IntoIterator<Item = impl Into<String>>) {
        let mut state = self.lock();
        let now = state.now();
        state.logs.write(&Scope::default(), (group, stream), lines, now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn logs() -> Logs {
        let mut logs = Logs::default();
        logs.write(&Scope::default(), ("g", "s"), ["one", "two", "three"], OffsetDateTime::UNIX_EPOCH);
        logs
    }

    fn messages(answer: &Value) -> Vec<&str> {
        answer["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect()
    }

    fn get(more: &Value) -> Result<Value, ServiceError> {
        let mut input = json!({"logGroupName": "g", "logStreamName": "s"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        logs().get_log_events(&Scope::default(), &input)
    }

    #[test]
    fn the_last_events_come_first_and_in_their_order() {
        assert_eq!(messages(&get(&json!({})).unwrap()), ["one", "two", "three"]);
        let last = get(&json!({"limit": 2, "startFromHead": false})).unwrap();
        assert_eq!(messages(&last), ["two", "three"]);
        let before = get(&json!({"limit": 2, "nextToken": last["nextBackwardToken"]})).unwrap();
        assert_eq!(messages(&before), ["one"]);
        let first = get(&json!({"limit": 2, "startFromHead": true})).unwrap();
        assert_eq!(messages(&first), ["one", "two"]);
        assert_eq!(messages(&get(&json!({"nextToken": first["nextForwardToken"]})).unwrap()), ["three"]);
    }

    #[test]
    fn what_is_not_there_and_what_is_no_limit_is_refused() {
        for (more, code) in [
            (json!({"logGroupName": "other"}), "ResourceNotFoundException"),
            (json!({"logStreamName": "other"}), "ResourceNotFoundException"),
            (json!({"limit": 0}), "InvalidParameterException"),
            (json!({"limit": 10_001}), "InvalidParameterException"),
            (json!({"nextToken": "x"}), "InvalidParameterException"),
        ] {
            assert_eq!(get(&more).unwrap_err().code, code, "{more}");
        }
    }
}
