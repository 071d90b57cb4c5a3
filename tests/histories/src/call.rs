//! The calls of a process: every kind of request that it sends to somebody else, told by what is sent.

use prefect_serverless_agent::orchestrator::Mark;
use serde_json::Value;
use world::route::Route;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The Prefect API.
    Prefect,
    /// ECS.
    Ecs,
    /// EC2.
    Ec2,
    /// CloudWatch Logs.
    Logs,
    /// Parameter Store.
    Ssm,
    /// The queue that events come from.
    Sqs,
}

/// Which generation of Prefect an agent serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Prefect 0.15 and 1.
    One,
    /// Prefect 2 and 3.
    Three,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $service:ident, $one:literal, $three:literal;)*) => {
        /// One kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Call { $($(#[$doc])* $name),* }

        impl Call {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Who is asked.
            pub fn service(self) -> Service {
                match self { $(Self::$name => Service::$service),* }
            }

            /// Whether an agent of this generation sends it.
            pub fn is_sent_by(self, generation: Generation) -> bool {
                let (one, three) = match self { $(Self::$name => ($one, $three)),* };
                if generation == Generation::One { one } else { three }
            }
        }
    };
}

calls! {
    /// Prefect 1: whose key it is, or which tenants there are.
    Identify: Prefect, true, false;
    /// Prefect 1: registration.
    Register: Prefect, true, false;
    /// Prefect 3: the work pool.
    Pool: Prefect, false, true;
    /// The due runs.
    DueRuns: Prefect, true, true;
    /// Prefect 1: `get_runs_in_queue`. Prefect 3: the heartbeat.
    SignOfLife: Prefect, true, true;
    /// Prefect 1: what the ids of the queue are.
    Details: Prefect, true, false;
    /// Claims and cancelled runs.
    Standing: Prefect, true, true;
    /// Prefect 3: runs that were cancelled a short while ago.
    Cancelled: Prefect, false, true;
    /// Prefect 3: runs that have been running for long.
    Running: Prefect, false, true;
    /// Prefect 3: all states of a run.
    History: Prefect, false, true;
    /// Prefect 3: flows and deployments, many at once.
    Records: Prefect, false, true;
    /// Prefect 3: one deployment or flow that a list lacked.
    Record: Prefect, false, true;
    /// Runs read again, whatever for.
    Look: Prefect, true, true;
    /// Claims.
    Claim: Prefect, true, true;
    /// Prefect 1: a run that Prefect Cloud queued is made Scheduled again.
    PutBack: Prefect, true, false;
    /// Claims given back.
    GiveBack: Prefect, true, true;
    /// Runs that fail, or whose task is dead.
    Fail: Prefect, true, true;
    /// Runs that end as Cancelled.
    Cancel: Prefect, true, true;
    /// Prefect 3: `infrastructure_pid`.
    RecordTask: Prefect, false, true;
    /// Log lines.
    Log: Prefect, true, true;
    /// Prefect 3: what was logged.
    ReadLog: Prefect, false, false;
    /// Prefect 3: labels.
    Labels: Prefect, false, true;
    /// Prefect 3: events.
    Events: Prefect, false, true;
    /// Prefect 1: a run whose task has changed is read.
    Watch: Prefect, true, false;
    /// Prefect 3: a run's task waits for its start.
    ProposePending: Prefect, false, true;
    /// Anything else that Prefect is asked.
    Other: Prefect, false, false;
    /// The last lines of a container's log.
    ContainerLog: Logs, true, true;
    /// The parameters of the agents.
    ReadParameters: Ssm, true, true;
    /// How long an event waits that could not be told: only where something else went wrong before.
    HideMessage: Sqs, false, false;
    /// An event sent again with its task's tags.
    SendMessage: Sqs, false, false;
    /// `RunTask`
    RunTask: Ecs, true, true;
    /// `RegisterTaskDefinition`
    RegisterTaskDefinition: Ecs, true, true;
    /// `DescribeTaskDefinition`
    DescribeTaskDefinition: Ecs, true, true;
    /// `ListTaskDefinitions`
    ListTaskDefinitions: Ecs, true, true;
    /// `DescribeTasks`
    DescribeTasks: Ecs, true, true;
    /// `ListTasks`
    ListTasks: Ecs, true, true;
    /// `StopTask`
    StopTask: Ecs, true, true;
    /// `DescribeVpcs`
    DescribeVpcs: Ec2, true, true;
    /// `DescribeSubnets`
    DescribeSubnets: Ec2, true, true;
}

impl Call {
    /// Whether it changes something: then it matters whether a fault comes before or after its effect.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::Claim
                | Self::PutBack
                | Self::GiveBack
                | Self::Fail
                | Self::Cancel
                | Self::ProposePending
                | Self::RecordTask
                | Self::RunTask
                | Self::RegisterTaskDefinition
                | Self::StopTask
                | Self::HideMessage
                | Self::SendMessage
        )
    }

    /// Whether it sets states of runs.
    pub fn sets_states(self) -> bool {
        matches!(self, Self::Claim | Self::PutBack | Self::GiveBack | Self::Fail | Self::Cancel | Self::ProposePending)
    }

    /// Whether one request may carry several changes, of which a part may be carried out.
    pub fn is_batch(self, generation: Generation) -> bool {
        generation == Generation::One && self.sets_states()
    }

    /// What a request is that goes there.
    pub fn of(route: &Route, body: &[u8]) -> Self {
        let json = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        match (route.service, route.operation.as_str()) {
            ("prefect1", operation) => of_prefect1(operation, json),
            ("prefect3", operation) => of_prefect3(operation, json),
            ("logs", _) => Self::ContainerLog,
            ("ssm", _) => Self::ReadParameters,
            ("sqs", "SendMessage") => Self::SendMessage,
            ("sqs", _) => Self::HideMessage,
            ("ec2", "DescribeSubnets") => Self::DescribeSubnets,
            ("ec2", _) => Self::DescribeVpcs,
            (_, operation) => of_ecs(operation),
        }
    }
}

fn of_ecs(operation: &str) -> Call {
    match operation {
        "RunTask" => Call::RunTask,
        "RegisterTaskDefinition" => Call::RegisterTaskDefinition,
        "DescribeTaskDefinition" => Call::DescribeTaskDefinition,
        "ListTaskDefinitions" => Call::ListTaskDefinitions,
        "ListTasks" => Call::ListTasks,
        "StopTask" => Call::StopTask,
        _ => Call::DescribeTasks,
    }
}

fn of_prefect1(operation: &str, json: impl Fn() -> Value) -> Call {
    match operation {
        "auth_info" | "tenant" => Call::Identify,
        "register_agent" => Call::Register,
        "get_runs_in_queue" => Call::SignOfLife,
        "standing" => Call::Standing,
        "watch" => Call::Watch,
        "write_run_logs" => Call::Log,
        "flow_run" => {
            let filter = &json()["variables"]["where"];
            match (filter["_or"].is_array(), filter["id"]["_in"].is_array()) {
                (true, false) => Call::DueRuns,
                (true, true) => Call::Details,
                (false, _) => Call::Look,
            }
        }
        // One document may set states of both, in any order.
        fields if fields.split(',').all(|field| matches!(field, "set_flow_run_states" | "set_task_run_states")) => {
            states_of_prefect1(&json()).first().map_or(Call::Other, |first| {
                match first["state"]["type"].as_str().unwrap_or_default() {
                    "Submitted" => Call::Claim,
                    "Failed" => Call::Fail,
                    "Cancelled" => Call::Cancel,
                    _ if first["state"]["context"][Mark::KEY].is_object() => Call::GiveBack,
                    _ => Call::PutBack,
                }
            })
        }
        _ => Call::Other,
    }
}

/// The states that a document of Prefect 1 sets, in order.
pub fn states_of_prefect1(body: &Value) -> Vec<Value> {
    let inputs = body["variables"].as_object().into_iter().flatten().map(|(_, input)| &input["states"]);
    inputs.filter_map(Value::as_array).flatten().cloned().collect()
}

fn of_prefect3(operation: &str, json: impl Fn() -> Value) -> Call {
    match operation {
        "read_work_pool" => Call::Pool,
        "get_scheduled_flow_runs" => Call::DueRuns,
        "heartbeat" => Call::SignOfLife,
        "flow_run_states" => Call::History,
        "flows/filter" | "deployments/filter" => Call::Records,
        "read_flow" | "read_deployment" => Call::Record,
        "read_flow_run" => Call::Look,
        "update_flow_run" => Call::RecordTask,
        "logs" => Call::Log,
        "logs/filter" => Call::ReadLog,
        "labels" => Call::Labels,
        "events" => Call::Events,
        "flow_runs/filter" => {
            let filter = &json()["flow_runs"];
            match filter["state"]["type"]["any_"][0].as_str() {
                None => Call::Look,
                Some("CANCELLED") => Call::Cancelled,
                Some("RUNNING") => Call::Running,
                Some(_) => Call::Standing,
            }
        }
        "set_state" => {
            let state = &json()["state"];
            match (state["type"].as_str().unwrap_or_default(), state["name"].as_str()) {
                ("PENDING", None | Some("Pending")) => Call::Claim,
                ("PENDING", _) => Call::ProposePending,
                ("SCHEDULED", _) => Call::GiveBack,
                ("CANCELLED", _) => Call::Cancel,
                _ => Call::Fail,
            }
        }
        _ => Call::Other,
    }
}
