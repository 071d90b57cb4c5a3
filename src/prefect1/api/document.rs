//! GraphQL documents: one request each, or many writes as aliased fields of one document.
//!
//! Several states inside one `states` list fail together although some were applied; aliased fields are independent:
//! each has its own data or its own error.

use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Aliases of one document at most.
const MAX_ALIASES: usize = 100;
/// Bytes of variables in one document at most: servers take bodies of up to 5 MB.
const MAX_BYTES: usize = 3_000_000;

/// A GraphQL request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GraphqlDocument {
    /// The text.
    pub query: String,
    /// The variables.
    pub variables: Map<String, Value>,
}

impl GraphqlDocument {
    /// A document of fixed text. `variables` is an object.
    pub(super) fn new(query: &str, variables: Value) -> Self {
        let variables = if let Value::Object(variables) = variables { variables } else { Map::new() };
        Self { query: query.to_owned(), variables }
    }

    /// The body of the request.
    pub(super) fn body(&self) -> Value {
        json!({ "query": self.query, "variables": self.variables })
    }
}

/// What a state is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `set_flow_run_states`.
    FlowRun,
    /// `set_task_run_states`.
    TaskRun,
}

impl Target {
    fn field(self) -> &'static str {
        match self {
            Self::FlowRun => "set_flow_run_states",
            Self::TaskRun => "set_task_run_states",
        }
    }

    fn id_key(self) -> &'static str {
        match self {
            Self::FlowRun => "flow_run_id",
            Self::TaskRun => "task_run_id",
        }
    }
}

/// One state to set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SetState {
    /// Index of the caller's item that this belongs to.
    pub owner: usize,
    /// Flow run or task run.
    pub target: Target,
    /// Its id.
    pub id: String,
    /// The version that must still hold, where the server checks it.
    pub version: Option<i64>,
    /// The state.
    pub state: Value,
}

impl SetState {
    fn input(&self) -> Value {
        let mut item = Map::new();
        item.insert(self.target.id_key().into(), json!(self.id));
        if let Some(version) = self.version {
            item.insert("version".into(), json!(version));
        }
        item.insert("state".into(), self.state.clone());
        json!({ "states": [item] })
    }
}

/// Alias of the `index`-th field of a document.
pub(super) fn alias(index: usize) -> String {
    format!("r{index}")
}

/// The documents that set `states`, each with how many of them it holds (in order).
pub(super) fn set_states(states: &[SetState]) -> Vec<(GraphqlDocument, usize)> {
    let (mut documents, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for state in states {
        let input = state.input();
        let size = input.to_string().len();
        if !chunk.is_empty() && (chunk.len() == MAX_ALIASES || bytes + size > MAX_BYTES) {
            documents.push(document(std::mem::take(&mut chunk)));
            bytes = 0;
        }
        chunk.push((state, input));
        bytes += size;
    }
    if !chunk.is_empty() {
        documents.push(document(chunk));
    }
    documents
}

fn document(states: Vec<(&SetState, Value)>) -> (GraphqlDocument, usize) {
    let (mut declarations, mut fields) = (String::new(), String::new());
    let (mut variables, count) = (Map::new(), states.len());
    for (index, (state, input)) in states.into_iter().enumerate() {
        let (field, alias) = (state.target.field(), alias(index));
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(declarations, "{comma}$i{index}: {field}_input!");
        let _ = write!(fields, " {alias}: {field}(input: $i{index}) {{ states {{ id status message }} }}");
        variables.insert(format!("i{index}"), input);
    }
    (GraphqlDocument { query: format!("mutation({declarations}) {{{fields} }}"), variables }, count)
}

#[cfg(test)]
mod tests;
