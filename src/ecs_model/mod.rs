//! The complete shapes of the requests that start a task, from AWS's own service model as botocore ships it, and what
//! botocore would say of a request that has not that shape.
//!
//! `shapes.txt` is derived by `scripts/ecs_shapes.py`; a test compares it with the newest botocore among the pins. It is
//! read when it is asked for first.

mod advice;
mod check;
mod model;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use advice::{is_said_by_aws, near};
pub use check::{Problems, ShapeError, ShapeProblem, check};
pub use model::{MemberType, botocore};

pub(crate) use model::{Shape, Structure, structure};

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
