//! Syntax, types and variables of a document.

use super::{Backend, Switches, failure, http::Asked};
use crate::kept::Kept;
use apollo_compiler::{
    ExecutableDocument, Node, Schema, ast,
    executable::{Operation, SelectionSet},
    request::coerce_variable_values,
    response::{GraphQLError, JsonMap},
    validation::{DiagnosticList, Valid},
};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

const PREFECT: &str = include_str!("schema/prefect.graphql");
const HASURA: &str = include_str!("schema/hasura.graphql");
const CLOUD: &str = include_str!("schema/cloud.graphql");
const SERVER: &str = include_str!("schema/server.graphql");
/// The gateway's limit of nested selections.
const MAX_DEPTH: usize = 7;
const INVALID: &str = "GRAPHQL_VALIDATION_FAILED";

/// A document that may be executed.
pub(super) struct Document {
    pub(super) schema: &'static Valid<Schema>,
    pub(super) executable: Arc<Valid<ExecutableDocument>>,
    pub(super) variables: Valid<JsonMap>,
}

/// The documents of late, by schema: clients send the same few again and again.
static CHECKED: [Kept<Result<Arc<Valid<ExecutableDocument>>, Value>>; 4] = [const { Kept::new() }; 4];

/// The place of a backend's schema, with or without jsonb's `_contained_in`.
fn place(switches: &Switches) -> usize {
    usize::from(switches.backend == Backend::Server) * 2 + usize::from(switches.without_contained_in)
}

/// The schema of a backend, with or without jsonb's `_contained_in`.
fn schema(switches: &Switches) -> Result<&'static Valid<Schema>, Value> {
    static SCHEMAS: [OnceLock<Result<Valid<Schema>, String>>; 4] = [const { OnceLock::new() }; 4];
    let server = switches.backend == Backend::Server;
    let built = SCHEMAS[place(switches)].get_or_init(|| {
        let mut text = [PREFECT, HASURA, if server { SERVER } else { CLOUD }].concat();
        if switches.without_contained_in {
            text = text.replace("  _contained_in: jsonb\n", "");
        }
        Schema::parse_and_validate(text, "schema.graphql").map_err(|error| error.errors.to_string())
    });
    built.as_ref().map_err(|error| refusal(error.clone()))
}

/// Builds the usual schemas, once per process, so that no request that is measured pays for it.
pub(super) fn warm() {
    for backend in [Backend::Cloud, Backend::Server] {
        // A schema that does not build is told in every answer.
        let _ = schema(&Switches { backend, ..Switches::default() });
    }
}

fn refusal(message: String) -> Value {
    let error = GraphQLError { message, ..plain() };
    failure::request_error(INVALID, &error)
}

fn plain() -> GraphQLError {
    GraphQLError { message: String::new(), locations: Vec::new(), path: Vec::new(), extensions: JsonMap::new() }
}

/// Checks a document; the error is the answer's.
pub(super) fn prepare(switches: &Switches, asked: &Asked) -> Result<Document, Value> {
    let schema = schema(switches)?;
    let document = CHECKED[place(switches)].get_or(&asked.query, || checked(schema, &asked.query))?;
    let operation = document.operations.get(None).map_err(|error| refusal(error.message().to_string()))?;
    refuse_by_size(switches, asked, operation)?;
    let variables = coerce_variable_values(schema, operation, &bytes(&asked.variables))
        .map_err(|error| failure::request_error(failure::INTERNAL, &error.to_graphql_error(&document.sources)))?;
    Ok(Document { schema, executable: document, variables })
}

/// A document whose syntax and types are right.
fn checked(schema: &Valid<Schema>, query: &str) -> Result<Arc<Valid<ExecutableDocument>>, Value> {
    let parsed = ast::Document::parse(query, "request.graphql")
        .map_err(|error| failure::request_error("GRAPHQL_PARSE_FAILED", &first(&error.errors, "Syntax Error: ")))?;
    let document = parsed.to_executable_validate(schema);
    document.map(Arc::new).map_err(|errors| failure::request_error(INVALID, &first(&errors.errors, "")))
}

fn refuse_by_size(switches: &Switches, asked: &Asked, operation: &Node<Operation>) -> Result<(), Value> {
    if depth(&operation.selection_set) > MAX_DEPTH + 1 {
        return Err(refusal(format!("'' exceeds maximum operation depth of {MAX_DEPTH}")));
    }
    let reads_runs = operation.selection_set.fields().any(|field| field.name == "flow_run");
    if let Some(limit) = switches.max_flow_run_query.filter(|_| reads_runs) {
        let size = asked.query.len() + Value::Object(asked.variables.clone()).to_string().len();
        if size > limit {
            return Err(refusal(format!("The document is too complex: {size} bytes, of which {limit} are allowed.")));
        }
    }
    Ok(())
}

fn depth(selection: &SelectionSet) -> usize {
    selection.fields().map(|field| 1 + depth(&field.selection_set)).max().unwrap_or(0)
}

fn first(errors: &DiagnosticList, prefix: &str) -> GraphQLError {
    let Some(error) = errors.iter().next() else { return plain() };
    let mut json = error.to_json();
    json.message = format!("{prefix}{}", error.error.unstable_compat_message().unwrap_or(json.message));
    json
}

/// The same JSON, in the GraphQL library's own type.
pub(super) fn bytes(json: &serde_json::Map<String, Value>) -> JsonMap {
    json.iter().map(|(key, value)| (key.as_str().into(), value.clone().into())).collect()
}
