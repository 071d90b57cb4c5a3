//! What policies say of a request, as the documentation of IAM's evaluation logic has it: a Deny that matches decides, then
//! an Allow that matches, else nothing is allowed. Pure.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `service:Action`
    pub action: &'a str,
    /// ARN, or `*`.
    pub resource: &'a str,
    /// Keys in lower case, with their values.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it, and none denies it.
    Allowed,
    /// No statement says anything.
    ImplicitDeny,
    /// A statement denies it.
    ExplicitDeny,
}

/// Decides.
pub fn evaluate(policies: &[Value], request: &Request<'_>) -> Decision {
    let statements = policies.iter().flat_map(|policy| items(&policy["Statement"]));
    let matching: Vec<&Value> = statements.filter(|statement| matches(statement, request)).collect();
    let has = |effect: &str| matching.iter().any(|statement| statement["Effect"] == effect);
    match (has("Deny"), has("Allow")) {
        (true, _) => Decision::ExplicitDeny,
        (false, true) => Decision::Allowed,
        (false, false) => Decision::ImplicitDeny,
    }
}

/// Keys that policies ask for, whatever the request, and that nobody said.
pub fn missing(policies: &[Value], context: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let statements = policies.iter().flat_map(|policy| items(&policy["Statement"]));
    let blocks = statements.filter_map(|statement| statement["Condition"].as_object());
    let keys = blocks.flat_map(|block| block.values().filter_map(Value::as_object)).flat_map(|keys| keys.keys());
    keys.filter(|key| !context.contains_key(&key.to_lowercase())).cloned().collect()
}

/// One thing, or a list of them.
fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<&str> {
    items(value).into_iter().filter_map(Value::as_str).collect()
}

fn matches(statement: &Value, request: &Request<'_>) -> bool {
    let any = |patterns: &Value, text: &str, lower: bool| {
        texts(patterns).into_iter().any(|pattern| {
            if lower { is_like(&pattern.to_lowercase(), &text.to_lowercase()) } else { is_like(pattern, text) }
        })
    };
    let action = match statement.get("NotAction") {
        Some(others) => !any(others, request.action, true),
        None => any(&statement["Action"], request.action, true),
    };
    let resource = match statement.get("NotResource") {
        Some(others) => !any(others, request.resource, false),
        None => any(&statement["Resource"], request.resource, false),
    };
    action && resource && conditions(&statement["Condition"], request)
}

/// All operators and all of their keys must hold.
fn conditions(block: &Value, request: &Request<'_>) -> bool {
    block.as_object().into_iter().flatten().all(|(operator, keys)| {
        keys.as_object().into_iter().flatten().all(|(key, wanted)| condition(operator, key, &texts(wanted), request))
    })
}

fn condition(operator: &str, key: &str, wanted: &[&str], request: &Request<'_>) -> bool {
    let (set, operator) = match operator.split_once(':') {
        Some((set, operator)) => (Some(set), operator),
        None => (None, operator),
    };
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let values = request.context.get(&key.to_lowercase());
    if operator == "Null" {
        return wanted.iter().any(|wanted| (*wanted == "true") == values.is_none());
    }
    let (compare, is_negated): (fn(&str, &str) -> bool, bool) = match operator {
        "StringEquals" => (|wanted, value| wanted == value, false),
        "StringNotEquals" => (|wanted, value| wanted == value, true),
        "StringEqualsIgnoreCase" | "Bool" => (|wanted, value| wanted.eq_ignore_ascii_case(value), false),
        "StringLike" => (is_like, false),
        "StringNotLike" => (is_like, true),
        "ArnEquals" | "ArnLike" => (is_like_arn, false),
        "ArnNotEquals" | "ArnNotLike" => (is_like_arn, true),
        // What is not understood does not hold.
        _ => return false,
    };
    let Some(values) = values else {
        return if_exists || is_negated || set == Some("ForAllValues");
    };
    let holds = |value: &String| wanted.iter().any(|wanted| compare(wanted, value)) != is_negated;
    if set == Some("ForAllValues") { values.iter().all(holds) } else { values.iter().any(holds) }
}

/// `*` is any text, `?` any letter.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for letter in pattern {
        if letter == '*' {
            let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
            reached.iter_mut().skip(first).for_each(|reached| *reached = true);
            continue;
        }
        for index in (1..reached.len()).rev() {
            reached[index] = reached[index - 1] && (letter == '?' || letter == text[index - 1]);
        }
        reached[0] = false;
    }
    reached.last().copied().unwrap_or_default()
}

/// ARNs are compared part by part: a `*` does not reach beyond its colon, but in the last part.
fn is_like_arn(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut texts) = (pattern.splitn(6, ':'), text.splitn(6, ':'));
    loop {
        match (patterns.next(), texts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(text)) if is_like(pattern, text) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
