//! Flow runs, as both generations of Prefect and everybody else name them.

use prefect_serverless_agent::launch::worker::WorkerPart;
use prefect_serverless_agent::launch::{Definition, LaunchSpec};
use prefect_serverless_agent::orchestrator::{Mark, RenderError, Rendered, RunRefusal};
use serde_json::{Map, Value, json};
use std::fmt::{self, Display};
use time::OffsetDateTime;

/// A flow run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u32);

const PREFIX: &str = "00000000-0000-4000-8000-";

impl Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:012}", self.0)
    }
}

impl RunId {
    /// The run of this id.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix(PREFIX)?.parse().ok().map(Self)
    }
}

/// What a run brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// It can be launched.
    Good,
    /// It cannot be rendered: it fails for what it says itself.
    Unrenderable,
    /// ECS refuses it for what it says itself.
    Unlaunchable,
    /// Prefect 3: its deployment was deleted; it ends as Cancelled.
    Gone,
}

impl Flavour {
    /// Whether it can never be launched.
    pub fn is_bad(self) -> bool {
        self != Self::Good
    }
}

/// How far a run is, whichever Prefect keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Due at this time, if nothing happens.
    Scheduled(OffsetDateTime),
    /// Waits for somebody: paused, queued by a limit.
    Waiting,
    /// Claimed for launch, with this mark if it has one of ours.
    Claimed(Option<Mark>),
    /// Its flow runs. Prefect 1: the marks of claimed task runs.
    Running(Vec<Mark>),
    /// A user cancelled it; that is not finished.
    Cancelling,
    /// It has a final state.
    Ended(End),
}

impl Phase {
    /// Cancelled, or about to be.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelling | Self::Ended(End::Cancelled))
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its flow said so.
    ByItself,
    /// Cancelled.
    Cancelled,
    /// We failed it.
    FailedByUs,
    /// Prefect's own services failed it.
    FailedByServer,
}

/// What an agent is configured to. A warm process keeps an older one for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Counts the changes.
    pub revision: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// Tag of the image.
    pub image: u32,
    /// Fargate Spot is asked for.
    pub spot: bool,
    /// The network of the default VPC is used.
    pub infer_network: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { revision: 0, cluster: "blue".into(), image: 1, spot: false, infer_network: true }
    }
}

impl Config {
    /// The launch of a run: a pure function of run and configuration.
    pub fn render(&self, run: RunId, flavour: Flavour) -> Result<Rendered, RenderError> {
        if flavour == Flavour::Unrenderable {
            return Err(RenderError::Refused(RunRefusal("only `ECSRun` is supported".into())));
        }
        if flavour == Flavour::Gone {
            return Err(RenderError::Gone("Deployment no longer exists, cancelled run.".into()));
        }
        let definition = object(json!({
            "family": "prefect-flow", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "containerDefinitions": [{
                "name": "flow", "image": format!("image:{}", self.image), "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": "flows", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "a"},
                },
            }],
        }));
        let cpu = if flavour == Flavour::Unlaunchable { "7" } else { "256" };
        let mut run_task = object(json!({
            "cluster": self.cluster,
            "overrides": {
                "cpu": cpu,
                "containerOverrides": [{"name": "flow", "environment": [{"name": RUN_VARIABLE, "value": run.to_string()}]}],
            },
        }));
        if self.spot {
            run_task
                .insert("capacityProviderStrategy".into(), json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]));
        } else {
            run_task.insert("launchType".into(), json!("FARGATE"));
        }
        let spec = LaunchSpec {
            definition: Definition::Own(definition),
            run_task,
            infer_network: self.infer_network,
            key_variables: Vec::new(),
            run_sets: Vec::new(),
            worker: WorkerPart::default(),
            pending_delivery: None,
        };
        Ok(Rendered { spec, warning: None })
    }
}

const RUN_VARIABLE: &str = "PREFECT__CONTEXT__FLOW_RUN_ID";

/// The run that a task is started for, by the variable in its request.
pub fn run_of(body: &Map<String, Value>) -> Option<RunId> {
    let environment = &body.get("overrides")?["containerOverrides"][0]["environment"][0];
    RunId::parse(environment["value"].as_str()?)
}

/// The object that a `json!` makes.
pub fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
