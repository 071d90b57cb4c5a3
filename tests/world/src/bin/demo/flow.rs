//! `prefect execute flow-run`, as it runs in the containers: reads its environment like the real one, and walks its
//! flow run through the states over the API.

use crate::{Error, http};
use serde_json::{Value, json};
use std::{collections::HashMap, process::ExitCode, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The program's name on the containers' `PATH`.
pub(crate) const NAME: &str = "prefect";

/// What it calls itself, so that its requests can be told from the agents'.
pub(crate) const USER_AGENT: &str = "demo-flow-run";

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long the flow's work takes.
const WORK: Duration = Duration::from_millis(100);

const RUN: &str = "query($id: uuid!) { flow_run_by_pk(id: $id) { version serialized_state
    task_runs { id version serialized_state } } }";
const SET_FLOW_RUN: &str =
    "mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id status } } }";
const SET_TASK_RUN: &str =
    "mutation($input: set_task_run_states_input!) { set_task_run_states(input: $input) { states { id status } } }";

/// The program.
pub(crate) async fn run() -> ExitCode {
    let command: Vec<String> = std::env::args().skip(1).collect();
    match execute(&command, &std::env::vars().collect()).await {
        Ok(id) => {
            println!("Flow run {id}: all reference tasks succeeded");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: &[String], environment: &HashMap<String, String>) -> Result<String, Error> {
    // `cloud-flow` is what flows of Prefect older than 0.13 are started with.
    if !matches!(command, [execute, what] if execute == "execute" && (what == "flow-run" || what == "cloud-flow")) {
        return Err(format!("unknown command: {}", command.join(" ")).into());
    }
    let api = Api::of(environment)?;
    let id = variable(environment, "PREFECT__CONTEXT__FLOW_RUN_ID")?.to_owned();
    let run = api.ask(RUN, json!({"id": id})).await?["flow_run_by_pk"].take();
    if run.is_null() {
        return Err(format!("Flow run {id} not found").into());
    }
    let state = &run["serialized_state"];
    let waiting = if state["type"] == "Submitted" { &state["state"] } else { state };
    if starts_later(waiting) {
        return Err(format!("Flow run {id} starts later, at {}", waiting["start_time"]).into());
    }
    let mut version = run["version"].as_i64().unwrap_or_default();
    match state["type"].as_str().unwrap_or_default() {
        "Submitted" | "Scheduled" => {
            api.set_flow_run(&id, version, "Running", "Running flow.").await?;
            version += 1;
        }
        "Running" => {}
        other => return Err(format!("Flow run {id} is {other}").into()),
    }
    let tasks: Vec<&Value> = run["task_runs"].as_array().into_iter().flatten().collect();
    for task in &tasks {
        api.set_task_run(task, 0, "Running").await?;
    }
    tokio::time::sleep(WORK).await;
    for task in &tasks {
        api.set_task_run(task, 1, "Success").await?;
    }
    api.set_flow_run(&id, version, "Success", "All reference tasks succeeded.").await?;
    Ok(id)
}

fn starts_later(state: &Value) -> bool {
    let start = state["start_time"].as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    start.is_some_and(|start| start > OffsetDateTime::now_utc())
}

fn variable<'a>(environment: &'a HashMap<String, String>, name: &str) -> Result<&'a str, Error> {
    let value = environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| format!("{name} is not in the environment").into())
}

/// The API that the environment names.
struct Api {
    url: String,
    authorization: Option<String>,
}

impl Api {
    fn of(environment: &HashMap<String, String>) -> Result<Self, Error> {
        let url = variable(environment, "PREFECT__CLOUD__API")?.to_owned();
        let key = match variable(environment, "PREFECT__BACKEND")? {
            "server" => None,
            _ => Some(
                variable(environment, "PREFECT__CLOUD__API_KEY")
                    .or_else(|_| variable(environment, "PREFECT__CLOUD__AUTH_TOKEN"))?,
            ),
        };
        Ok(Self { url, authorization: key.map(|key| format!("Bearer {key}")) })
    }

    async fn set_flow_run(&self, id: &str, version: i64, kind: &str, message: &str) -> Result<(), Error> {
        let state = json!({"type": kind, "message": message});
        let states = json!([{"flow_run_id": id, "version": version, "state": state}]);
        self.ask(SET_FLOW_RUN, json!({"input": {"states": states}})).await.map(drop)
    }

    async fn set_task_run(&self, task: &Value, later: i64, kind: &str) -> Result<(), Error> {
        let version = task["version"].as_i64().unwrap_or_default() + later;
        let states = json!([{"task_run_id": task["id"], "version": version, "state": {"type": kind}}]);
        self.ask(SET_TASK_RUN, json!({"input": {"states": states}})).await.map(drop)
    }

    /// The data of an answer without errors.
    async fn ask(&self, query: &str, variables: Value) -> Result<Value, Error> {
        let body = json!({"query": query, "variables": variables});
        let authorization = self.authorization.iter().map(|value| ("authorization", value.as_str()));
        let headers: Vec<_> = authorization.chain([("user-agent", USER_AGENT)]).collect();
        let (status, mut answer) = http::ask(LIMIT, "POST", &self.url, &headers, Some(&body)).await?;
        if status != 200 || !answer["errors"].is_null() {
            return Err(format!("the API refused: {status}: {answer}").into());
        }
        Ok(answer["data"].take())
    }
}
