//! What botocore says of a request, as its `ParamValidator` finds it, and what somebody can do about it.

use super::{MemberType, Operation, Shape, Structure, UnknownMembers, botocore, structure};
use crate::python_text::{text, type_name};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// More problems than this are only counted.
const MOST: usize = 20;
/// Values and keys are cut after so many characters.
const SHOWN: usize = 200;

/// All that is wrong with a request.
#[derive(Debug, Default)]
pub struct Problems<'a> {
    /// The first of them, in botocore's order.
    pub first: Vec<ShapeProblem<'a>>,
    /// How many more there are.
    pub more: usize,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapeProblem<'a> {
    /// Where: `containerDefinitions[0].image`; empty = the request as a whole.
    pub path: String,
    /// What.
    pub trouble: ShapeError<'a>,
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq)]
pub enum ShapeError<'a> {
    /// It has a member that the model does not know.
    Unknown {
        /// The member.
        name: &'a str,
        /// The members that it may have.
        known: Vec<&'static str>,
    },
    /// It lacks a member.
    Missing {
        /// The member.
        name: &'static str,
        /// What it would be.
        kind: MemberType,
    },
    /// It is of another type.
    Type {
        /// What is there.
        value: &'a Value,
        /// What may be there.
        kind: MemberType,
    },
    /// A text or list is too short.
    Length {
        /// Its length.
        length: usize,
        /// The smallest length.
        least: i64,
    },
    /// A number is too small.
    Value {
        /// The number.
        value: &'a Value,
        /// The smallest number.
        least: i64,
    },
    /// Not exactly one member of a union is given.
    Union {
        /// How many are.
        given: usize,
        /// Its members.
        members: Vec<&'static str>,
    },
}

/// Checks a request. `ours`: members that are put in later, and so may be missing.
pub fn check<'a>(
    operation: Operation,
    body: &'a Map<String, Value>,
    ours: &[&str],
    unknown: UnknownMembers,
) -> Problems<'a> {
    let mut checking = Checking { unknown, problems: Problems::default() };
    checking.members("", body, operation.input(), ours);
    checking.problems
}

struct Checking<'a> {
    unknown: UnknownMembers,
    problems: Problems<'a>,
}

impl<'a> Checking<'a> {
    fn report(&mut self, path: &str, trouble: ShapeError<'a>) {
        if self.problems.first.len() < MOST {
            self.problems.first.push(ShapeProblem { path: path.to_owned(), trouble });
        } else {
            self.problems.more += 1;
        }
    }

    fn members(&mut self, path: &str, map: &'a Map<String, Value>, structure: &Structure, ours: &[&str]) {
        if structure.is_union && map.len() != 1 {
            self.report(path, ShapeError::Union { given: map.len(), members: structure.names() });
        }
        for member in structure.members.iter().filter(|member| member.is_required && !ours.contains(&member.name)) {
            if !map.contains_key(member.name) {
                self.report(path, ShapeError::Missing { name: member.name, kind: member.shape.kind() });
            }
        }
        if self.unknown == UnknownMembers::Refuse {
            for name in map.keys().filter(|name| structure.member(name).is_none()) {
                self.report(path, ShapeError::Unknown { name, known: structure.names() });
            }
        }
        for (name, value) in map {
            if let Some(member) = structure.member(name) {
                let dot = if path.is_empty() { "" } else { "." };
                self.value(&format!("{path}{dot}{name}"), value, &member.shape);
            }
        }
    }

    fn value(&mut self, path: &str, value: &'a Value, shape: &Shape) {
        match (shape, value) {
            (Shape::Structure(name), Value::Object(map)) => self.members(path, map, structure(name), &[]),
            (Shape::Map(of), Value::Object(map)) => {
                for (key, value) in map {
                    self.value(&format!("{path}.{}", shortened(key)), value, of);
                }
            }
            (Shape::List { of, least }, Value::Array(items)) => {
                self.length(path, items.len(), *least);
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), item, of);
                }
            }
            (Shape::Text { least }, Value::String(text)) => self.length(path, text.chars().count(), *least),
            (Shape::Integer { least }, Value::Number(number)) if !number.is_f64() => {
                if let (Some(least), Some(found)) = (least, number.as_i64())
                    && found < *least
                {
                    self.report(path, ShapeError::Value { value, least: *least });
                }
            }
            (Shape::Boolean, Value::Bool(_)) => {}
            _ => self.report(path, ShapeError::Type { value, kind: shape.kind() }),
        }
    }

    fn length(&mut self, path: &str, length: usize, least: i64) {
        if i64::try_from(length).is_ok_and(|length| length < least) {
            self.report(path, ShapeError::Length { length, least });
        }
    }
}

impl Problems<'_> {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// One sentence each, in botocore's words.
    pub fn sentences(&self) -> Vec<String> {
        self.sentences_showing(&|_| true)
    }

    /// As [`Self::sentences`], with those values only that may be shown.
    pub fn sentences_showing(&self, may_show: &dyn Fn(&Value) -> bool) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("(and {} more)", self.more));
        self.first.iter().map(|problem| problem.sentence(may_show)).chain(more).collect()
    }
}

impl ShapeProblem<'_> {
    /// The sentence of botocore's `ParamValidationError`; long values are cut.
    fn sentence(&self, may_show: &dyn Fn(&Value) -> bool) -> String {
        let shown = |value: &Value| {
            if may_show(value) { shortened(&text(value)).into_owned() } else { "(hidden)".to_owned() }
        };
        let place = if self.path.is_empty() { "input" } else { &self.path };
        match &self.trouble {
            ShapeError::Unknown { name, known } => {
                let (name, known) = (shortened(name), known.join(", "));
                format!("Unknown parameter in {place}: \"{name}\", must be one of: {known}")
            }
            ShapeError::Missing { name, .. } => format!("Missing required parameter in {place}: \"{name}\""),
            ShapeError::Type { value, kind } => format!(
                "Invalid type for parameter {place}, value: {}, type: <class '{}'>, valid types: {}",
                shown(value),
                type_name(value),
                python_types(*kind),
            ),
            ShapeError::Length { length, least } => {
                format!("Invalid length for parameter {place}, value: {length}, valid min length: {least}")
            }
            ShapeError::Value { value, least } => {
                format!("Invalid value for parameter {place}, value: {}, valid min value: {least}", shown(value))
            }
            ShapeError::Union { given: 0, members } => {
                let members = members.join(", ");
                format!("Must set one of the following keys for tagged unionstructure {place}: {members}.")
            }
            ShapeError::Union { members, .. } => format!(
                "Invalid number of parameters set for tagged union structure {place}. Can only set one of the following \
                 keys: {}.",
                members.join(", ")
            ),
        }
    }
}

/// The Python types that botocore takes for a kind.
fn python_types(kind: MemberType) -> &'static str {
    match kind {
        MemberType::Text => "<class 'str'>",
        MemberType::Integer => "<class 'int'>",
        MemberType::Boolean => "<class 'bool'>",
        MemberType::List => "<class 'list'>, <class 'tuple'>",
        MemberType::Mapping => "<class 'dict'>",
    }
}

/// A text whose end is cut where it is long.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

// What somebody can do who wrote a member that the model does not know.

/// What AWS says of a task definition beyond what was registered.
const SAID_BY_AWS: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// The known member that an unknown one differs from by case and separators only: `Family`, `ephemeral_storage`.
pub fn near(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect::<String>();
    let wanted = plain(name);
    known.iter().find(|known| wanted.eq_ignore_ascii_case(&plain(known))).copied()
}

/// Whether a member belongs to an answer of `describe-task-definition`, and not to what is registered.
pub fn is_said_by_aws(name: &str) -> bool {
    SAID_BY_AWS.contains(&name)
}

impl Problems<'_> {
    /// What to do about unknown members; `None` = there are none.
    pub fn advice(&self) -> Option<String> {
        let unknown: Vec<_> = self.first.iter().filter_map(ShapeProblem::unknown).collect();
        if unknown.is_empty() {
            return None;
        }
        let mut advice = Vec::new();
        for (_, name, known) in &unknown {
            if let Some(near) = near(name, known) {
                advice.push(format!("Write \"{near}\" for \"{}\".", shortened(name)));
            }
        }
        let of_input = |name: &str| unknown.iter().any(|(path, unknown, _)| path.is_empty() && *unknown == name);
        if of_input("taskDefinition") {
            advice.push(
                "An answer of describe-task-definition has the definition below \"taskDefinition\": take that part."
                    .into(),
            );
        }
        if SAID_BY_AWS.iter().any(|name| of_input(name)) {
            let all = SAID_BY_AWS.join(", ");
            advice.push(format!("What AWS says of a registered definition is not part of it: leave out {all}."));
        }
        advice.push(format!(
            "This is the model of botocore {}: what AWS has added since is sent as it is with `unknown_members: send` in \
             the agent's configuration.",
            botocore()
        ));
        advice.dedup();
        Some(advice.join(" "))
    }
}

impl ShapeProblem<'_> {
    /// Where an unknown member is, its name and those that are known.
    fn unknown(&self) -> Option<(&str, &str, &[&'static str])> {
        match &self.trouble {
            ShapeError::Unknown { name, known } => Some((&self.path, name, known)),
            _ => None,
        }
    }
}
