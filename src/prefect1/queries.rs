//! What is sent: look-ups, registration, the queue, runs, logs, and writes as fields of one document. Pure.

use super::Config;
use crate::orchestrator::Window;
use crate::python_text;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use time::{Duration, OffsetDateTime};

/// Rows of one page of our own query.
pub(super) const PAGE_ROWS: usize = 200;
/// Claims, and cancelled runs, that one poll deals with at most; the rest has its turn when these are gone.
const STANDING_ROWS: usize = 100;
/// Claims of others are counted up to here.
const FOREIGN_ROWS: usize = 200;
/// Ids that the queue itself returns at most.
pub(super) const QUEUE_IDS: usize = 25;
/// A running flow gets this long to retry its own task before the task counts as ours to start again.
const RETRY_BUFFER: Duration = Duration::seconds(3);

/// Which runs an agent takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// `None` in token mode: the token itself belongs to one tenant.
    pub tenant_id: Option<String>,
    /// The agent's labels.
    pub labels: Vec<String>,
}

impl Scope {
    /// The part of a filter that leaves out other tenants' runs.
    fn of_tenant(&self) -> Option<(String, Value)> {
        self.tenant_id.as_ref().map(|tenant_id| ("tenant_id".to_owned(), json!({ "_eq": tenant_id })))
    }
}

/// The times of one look, as the rows are judged by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// The time of the look.
    pub now: OffsetDateTime,
    /// Flow runs that start up to here are due.
    pub before: OffsetDateTime,
    /// Task runs that start up to here are due.
    pub retry_before: OffsetDateTime,
}

impl From<&Window> for Times {
    fn from(window: &Window) -> Self {
        Self { now: window.now, before: window.before, retry_before: window.now - RETRY_BUFFER }
    }
}

const SELECTION: &str = "id version state serialized_state run_config name \
flow { id version name environment storage core_version }";

/// The states in which a task run waits for its time.
macro_rules! scheduled_like {
    () => {
        "\"Scheduled\", \"Retrying\", \"Paused\", \"Resume\", \"Queued\""
    };
}

/// Scope of the legacy token, which must be `RUNNER`.
pub(super) fn token_scope() -> GraphqlDocument {
    GraphqlDocument::new("query { auth_info { api_token_scope } }", json!({}))
}

/// The tenant that an API key belongs to.
pub(super) fn tenant_of_key() -> GraphqlDocument {
    GraphqlDocument::new("query { auth_info { tenant_id } }", json!({}))
}

/// The tenants of a Prefect Server; the first one is taken.
pub(super) fn tenants() -> GraphqlDocument {
    GraphqlDocument::new("query { tenant { id } }", json!({}))
}

/// Settings kept in the backend.
pub(super) fn agent_config(id: &str) -> GraphqlDocument {
    let query = "query($id: uuid!) { agent_config(where: { id: { _eq: $id } }) { settings } }";
    GraphqlDocument::new(query, json!({ "id": id }))
}

/// Registration: idempotent, the server finds an agent of the same identity.
pub(super) fn register_agent(config: &Config, scope: &Scope, agent_config_id: Option<&str>) -> GraphqlDocument {
    let query = "mutation($input: register_agent_input!) { register_agent(input: $input) { id } }";
    let input = json!({
        "type": "ECSAgent", "name": config.name, "labels": scope.labels,
        "tenant_id": scope.tenant_id, "agent_config_id": agent_config_id,
    });
    GraphqlDocument::new(query, json!({ "input": input }))
}

/// The agent's sign of life, and the fallback: at most 25 ids.
pub(super) fn runs_in_queue(scope: &Scope, times: &Times) -> GraphqlDocument {
    let query = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }";
    let input =
        json!({ "before": python_text::iso_time(times.before), "labels": scope.labels, "tenant_id": scope.tenant_id });
    GraphqlDocument::new(query, json!({ "input": input }))
}

/// Our own look: all that is due, with the label rule applied by the database, so that no foreign run hides ours.
/// `shown`: runs of earlier pages, which are left out.
pub(super) fn due_runs(scope: &Scope, times: &Times, shown: &[String]) -> GraphqlDocument {
    let query = format!(
        "query($where: flow_run_bool_exp!, $retry: timestamptz!) {{ \
         flow_run(where: $where, order_by: {{ state_start_time: asc }}, limit: {PAGE_ROWS}) {{ {SELECTION} \
         task_runs(where: {{ state: {{ _in: [{}] }}, state_start_time: {{ _lte: $retry }} }}) \
         {{ id version task_id serialized_state }} }} }}",
        scheduled_like!()
    );
    let retry = python_text::iso_time(times.retry_before);
    let task_runs = json!({ "state": { "_in": super::SCHEDULED_LIKE }, "state_start_time": { "_lte": retry } });
    let mut filter = Map::new();
    filter.insert("labels".into(), labels_filter(&scope.labels));
    filter.insert(
        "_or".into(),
        json!([
            { "state": { "_eq": "Scheduled" }, "state_start_time": { "_lte": python_text::iso_time(times.before) } },
            { "state": { "_eq": "Running" }, "task_runs": task_runs },
        ]),
    );
    filter.extend(scope.of_tenant());
    filter.extend((!shown.is_empty()).then(|| ("id".to_owned(), json!({ "_nin": shown }))));
    GraphqlDocument::new(&query, json!({ "where": filter, "retry": retry }))
}

/// A run's labels must be among the agent's; unlabelled runs are for unlabelled agents only.
fn labels_filter(labels: &[String]) -> Value {
    if labels.is_empty() { json!({ "_contained_in": [] }) } else { json!({ "_contained_in": labels, "_neq": [] }) }
}

/// The Python agent's second request: what the ids of the queue are.
pub(super) fn metadata(ids: &[String], times: &Times) -> GraphqlDocument {
    let query = format!(
        "query($where: flow_run_bool_exp, $retry: timestamptz) {{ flow_run(where: $where) {{ {SELECTION} \
         task_runs(where: {{ state_start_time: {{ _lte: $retry }} }}) {{ id version task_id serialized_state }} }} }}"
    );
    let retry = python_text::iso_time(times.retry_before);
    let filter = json!({
        "id": { "_in": ids },
        "_or": [
            { "state": { "_eq": "Scheduled" } },
            { "state": { "_eq": "Running" }, "task_runs": { "state_start_time": { "_lte": retry } } },
        ],
    });
    GraphqlDocument::new(&query, json!({ "where": filter, "retry": retry }))
}

/// The flow runs that were made last, with their labels.
pub(super) fn last_runs(scope: &Scope) -> GraphqlDocument {
    let query = format!(
        "query last($where: flow_run_bool_exp!) {{ \
         flow_run(where: $where, order_by: {{ created: desc }}, limit: {PAGE_ROWS}) {{ labels {SELECTION} }} }}"
    );
    let filter: Map<String, Value> = scope.of_tenant().into_iter().collect();
    GraphqlDocument::new(&query, json!({ "where": filter }))
}

/// What runs are now, and those of their task runs that wait or are claimed.
pub(super) fn runs_now(ids: &[String]) -> GraphqlDocument {
    let query = format!(
        "query($where: flow_run_bool_exp!) {{ flow_run(where: $where) {{ id version state serialized_state \
         task_runs(where: {{ state: {{ _in: [{}, \"Submitted\"] }} }}) {{ id version serialized_state }} }} }}",
        scheduled_like!()
    );
    GraphqlDocument::new(&query, json!({ "where": { "id": { "_in": ids } } }))
}

/// What is looked for beside the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutstandingQuery<'a> {
    /// `<root>/<agent>`.
    pub marked_as: &'a str,
    /// Claims younger than this are left alone.
    pub before: OffsetDateTime,
    /// Runs that were Cancelled earlier are left alone.
    pub cancelled_since: OffsetDateTime,
}

/// Claims of this agent, claims of others, cancelled runs, the oldest first.
pub(super) fn outstanding(scope: &Scope, standing: &OutstandingQuery<'_>) -> GraphqlDocument {
    let rows = |limit: usize| format!("order_by: {{ state_timestamp: asc }}, limit: {limit}");
    let query = format!(
        "query standing($claimed: flow_run_bool_exp!, $foreign: flow_run_bool_exp!, $cancelling: flow_run_bool_exp!) {{ \
         claimed: flow_run(where: $claimed, {}) {{ {SELECTION} state_timestamp \
         task_runs(where: {{ state: {{ _eq: \"Submitted\" }} }}) \
         {{ id version task_id serialized_state state_timestamp }} }} \
         foreign: flow_run(where: $foreign, {}) {{ id labels }} \
         cancelling: flow_run(where: $cancelling, {}) {{ {SELECTION} state_timestamp start_time \
         states(where: {{ state: {{ _eq: \"Submitted\" }} }}) {{ timestamp serialized_state }} }} }}",
        rows(STANDING_ROWS),
        rows(FOREIGN_ROWS),
        rows(STANDING_ROWS),
    );
    // Marks tell our runs; labels are compared here, since not every server can.
    let scoped = |mut filter: Map<String, Value>| {
        filter.extend(scope.of_tenant());
        filter
    };
    GraphqlDocument::new(
        &query,
        json!({
            "claimed": scoped(standing.claimed()),
            "foreign": scoped(standing.foreign()),
            "cancelling": scoped(standing.cancelling()),
        }),
    )
}

/// A run whose task has changed, with its claims and those of its task runs, and the task runs that wait or are claimed.
pub(super) fn watched(flow_run_id: &str) -> GraphqlDocument {
    one_run("watch", flow_run_id, "")
}

/// One run as [`watched`] has it, and more of its fields.
fn one_run(name: &str, flow_run_id: &str, more: &str) -> GraphqlDocument {
    let query = format!(
        "query {name}($id: uuid!) {{ flow_run(where: {{ id: {{ _eq: $id }} }}) {{ {SELECTION} state_timestamp start_time \
         states(where: {{ state: {{ _eq: \"Submitted\" }} }}) {{ timestamp serialized_state }} \
         once_claimed: task_runs(where: {{ states: {{ state: {{ _eq: \"Submitted\" }} }} }}) \
         {{ states(where: {{ state: {{ _eq: \"Submitted\" }} }}) {{ timestamp serialized_state }} }} \
         task_runs(where: {{ state: {{ _in: [{}, \"Submitted\"] }} }}) \
         {{ id version task_id serialized_state state_timestamp }}{more} }} }}",
        scheduled_like!()
    );
    GraphqlDocument::new(&query, json!({ "id": flow_run_id }))
}

/// States of one run that its story is told from.
const STORY_STATES: usize = 200;

/// The same with its newest states, for its story.
pub(super) fn explained(flow_run_id: &str) -> GraphqlDocument {
    let more = format!(
        " labels tenant_id story: states(order_by: {{ timestamp: desc }}, limit: {STORY_STATES}) \
         {{ timestamp state message serialized_state }}"
    );
    one_run("explained", flow_run_id, &more)
}

/// Whether an agent with these labels takes a run with those.
pub(super) fn takes(agent: &[String], run: &[&str]) -> bool {
    run.iter().all(|label| agent.iter().any(|known| known == label)) && (agent.is_empty() || !run.is_empty())
}

/// Log lines, many in one call.
pub(super) fn write_run_logs(logs: &[Value]) -> GraphqlDocument {
    let query = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }";
    GraphqlDocument::new(query, json!({ "input": { "logs": logs } }))
}

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod tests;

// GraphQL documents: one request each, or many writes as aliased fields of one document.
//
// Several states inside one `states` list fail together although some were applied; aliased fields are independent:
// each has its own data or its own error.

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
