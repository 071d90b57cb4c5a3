//! Errors, in the shape of Prefect's gateway.

use apollo_compiler::{
    parser::LineColumn,
    resolvers::{FieldError, ResolveInfo},
    response::{GraphQLError, ResponseDataPathSegment},
};
use serde_json::{Value, json};
use std::cell::RefCell;

/// The code of everything that goes wrong inside.
pub(super) const INTERNAL: &str = "INTERNAL_SERVER_ERROR";
/// What Prefect's own service says when the database cannot be asked, or refuses.
pub(super) const DATABASE: &str = "Unable to complete operation. An internal API error occurred.";
/// What the gateway says when Prefect's own service does not answer.
pub(super) const SERVICE: &str =
    "request to http://graphql:4201/graphql/ failed, reason: connect ECONNREFUSED 127.0.0.1:4201";

/// A field that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: String,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: INTERNAL.to_owned() }
    }

    pub(super) fn coded(code: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), code: code.to_owned() }
    }
}

fn locations(at: &[LineColumn]) -> Vec<Value> {
    at.iter().map(|at| json!({"line": at.line, "column": at.column})).collect()
}

/// An error of the request as a whole: syntax, types, variables.
pub(super) fn request_error(code: &str, error: &GraphQLError) -> Value {
    json!({"message": error.message, "locations": locations(&error.locations), "extensions": {"code": code}})
}

/// The failures of one document. They travel through the GraphQL library, which knows only messages, as numbers.
#[derive(Default)]
pub(super) struct Failures(RefCell<Vec<(Failure, Option<LineColumn>)>>);

impl Failures {
    /// Keeps a failure for [`Failures::render`].
    pub(super) fn fail(&self, info: &ResolveInfo<'_>, failure: Failure) -> FieldError {
        let key = info.field_selections().first().map(|field| field.response_key());
        let at = key.and_then(|key| key.location()?.line_column(&info.document().sources));
        let mut kept = self.0.borrow_mut();
        kept.push((failure, at));
        FieldError { message: (kept.len() - 1).to_string() }
    }

    /// An error of a field, as the answer has it.
    pub(super) fn render(&self, error: &GraphQLError) -> Value {
        let kept = self.0.borrow();
        let number = error.message.strip_prefix("resolver error: ").and_then(|number| number.parse::<usize>().ok());
        match number.and_then(|number| kept.get(number)) {
            Some((failure, at)) => field_error(failure, at.as_slice(), error),
            None => field_error(&Failure::new(&error.message), &error.locations, error),
        }
    }
}

/// An error of one field.
fn field_error(failure: &Failure, at: &[LineColumn], error: &GraphQLError) -> Value {
    let path: Vec<Value> = error
        .path
        .iter()
        .map(|segment| match segment {
            ResponseDataPathSegment::Field(name) => name.as_str().into(),
            ResponseDataPathSegment::ListIndex(index) => (*index).into(),
        })
        .collect();
    json!({
        "message": failure.message,
        "locations": locations(at),
        "path": path,
        "extensions": {"code": failure.code, "exception": {"message": failure.message}},
    })
}
