//! What is the same to tell of Prefect 1 and of Prefect 3: an agent, its runs, and how far they are.

use crate::support::Deployment;
use serde_json::{Map, Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use world::World;
use world::prefect1::{self, FlowRunSpec, FlowSpec, StateRecord};
use world::prefect3::{self, DeploymentSpec, POOL, RunSpec, StateType};

/// Whose API an agent speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefect {
    One,
    Three,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Scheduled, now or later.
    Waiting,
    /// Submitted, or PENDING.
    Claimed,
    Running,
    Paused,
    Cancelling,
    Cancelled,
    /// Failed (Prefect 1), or CRASHED.
    Dead,
    /// It ended by itself.
    Ended,
}

/// A flow run as Prefect has it.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) phase: Phase,
    /// Names of all its states, oldest first.
    pub(crate) history: Vec<String>,
    /// Message of its state.
    pub(crate) message: String,
    /// Until when it waits, or one of its task runs does.
    pub(crate) waits_until: Option<OffsetDateTime>,
    /// Claimed for launch; of a Running run of Prefect 1: its task runs are.
    pub(crate) is_claimed: bool,
    /// The mark of ours in its state, or in that of a claimed task run; or null.
    pub(crate) mark: Value,
    /// Prefect 3: the task that is written down.
    pub(crate) pid: Option<String>,
}

/// The one flow of the stories: its runs share a task definition.
const FLOW: &str = "6c9a2b1e-0a61-4a3c-9a4e-5c3c6d1f0a01";
const MARK: &str = "prefect_serverless_agent";

impl Prefect {
    pub(crate) const BOTH: [Self; 2] = [Self::One, Self::Three];

    /// Its service in the journal and in faults.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::One => "prefect1",
            Self::Three => "prefect3",
        }
    }

    /// Operation of a claim, and of every other change of a run's state.
    pub(crate) fn set_state(self) -> &'static str {
        match self {
            Self::One => "set_flow_run_states",
            Self::Three => "set_state",
        }
    }

    /// A deployment with one agent `etl`, which launches what is due without holding it. `extra` is merged into its
    /// configuration.
    pub(crate) async fn deployment(self, extra: Value) -> Deployment {
        let deployment = Deployment::empty().await;
        if self == Self::Three {
            deployment.world.prefect3_deployment(DeploymentSpec::default());
        }
        self.agent(&deployment, "etl", extra);
        deployment
    }

    /// Writes the configuration of an agent, and the key of one of Prefect 1.
    pub(crate) fn agent(self, deployment: &Deployment, name: &str, extra: Value) {
        let mut config = Map::new();
        if self == Self::Three {
            let api = deployment.world.prefect3_url();
            config.extend(object(json!({"prefect": 3, "api": api, "work_pool": POOL})));
        }
        config.extend(object(json!({"prefetch_seconds": 0, "launch_rate": null})));
        config.extend(object(extra));
        match self {
            Self::One => deployment.agent(name, Value::Object(config)),
            Self::Three => deployment.configure(name, &Value::Object(config).to_string()),
        }
    }

    /// A run that was due a moment ago; its id.
    pub(crate) fn due_run(self, world: &World) -> String {
        match self {
            Self::One => world.create_flow_run(due("etl")),
            Self::Three => world.prefect3_run(RunSpec { start_in_seconds: -1.0, ..RunSpec::default() }),
        }
    }

    /// A run.
    pub(crate) fn run(self, world: &World, id: &str) -> Run {
        match self {
            Self::One => of_prefect1(&world.flow_run(id).unwrap()),
            Self::Three => of_prefect3(&world.prefect3_flow_run(id).unwrap()),
        }
    }

    /// All runs, oldest first.
    pub(crate) fn runs(self, world: &World) -> Vec<Run> {
        match self {
            Self::One => world.flow_runs().iter().map(of_prefect1).collect(),
            Self::Three => world.prefect3_flow_runs().iter().map(of_prefect3).collect(),
        }
    }

    /// Brings a run into a phase, as a person or the flow does it.
    pub(crate) fn bring(self, world: &World, id: &str, phase: Phase) {
        let (one, three) = match phase {
            Phase::Waiting => ("Scheduled", "SCHEDULED"),
            Phase::Claimed => ("Submitted", "PENDING"),
            Phase::Running => ("Running", "RUNNING"),
            Phase::Paused => ("Paused", "PAUSED"),
            Phase::Cancelling => ("Cancelling", "CANCELLING"),
            Phase::Cancelled => ("Cancelled", "CANCELLED"),
            Phase::Dead => ("Failed", "CRASHED"),
            Phase::Ended => ("Success", "COMPLETED"),
        };
        match self {
            Self::One => world.set_flow_run_state(id, &json!({"type": one})).unwrap(),
            Self::Three => {
                world.prefect3_set_state(id, &json!({"type": three})).unwrap();
            }
        }
    }

    /// The lines of a run's log, each with its level.
    pub(crate) fn log(self, world: &World, id: &str) -> Vec<(String, String)> {
        let level = |number: &Value| match number.as_i64() {
            Some(20) => "INFO",
            Some(30) => "WARNING",
            _ => "ERROR",
        };
        match self {
            Self::One => {
                let line = |line: prefect1::Log| (line.level, line.message.unwrap_or_default());
                world.flow_run_logs(id).into_iter().map(line).collect()
            }
            Self::Three => world.prefect3(|prefect3| {
                let line =
                    |line: &Value| (level(&line["level"]).to_owned(), line["message"].as_str().unwrap().to_owned());
                prefect3.flow_run_logs(id).map(line).collect()
            }),
        }
    }
}

/// A run of a flow that was due a moment ago.
pub(crate) fn due(flow: &str) -> FlowRunSpec {
    let flow = FlowSpec { id: Some(FLOW.into()), name: flow.to_owned(), ..FlowSpec::default() };
    FlowRunSpec { flow, start_in_seconds: -1.0, ..FlowRunSpec::default() }
}

/// Time passes for Prefect and AWS, while the functions go by the machine's clock.
pub(crate) fn time_passes(world: &World, seconds: u64) {
    world.grow_older(Duration::from_secs(seconds));
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn of_prefect1(run: &prefect1::FlowRun) -> Run {
    let phase = match run.state() {
        "Submitted" => Phase::Claimed,
        "Running" => Phase::Running,
        "Paused" => Phase::Paused,
        "Cancelling" => Phase::Cancelling,
        "Cancelled" => Phase::Cancelled,
        "Failed" => Phase::Dead,
        "Success" => Phase::Ended,
        _ => Phase::Waiting,
    };
    let state = run.current();
    let is_running = phase == Phase::Running && !run.task_runs.is_empty();
    let waiting = run.task_runs.iter().filter(|task_run| is_running && task_run.state() == "Retrying");
    let waiting = waiting.map(prefect1::TaskRun::current).chain([state.filter(|_| phase == Phase::Waiting)]);
    let is_submitted = |task_run: &prefect1::TaskRun| task_run.state() == "Submitted";
    let claimed_tasks = run.task_runs.iter().filter(|task_run| is_submitted(task_run));
    let states = [state].into_iter().chain(claimed_tasks.map(prefect1::TaskRun::current)).flatten();
    Run {
        id: run.id.clone(),
        phase,
        history: run.history().into_iter().map(str::to_owned).collect(),
        message: state.and_then(StateRecord::message).unwrap_or_default().to_owned(),
        waits_until: waiting.flatten().filter_map(StateRecord::start_time).min(),
        is_claimed: phase == Phase::Claimed || (is_running && run.task_runs.iter().all(is_submitted)),
        mark: states.map(|state| state.context()[MARK].clone()).find(|mark| !mark.is_null()).unwrap_or_default(),
        pid: None,
    }
}

fn of_prefect3(run: &prefect3::FlowRun) -> Run {
    let state = run.state().unwrap();
    let phase = match state.kind {
        StateType::Scheduled => Phase::Waiting,
        StateType::Pending => Phase::Claimed,
        StateType::Running => Phase::Running,
        StateType::Paused => Phase::Paused,
        StateType::Cancelling => Phase::Cancelling,
        StateType::Cancelled => Phase::Cancelled,
        StateType::Crashed => Phase::Dead,
        StateType::Completed | StateType::Failed => Phase::Ended,
    };
    Run {
        id: run.id.clone(),
        phase,
        history: run.history().into_iter().map(str::to_owned).collect(),
        message: state.message.clone().unwrap_or_default(),
        waits_until: run.next_scheduled_start_time.filter(|_| phase == Phase::Waiting),
        is_claimed: phase == Phase::Claimed,
        mark: state.data[MARK].clone(),
        pid: run.infrastructure_pid.clone(),
    }
}
