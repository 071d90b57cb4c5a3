//! What each member of `RunTask` and `RegisterTaskDefinition` means for guardrails: `members.txt` names the rules that judge
//! it, or says why it is harmless. A test demands a decision for every member of the model; a member without one is refused.

use super::Rule;
use super::judging::{Violation, shown};
use super::requests::{DefinitionOrigin, Requests};
use crate::ecs_model::{Operation, Shape, Structure, botocore, is_said_by_aws, structure};
use crate::python_text::is_true;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What was decided about a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These rules judge it.
    Judged(Vec<Rule>),
    /// Nothing follows from it by itself: each of its members is decided.
    ByMembers,
    /// Why no rule needs to judge it.
    Harmless(&'static str),
}

const FILE: &str = include_str!("members.txt");

static DECISIONS: LazyLock<HashMap<&'static str, Decision>> = LazyLock::new(|| FILE.lines().filter_map(read).collect());

/// A line of the file; `None` = it is written otherwise, and a test finds that its member has no decision.
fn read(line: &'static str) -> Option<(&'static str, Decision)> {
    let (path, decision) = line.split_once(' ')?;
    let decision = match decision.split_once(' ') {
        Some((">", _)) => Decision::ByMembers,
        Some(("-", reason)) => Decision::Harmless(reason),
        _ => Decision::Judged(decision.split(' ').map(Rule::of_key).collect::<Option<_>>()?),
    };
    Some((path, decision))
}

/// What was decided about the member at a path such as `RunTask.overrides.containerOverrides[].command`.
pub fn decision(path: &str) -> Option<&'static Decision> {
    DECISIONS.get(path)
}

/// All decisions, in no order.
pub fn decisions() -> impl Iterator<Item = (&'static str, &'static Decision)> {
    DECISIONS.iter().map(|(path, decision)| (*path, decision))
}

/// What the requests have and nobody has decided on: members that are not known, and values that are of another type than ECS
/// takes, so that no rule can judge them.
pub(super) fn undecided(requests: &Requests<'_>) -> Vec<Violation> {
    let is_described = matches!(requests.origin, DefinitionOrigin::Named(_));
    let mut found = Vec::new();
    let definition = Operation::RegisterTaskDefinition.input();
    let place = if is_described { "DescribeTaskDefinition" } else { "RegisterTaskDefinition" };
    let mut walk = Walk { said_by_aws: is_described, found: &mut found };
    walk.members("RegisterTaskDefinition", place, requests.definition, definition);
    walk.said_by_aws = false;
    walk.members("RunTask", "RunTask", requests.run_task, Operation::RunTask.input());
    found
}

struct Walk<'f> {
    /// AWS says more of a definition than was asked for: what says nothing there asks for nothing.
    said_by_aws: bool,
    found: &'f mut Vec<Violation>,
}

impl Walk<'_> {
    fn members(&mut self, path: &str, place: &str, map: &Map<String, Value>, structure: &Structure) {
        for (name, value) in map {
            let is_at_top = !path.contains('.');
            let says_nothing = value.is_null() || (self.said_by_aws && !is_true(value));
            if says_nothing || (self.said_by_aws && is_at_top && is_said_by_aws(name)) {
                continue;
            }
            let (path, place) = (format!("{path}.{name}"), format!("{place}.{name}"));
            if let Some(member) = structure.member(name).filter(|_| decision(&path).is_some()) {
                self.value(&path, &place, value, &member.shape);
            } else {
                let allowed = format!("the members that the model of botocore {} has", botocore());
                self.refuse(&place, "a member that is not known".to_owned(), allowed);
            }
        }
    }

    fn value(&mut self, path: &str, place: &str, value: &Value, shape: &Shape) {
        match (shape, value) {
            (Shape::Structure(name), Value::Object(map)) => self.members(path, place, map, structure(name)),
            (Shape::List { of, .. }, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[]"), &format!("{place}[{index}]"), item, of);
                }
            }
            (Shape::Map(of), Value::Object(map)) => {
                for (key, value) in map {
                    self.value(&format!("{path}{{}}"), &format!("{place}.{key}"), value, of);
                }
            }
            (Shape::Text { .. }, Value::String(_)) | (Shape::Boolean, Value::Bool(_)) => {}
            (Shape::Integer { .. }, Value::Number(number)) if !number.is_f64() => {}
            _ => {
                let (found, wanted) = (kind(value), format!("{:?}", shape.kind()).to_lowercase());
                self.refuse(place, format!("a value that is {found}"), format!("a value of type {wanted}"));
            }
        }
    }

    fn refuse(&mut self, place: &str, asked: String, allowed: String) {
        self.found.push(Violation { rule: Rule::Members, place: shown(place), asked, allowed });
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
