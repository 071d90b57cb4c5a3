//! What the function is given → the events in it. Pure.
//!
//! `EventBridge` delivers an event bare. One that could not be told waits in the failures' queue and is handed back by a
//! person, in whatever came around it: the record of Lambda's failure destination, a message as `aws sqs receive-message`
//! prints it, a batch as Lambda reads it from a queue, one inside another. Nothing is silently dropped: what is not
//! understood is [`NotAnEvent`], so that it is delivered again and kept.

use super::event::{DETAIL_TYPE, SOURCE};
use serde_json::{Map, Value};

/// So many envelopes around an event are opened: a record in a message, handed back, failed and handed back again.
const MAX_ENVELOPES: usize = 4;

/// How many characters of what was given instead are shown.
const SHOWN: usize = 60;

/// How many keys of an object are shown.
const SHOWN_KEYS: usize = 8;

/// Something that was given is no event, and no envelope with one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place}{found}; what is understood is an event \"{DETAIL_TYPE}\" of {SOURCE}, by itself, as the `requestPayload` of \
     a failure destination's record, or as the body of a queue's messages, one inside another up to {MAX_ENVELOPES} deep"
)]
pub struct NotAnEvent {
    /// Where in what was given; empty = all of it.
    place: String,
    /// What is there.
    found: String,
}

/// The events in what was given, in order; at least one entry.
pub fn events(given: &Value) -> Vec<Result<Value, NotAnEvent>> {
    let mut found = Vec::new();
    open(given, &[], &mut found);
    found
}

/// `path`: the envelopes around it.
fn open(given: &Value, path: &[String], found: &mut Vec<Result<Value, NotAnEvent>>) {
    let wrong = |what: String| {
        let place = if path.is_empty() { String::new() } else { format!("{}: ", path.join(", ")) };
        Err(NotAnEvent { place, found: what })
    };
    let Value::Object(fields) = given else { return found.push(wrong(described(given))) };
    if let (Some(source), Some(kind)) = (fields.get("source"), fields.get("detail-type")) {
        return found.push(match (source.as_str(), kind.as_str(), fields.get("detail")) {
            (Some(SOURCE), Some(DETAIL_TYPE), Some(Value::Object(_))) => Ok(given.clone()),
            (Some(SOURCE), Some(DETAIL_TYPE), _) => wrong("the event has no `detail`, or one that is no object".into()),
            _ => wrong(format!("this is an event {} of {}", cut(&kind.to_string()), cut(&source.to_string()))),
        });
    }
    let Some(contents) = contents(fields) else { return found.push(wrong(described(given))) };
    if path.len() >= MAX_ENVELOPES {
        return found.push(wrong("there is yet another envelope".into()));
    }
    if contents.is_empty() {
        return found.push(wrong("there is no message".into()));
    }
    for (name, content) in contents {
        let path = [path, &[name]].concat();
        match content {
            // A message's body is a text; some tools have read it already.
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(content) => open(&content, &path, found),
                Err(_) => open(&Value::String(text.clone()), &path, found),
            },
            content => open(content, &path, found),
        }
    }
}

/// What an envelope holds, with names for people; `None` = it is no envelope.
fn contents<'v>(fields: &'v Map<String, Value>) -> Option<Vec<(String, &'v Value)>> {
    if let Some(payload) = fields.get("requestPayload") {
        return Some(vec![("`requestPayload`".to_owned(), payload)]);
    }
    if let Some(body) = body(fields) {
        return Some(vec![("the message's body".to_owned(), body)]);
    }
    let messages = ["Messages", "Records"].iter().find_map(|key| fields.get(*key)?.as_array())?;
    let content = |(index, message): (usize, &'v Value)| {
        // What has no body is shown as it is.
        let content = message.as_object().and_then(body).unwrap_or(message);
        (format!("message {} of {}", index + 1, messages.len()), content)
    };
    Some(messages.iter().enumerate().map(content).collect())
}

/// As the command line and as Lambda spell it.
fn body(message: &Map<String, Value>) -> Option<&Value> {
    message.get("Body").or_else(|| message.get("body"))
}

fn described(given: &Value) -> String {
    match given {
        Value::Null => "there is nothing (null)".to_owned(),
        Value::Array(items) => format!("this is a list of {} things", items.len()),
        Value::Object(fields) if fields.is_empty() => "this is an empty object".to_owned(),
        Value::Object(fields) => {
            let keys: Vec<String> = fields.keys().take(SHOWN_KEYS).map(|key| format!("`{}`", cut(key))).collect();
            let more = if fields.len() > SHOWN_KEYS { ", …" } else { "" };
            format!("this is an object with {}{more}", keys.join(", "))
        }
        Value::String(text) => format!("this is the text {:?}, which is no JSON object", cut(text)),
        other => format!("this is {}", cut(&other.to_string())),
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push(crate::redaction::CUT);
    }
    shown
}

#[cfg(test)]
mod tests;
