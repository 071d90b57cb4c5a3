//! The complete shapes of the requests that start a task, from AWS's own service model as botocore ships it, and what
//! botocore would say of a request that has not that shape.
//!
//! `shapes.txt` is derived by `scripts/ecs_shapes.py`; a test compares it with the newest botocore among the pins. It is
//! read when it is asked for first.
//!
//! Beside them the sizes of tasks as ECS takes them: `256`, `.25 vCPU`, `2 GB`.

mod check;
#[cfg(test)]
pub(crate) mod testing;

pub use check::{Problems, ShapeError, ShapeProblem, check, is_said_by_aws, near};

use std::collections::HashMap;
use std::sync::LazyLock;

/// An operation whose requests are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `RunTask`.
    RunTask,
    /// `RegisterTaskDefinition`.
    RegisterTaskDefinition,
}

/// What becomes of members that the model does not know: AWS adds members faster than we learn of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownMembers {
    /// They are refused, in botocore's words.
    #[default]
    Refuse,
    /// They are sent as they are.
    Send,
}

// `shapes.txt`, read.

/// What a value is, as far as requests know kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberType {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A truth value.
    Boolean,
    /// A list.
    List,
    /// A mapping.
    Mapping,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A text of at least so many characters.
    Text { least: i64 },
    /// A whole number of at least this.
    Integer { least: Option<i64> },
    /// A truth value.
    Boolean,
    /// A list of at least so many items.
    List { of: Box<Shape>, least: i64 },
    /// A mapping with any keys.
    Map(Box<Shape>),
    /// A mapping with known keys: a structure of this name.
    Structure(&'static str),
}

impl Shape {
    /// The kind of its values.
    pub(crate) fn kind(&self) -> MemberType {
        match self {
            Self::Text { .. } => MemberType::Text,
            Self::Integer { .. } => MemberType::Integer,
            Self::Boolean => MemberType::Boolean,
            Self::List { .. } => MemberType::List,
            Self::Map(_) | Self::Structure(_) => MemberType::Mapping,
        }
    }

    /// As `shapes.txt` writes it; `None` = it is written otherwise.
    fn read(text: &'static str) -> Option<Self> {
        let (text, least) = match text.rsplit_once(">=").map(|(text, least)| (text, least.parse::<i64>())) {
            Some((text, Ok(least))) => (text, Some(least)),
            _ => (text, None),
        };
        let between = |open, close| text.strip_prefix(open)?.strip_suffix(close);
        Some(match text {
            "" => return None,
            "string" => Self::Text { least: least.unwrap_or(0) },
            "integer" => Self::Integer { least },
            "boolean" => Self::Boolean,
            _ => match (between('[', ']'), between('{', '}')) {
                (Some(item), _) => Self::List { of: Box::new(Self::read(item)?), least: least.unwrap_or(0) },
                (_, Some(value)) => Self::Map(Box::new(Self::read(value)?)),
                (None, None) => Self::Structure(text),
            },
        })
    }
}

/// A mapping with known keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Structure {
    /// In AWS's own order.
    pub(crate) members: Vec<Member>,
    /// Exactly one of the members is given.
    pub(crate) is_union: bool,
}

/// A member of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) is_required: bool,
    pub(crate) shape: Shape,
}

impl Structure {
    /// The member of this name.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The names of all members.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.members.iter().map(|member| member.name).collect()
    }
}

/// All of the file.
#[derive(Debug, Default)]
struct Model {
    botocore: &'static str,
    /// In the order of the file.
    order: Vec<&'static str>,
    structures: HashMap<&'static str, Structure>,
}

const FILE: &str = include_str!("shapes.txt");

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(FILE));
static NOTHING: Structure = Structure { members: Vec::new(), is_union: false };

impl Model {
    /// Lines that are written otherwise are left out; a test holds that there are none.
    fn read(file: &'static str) -> Self {
        let mut model = Self::default();
        for line in file.lines() {
            match (line.strip_prefix(' '), line.strip_prefix("botocore ")) {
                (Some(member), _) => model.add(member),
                (_, Some(version)) => model.botocore = version,
                (None, None) => {
                    let (name, is_union) = line.strip_suffix(" |").map_or((line, false), |name| (name, true));
                    model.order.push(name);
                    model.structures.insert(name, Structure { is_union, ..Structure::default() });
                }
            }
        }
        model
    }

    fn add(&mut self, line: &'static str) {
        let structure = self.order.last().and_then(|name| self.structures.get_mut(name));
        let (Some(structure), Some((name, shape))) = (structure, line.split_once(' ')) else { return };
        let (name, is_required) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        structure.members.extend(Shape::read(shape).map(|shape| Member { name, is_required, shape }));
    }

    fn structure(&self, name: &str) -> &Structure {
        self.structures.get(name).unwrap_or(&NOTHING)
    }
}

/// The version of botocore whose model this is.
pub fn botocore() -> &'static str {
    MODEL.botocore
}

/// The structure of this name.
pub(crate) fn structure(name: &str) -> &'static Structure {
    MODEL.structure(name)
}

impl Operation {
    /// The structure of its requests.
    pub(crate) fn input(self) -> &'static Structure {
        structure(match self {
            Self::RunTask => "RunTaskRequest",
            Self::RegisterTaskDefinition => "RegisterTaskDefinitionRequest",
        })
    }
}

/// CPU units of an amount of CPU; 1024 are a vCPU.
pub fn cpu_units(cpu: &str) -> Option<u32> {
    units(cpu, "vcpu")
}

/// Mebibytes of an amount of memory.
pub fn mebibytes(memory: &str) -> Option<u32> {
    units(memory, "gb")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
fn units(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        None => text.parse().ok(),
        Some(number) => {
            let units = number.trim().parse::<f64>().ok()? * 1024.0;
            (units.fract() == 0.0 && (0.0..=1_000_000.0).contains(&units)).then_some(units as u32)
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod size_tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_numbers_or_with_their_unit() {
        for (cpu, expected) in [("256", Some(256)), (" .25 vCPU", Some(256)), ("4 vcpu", Some(4096)), ("a lot", None)] {
            assert_eq!(cpu_units(cpu), expected, "{cpu}");
        }
        for (memory, expected) in [("512", Some(512)), ("0.5GB", Some(512)), ("2 GB", Some(2048)), ("-1 GB", None)] {
            assert_eq!(mebibytes(memory), expected, "{memory}");
        }
    }
}
