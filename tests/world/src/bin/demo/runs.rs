//! The flow runs: recorded ones from `tests/golden`, some with a twist, and those of real flows; and what is to become of
//! each.

use crate::Error;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use world::{
    Fault, FaultKind, World,
    ecs::Refusal,
    prefect1::{FlowRunSpec, FlowSpec, TaskRunSpec},
};

/// How long after the start of the demo the runs start that are to be held.
const HELD: f64 = 3.0;

/// What is to become of a flow run.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// Its flow ends in this state, by one task, and the message says this.
    Ended(&'static str, &'static str),
    /// It fails before it has a task, and the message says this.
    Failed(&'static str),
    /// It is cancelled before it has a task.
    Cancelled,
    /// Nobody touches it.
    Untouched,
    /// No task could be had: it is scheduled again, and the message says this.
    GivenBack(&'static str),
}

/// Where a flow run comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// The recorded case of this name.
    Recorded(&'static str),
    /// The real flow of this name.
    Real(&'static str),
}

/// A flow run to be created.
pub(crate) struct Seed {
    /// The agent it is meant for.
    pub(crate) agent: &'static str,
    /// Name of the flow run: what is recorded there, or the twist.
    pub(crate) name: &'static str,
    /// Why it is here.
    pub(crate) why: &'static str,
    pub(crate) expected: Expected,
    /// It is created just before the poke, not before the first poll.
    pub(crate) late: bool,
    origin: Origin,
    change: fn(&mut FlowRunSpec),
    trap: fn(&World, &str),
}

impl Seed {
    const fn new(agent: &'static str, case: &'static str, why: &'static str) -> Self {
        let (origin, expected) = (Origin::Recorded(case), Expected::Ended("Success", ""));
        Self { agent, name: case, why, expected, late: false, origin, change: |_| {}, trap: |_, _| {} }
    }

    /// A run of a real flow.
    pub(crate) const fn real(agent: &'static str, flow: &'static str, why: &'static str) -> Self {
        Self { origin: Origin::Real(flow), ..Self::new(agent, flow, why) }
    }

    const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(crate) const fn becomes(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    const fn late(self) -> Self {
        Self { late: true, ..self }
    }

    /// Changes what was recorded.
    const fn with(self, change: fn(&mut FlowRunSpec)) -> Self {
        Self { change, ..self }
    }

    /// Does something to the world about this run.
    const fn trapped(self, trap: fn(&World, &str)) -> Self {
        Self { trap, ..self }
    }

    /// Creates the flow run in Prefect; its id. `aws` is the world where its task is to run, `registered` the real flows
    /// by name.
    pub(crate) fn create(
        &self,
        prefect: &World,
        aws: &World,
        registered: &BTreeMap<String, Value>,
    ) -> Result<String, Error> {
        let mut spec = match self.origin {
            Origin::Recorded(case) => {
                let case = recorded(if self.agent == "reports" { "v1-0.15.0" } else { "v1-1.4.1" }, case)?;
                for (path, text) in case["files"].as_object().into_iter().flatten() {
                    store(aws, path, text.as_str().unwrap_or_default())?;
                }
                spec(self.name, &case["flow_run"])?
            }
            Origin::Real(flow) => real(flow, registered.get(flow).ok_or_else(|| format!("there is no flow {flow}"))?)?,
        };
        spec.labels.extend(match self.agent {
            "lab" => None,
            agent => Some(agent.to_owned()),
        });
        (self.change)(&mut spec);
        let id = prefect.create_flow_run(spec);
        (self.trap)(aws, &id);
        Ok(id)
    }
}

/// A recorded case.
fn recorded(folder: &str, case: &str) -> Result<Value, Error> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(folder).join(format!("{case}.json"));
    let text = std::fs::read_to_string(&golden).map_err(|error| format!("{}: {error}", golden.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// A file that a recorded run names, where AWS has it.
fn store(aws: &World, path: &str, text: &str) -> Result<(), Error> {
    let place = path.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let (bucket, key) = place.ok_or_else(|| format!("the demo has no place for {path}"))?;
    aws.lock().s3.put(bucket, key, text);
    Ok(())
}

fn spec(name: &str, run: &Value) -> Result<FlowRunSpec, Error> {
    let flow = &run["flow"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(FlowRunSpec {
        name: Some(name.to_owned()),
        labels: serde_json::from_value(run["run_config"].get("labels").cloned().unwrap_or_else(|| json!([])))?,
        run_config: run["run_config"].clone(),
        parameters: run["parameters"].clone(),
        flow: FlowSpec {
            id: text(&flow["id"]),
            name: text(&flow["name"]).unwrap_or_default(),
            version: flow["version"].as_i64(),
            core_version: text(&flow["core_version"]),
            environment: flow["environment"].clone(),
            storage: flow["storage"].clone(),
            run_config: Value::Null,
            version_locking: false,
        },
        ..FlowRunSpec::default()
    })
}

/// A run of a flow that Prefect has described.
fn real(name: &str, described: &Value) -> Result<FlowRunSpec, Error> {
    let tasks: Vec<TaskRunSpec> = serde_json::from_value(described["tasks"].clone())?;
    Ok(FlowRunSpec {
        name: Some(name.to_owned()),
        // A user who does not want to wait the 15 s that the flow's process takes at most to notice that it is cancelled.
        run_config: json!({
            "type": "UniversalRun", "__version__": "1.4.1", "labels": [],
            "env": {"PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL": "2"},
        }),
        flow: FlowSpec {
            name: name.to_owned(),
            core_version: described["core_version"].as_str().map(str::to_owned),
            storage: described["storage"].clone(),
            run_config: described["run_config"].clone(),
            ..FlowSpec::default()
        },
        task_runs: tasks.into_iter().map(|task| TaskRunSpec { state: json!("Pending"), ..task }).collect(),
        ..FlowRunSpec::default()
    })
}

fn run_task(kind: FaultKind, id: &str) -> Fault {
    Fault::new("ecs", "RunTask", kind).when_body_contains(id)
}

/// A throttled request, as ECS answers it.
fn throttling() -> FaultKind {
    FaultKind::AwsError { status: 400, code: "ThrottlingException".into(), message: "Rate exceeded".into() }
}

/// All of them, by agent.
pub(crate) fn all() -> Vec<Seed> {
    let mut all = ordinary();
    all.extend(eventful());
    all.extend(hopeless());
    all.extend(of_other_agents());
    all
}

fn ordinary() -> Vec<Seed> {
    vec![
        Seed::new("etl", "image-docker-storage", "its Docker storage names the image"),
        Seed::new("etl", "image-run-config-over-template", "its run configuration names the image"),
        Seed::new("etl", "universal-run-env-labels", "variables and labels of a UniversalRun"),
        Seed::new("etl", "run-config-key-missing", "no run configuration at all"),
        Seed::new("etl", "storage-github", "its script lies at GitHub: Prefect's own image loads it"),
        Seed::new("etl", "storage-git-null-repo", "its script lies in a Git repository named by a secret"),
        Seed::new("etl", "cpu-memory-run-config", "2 vcpu and 4 GB"),
        Seed::new("etl", "task-definition-sidecar", "a task definition in place, with a second container"),
        Seed::new("etl", "task-definition-path-json-yaml", "a task definition at s3://"),
        Seed::new("etl", "task-definition-arn-family-revision", "a task definition that exists: mine:3"),
        Seed::new("etl", "name-unicode", "its flow's name, as a family: Ünïcødé Flöw — наука 数据 🚀"),
    ]
}

fn eventful() -> Vec<Seed> {
    vec![
        Seed::new("etl", "universal-run", "starts 3 s after the first poll: held, never launched early")
            .named("held-until-its-start")
            .with(|spec| spec.start_in_seconds = HELD),
        Seed::new("etl", "universal-run", "cancelled by a user while it is held")
            .named("cancelled-while-held")
            .with(|spec| spec.start_in_seconds = HELD)
            .becomes(Expected::Cancelled),
        Seed::new("etl", "image-docker-storage", "already Running: a task run of it is due for its retry")
            .named("task-retry")
            .with(|spec| {
                // Three seconds after its retry is due a run counts as ready.
                spec.start_in_seconds = -5.0;
                spec.state = json!({"type": "Running", "message": "Running flow."});
                spec.version = Some(3);
                spec.task_runs = vec![TaskRunSpec { name: Some("extract".into()), ..TaskRunSpec::default() }];
            }),
        Seed::new("etl", "image-docker-storage", "ECS throttles its RunTask: scheduled again, a little later")
            .named("throttled")
            .trapped(|aws, id| aws.fault(run_task(throttling(), id)))
            .becomes(Expected::GivenBack("Rate exceeded")),
        Seed::new("etl", "image-docker-storage", "the answer to its RunTask is lost: asked again, still one task")
            .named("answer-lost")
            .trapped(|aws, id| aws.fault(run_task(FaultKind::DropAfter, id))),
        Seed::new("etl", "image-docker-storage", "AWS has no capacity: scheduled again, a little later")
            .named("no-capacity")
            .trapped(|aws, id| {
                let reason = "RESOURCE:MEMORY".into();
                aws.ecs_refuse(Refusal { reason, detail: None, body_contains: Some(id.to_owned()), count: 1 });
            })
            .becomes(Expected::GivenBack("RESOURCE:MEMORY")),
        Seed::new("etl", "universal-run", "labelled `gpu`, which no agent has")
            .named("labelled-for-nobody")
            .with(|spec| spec.labels.push("gpu".into()))
            .becomes(Expected::Untouched),
        Seed::new("etl", "storage-github", "comes last, and a poke fetches it").named("poked").late(),
    ]
}

fn hopeless() -> Vec<Seed> {
    let fails = |case, why, message| Seed::new("etl", case, why).becomes(Expected::Failed(message));
    vec![
        fails("wrong-type-kubernetesrun", "made for another agent", "type `KubernetesRun`, only `ECSRun` is supported"),
        fails("unknown-run-config-type", "a run configuration nobody knows", "Unsupported value: SpaceRun"),
        fails("image-docker-storage-no-tag", "a Docker storage without an image tag", "image_name and image_tag"),
        fails("task-definition-arn-docker-storage", "contradicts itself", "Cannot provide `task_definition_arn`"),
        fails("image-docker-storage", "a storage nobody knows", "Unsupported value: CarrierPigeon")
            .named("unknown-storage")
            .with(|spec| spec.flow.storage["type"] = json!("CarrierPigeon")),
        fails("cpu-memory-run-config", "a size that Fargate does not have", "CPU")
            .named("impossible-size")
            .with(|spec| spec.run_config["cpu"] = json!("300")),
    ]
}

fn of_other_agents() -> Vec<Seed> {
    vec![
        Seed::new("reports", "core-version-0.12.6", "an old flow: `prefect execute cloud-flow`"),
        Seed::new("reports", "flow-run-env-disables-logs", "its variables switch its logs off"),
        Seed::new("reports", "env-non-string-values", "variables that are no texts: AWS cannot take them")
            .becomes(Expected::Failed("Invalid type for parameter")),
        Seed::new("lab", "backend-server", "Prefect Server has no keys and no tenant to look up"),
        Seed::new("lab", "capacity-provider-agent-with-network", "on Spot, in the agent's own subnets"),
    ]
}
