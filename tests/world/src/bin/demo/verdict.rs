//! What became of a flow run, and whether that is right.

use crate::{
    Error,
    deployment::Deployment,
    runs::{Expected, Seed},
};
use serde_json::Value;
use time::OffsetDateTime;
use world::{
    ecs::Task,
    prefect1::{FlowRun, StateRecord},
    route::Scope,
};

/// What became of a flow run.
pub(crate) struct Verdict {
    pub(crate) agent: &'static str,
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    /// Types of run configuration and storage.
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
    /// The types of its states, oldest first.
    pub(crate) states: Vec<String>,
    /// The message of its last state.
    pub(crate) message: String,
    pub(crate) tasks: Vec<Launched>,
    /// Seconds from its being due to its first task's start.
    pub(crate) late: Option<f64>,
    /// What is wrong; nothing: it ended as it should.
    pub(crate) wrong: Vec<String>,
}

/// A task of a flow run.
pub(crate) struct Launched {
    /// `family:revision` of its definition.
    pub(crate) definition: String,
    pub(crate) image: String,
    /// Launch type or capacity provider.
    pub(crate) on: String,
    /// How the flow run got its API key.
    pub(crate) key: &'static str,
}

impl Verdict {
    /// Looks at a flow run and its tasks.
    pub(crate) fn of(deployment: &Deployment, seed: &Seed, id: &str) -> Result<Self, Error> {
        let run = deployment.prefect_of(seed.agent).flow_run(id).ok_or_else(|| format!("{} is gone", seed.name))?;
        let started_by = format!("prefect/{}/{id}", seed.agent);
        let mut tasks = deployment.cloud.ecs_tasks();
        tasks.retain(|task| task.started_by.as_deref() == Some(started_by.as_str()));
        let due = due(&run);
        Ok(Self {
            agent: seed.agent,
            name: seed.name,
            why: seed.why,
            kind: kind(&run),
            labels: run.labels.clone(),
            states: run.history().into_iter().map(str::to_owned).collect(),
            message: message(&run).to_owned(),
            tasks: tasks.iter().map(|task| launched(deployment, task)).collect(),
            late: tasks.first().map(|task| (task.created_at - due).as_seconds_f64()),
            wrong: wrong(seed.expected, &run, &tasks, due),
        })
    }
}

fn message(run: &FlowRun) -> &str {
    run.current().and_then(StateRecord::message).unwrap_or_default()
}

/// When it was to start; a run that was created later could not be seen before.
fn due(run: &FlowRun) -> OffsetDateTime {
    run.scheduled_start_time.max(run.created)
}

fn kind(run: &FlowRun) -> String {
    let kind = |value: &Value, none: &str| value["type"].as_str().unwrap_or(none).to_owned();
    format!("{} · {}", kind(&run.run_config, "no run config"), kind(&run.flow.storage, "no storage"))
}

fn launched(deployment: &Deployment, task: &Task) -> Launched {
    let state = deployment.cloud.lock();
    let definition = state.ecs.find_definition(&Scope::default(), &task.definition_arn);
    let container = definition.and_then(|definition| definition.container("flow"));
    let described = task.describe(false);
    let on = described["capacityProviderName"].as_str().or(described["launchType"].as_str());
    Launched {
        definition: task.definition_arn.rsplit('/').next().unwrap_or_default().to_owned(),
        image: container.and_then(|container| container["image"].as_str()).unwrap_or_default().to_owned(),
        on: on.unwrap_or_default().to_owned(),
        key: key(container.unwrap_or(&Value::Null), &task.request),
    }
}

/// How the API key came to the container.
fn key(container: &Value, run_task: &Value) -> &'static str {
    const NAME: &str = "PREFECT__CLOUD__API_KEY";
    let secrets = container["secrets"].as_array().into_iter().flatten();
    if secrets.filter(|secret| secret["name"] == NAME).count() > 0 {
        return "as a secret";
    }
    let overrides = run_task["overrides"]["containerOverrides"].as_array().into_iter().flatten();
    let mut variables = overrides.flat_map(|one| one["environment"].as_array().into_iter().flatten());
    if variables.any(|variable| variable["name"] == NAME && variable["value"] != "") {
        "in its environment"
    } else {
        "none"
    }
}

fn wrong(expected: Expected, run: &FlowRun, tasks: &[Task], due: OffsetDateTime) -> Vec<String> {
    let (state, tasks_wanted, message) = match expected {
        Expected::Ended(state, message) => (state, 1, message),
        Expected::Failed(message) => ("Failed", 0, message),
        Expected::Cancelled => ("Cancelled", 0, ""),
        Expected::Untouched => ("Scheduled", 0, ""),
        Expected::GivenBack(message) => ("Scheduled", 0, message),
    };
    let mut wrong = Vec::new();
    if run.state() != state {
        wrong.push(format!("it should be {state}, and is {}", run.state()));
    }
    if !self::message(run).contains(message) {
        wrong.push(format!("its message should say {message:?}, and is {:?}", self::message(run)));
    }
    let claimed = run.history().contains(&"Submitted");
    match expected {
        Expected::Untouched | Expected::Cancelled if claimed => wrong.push("it was claimed".to_owned()),
        Expected::GivenBack(_) if !claimed => wrong.push("it was never claimed".to_owned()),
        _ => {}
    }
    if tasks.len() != tasks_wanted {
        wrong.push(format!("it should have {tasks_wanted} tasks, and has {}", tasks.len()));
    }
    for task in tasks {
        if task.created_at < due {
            wrong.push(format!("its task was started {} s early", (due - task.created_at).as_seconds_f64()));
        }
        let reason = task.stopped_reason.as_deref().unwrap_or_default();
        if task.last_status != "STOPPED" {
            wrong.push(format!("its task is still {}", task.last_status));
        } else if task.containers.iter().any(|container| container.exit_code != Some(0)) {
            wrong.push(format!("its container failed: {reason}: {}", task.output.trim()));
        }
    }
    wrong
}
