//! The polls into which faults are put.

use super::watch::Watched;
use crate::prefect::{Phase, Prefect, due};
use serde_json::{Value, json};
use world::ecs::Stop;
use world::prefect1::{FlowRunSpec, TaskRunSpec};
use world::prefect3::RunSpec;
use world::{Fault, FaultKind};

/// A situation in which an agent polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// A cold start finds three runs; two share a task definition, the third needs another one of the same family.
    Cold,
    /// A warm process that has launched the flow before finds three runs more.
    Warm,
    /// Runs that are due again: their earlier tasks wait, run, have stopped.
    Again,
    /// A cold start finds claims of a process that died: before its launch, and before it heard of its task.
    Orphan,
    /// A cold start finds runs that a person cancelled: one waits for its start, one has run on for too long, one is
    /// Cancelled already and its task lives.
    Cancelling,
    /// Prefect 1: runs that start in a moment are held by a warm process, and read again before they are claimed.
    Held,
    /// Prefect 1: a Running run with a task run that is due to be retried.
    Retry,
    /// Prefect 1: a cold start whose poll must have a number.
    Counted,
}

impl Scene {
    const ALL: [Self; 8] =
        [Self::Cold, Self::Warm, Self::Again, Self::Orphan, Self::Cancelling, Self::Held, Self::Retry, Self::Counted];

    /// The scenes of a Prefect.
    pub(crate) fn of(prefect: Prefect) -> impl Iterator<Item = Self> {
        let is_of =
            move |scene: &Self| prefect == Prefect::One || !matches!(scene, Self::Held | Self::Retry | Self::Counted);
        Self::ALL.into_iter().filter(is_of)
    }

    /// The operations that are worth disturbing here; the others are disturbed elsewhere.
    pub(crate) fn has(self, prefect: Prefect, operation: &str) -> bool {
        let of_ecs: &[&str] = match self {
            Self::Cold if prefect == Prefect::One => return true,
            // Parameters and networks are the same for all.
            Self::Cold => &["RunTask", "RegisterTaskDefinition"],
            Self::Warm | Self::Retry => &["RunTask"],
            Self::Again => &["RunTask", "ListTasks", "DescribeTasks", "StopTask"],
            Self::Orphan => &["RunTask", "ListTasks", "DescribeTasks"],
            Self::Cancelling => &["ListTasks", "DescribeTasks", "StopTask"],
            Self::Held | Self::Counted => &[],
        };
        of_ecs.contains(&operation) || self.of_prefect(prefect).contains(&operation)
    }

    fn of_prefect(self, prefect: Prefect) -> &'static [&'static str] {
        match (prefect, self) {
            (Prefect::One, Self::Warm) => {
                &["flow_run", "get_runs_in_queue", "set_flow_run_states", "write_run_logs", "PutParameter"]
            }
            (Prefect::One, Self::Orphan) => &["standing", "write_run_logs"],
            (Prefect::One, Self::Cancelling) => &["standing", "flow_run", "set_flow_run_states"],
            (Prefect::One, Self::Held) => &["flow_run"],
            (Prefect::One, Self::Retry) => &["set_task_run_states"],
            (Prefect::One, Self::Counted) => &["GetParameter", "PutParameter"],
            (Prefect::Three, Self::Cold) => &[
                "get_scheduled_flow_runs",
                "heartbeat",
                "read_work_pool",
                "flow_runs/filter",
                "flows/filter",
                "deployments/filter",
                "set_state",
                "update_flow_run",
                "logs",
                "events",
                "labels",
            ],
            (Prefect::Three, Self::Warm) => {
                &["get_scheduled_flow_runs", "heartbeat", "read_work_pool", "deployments/filter", "set_state"]
            }
            (Prefect::Three, Self::Again) => &["flow_runs/filter", "set_state"],
            (Prefect::Three, Self::Orphan | Self::Cancelling) => &[
                "read_work_pool",
                "flow_runs/filter",
                "flow_run_states",
                "flows/filter",
                "deployments/filter",
                "set_state",
                "update_flow_run",
            ],
            _ => &[],
        }
    }

    fn config(self) -> Value {
        match self {
            // The default look-ahead: what starts within it is held.
            Self::Held => json!({"prefetch_seconds": 60}),
            Self::Counted => json!({"max_polls": 50}),
            _ => json!({}),
        }
    }

    /// A world in this situation, just before the poll that is to be disturbed.
    pub(crate) async fn set(self, prefect: Prefect) -> Watched {
        let mut watched = Watched::of(prefect, prefect.deployment(self.config()).await);
        match self {
            Self::Cold => {
                watched.due_runs(2);
                of_another_image(&mut watched);
            }
            Self::Counted => watched.due_runs(1),
            Self::Warm => {
                watched.due_runs(1);
                watched.warm_up().await;
                watched.runs.clear();
                watched.due_runs(3);
            }
            Self::Again => {
                watched.due_runs(3);
                watched.warm_up().await;
                again(&watched);
            }
            Self::Orphan => orphans(&mut watched).await,
            Self::Cancelling => {
                watched.due_runs(3);
                watched.warm_up().await;
                cancelling(&mut watched);
            }
            Self::Held => {
                watched.warm_up().await;
                (0..3).for_each(|_| watched.run(FlowRunSpec { start_in_seconds: 2.0, ..due("etl") }));
            }
            Self::Retry => watched.run(FlowRunSpec {
                state: json!("Running"),
                version: Some(3),
                start_in_seconds: -10.0,
                task_runs: vec![TaskRunSpec::default(), TaskRunSpec::default()],
                ..due("etl")
            }),
        }
        watched
    }
}

/// A run of the same flow with another image.
fn of_another_image(watched: &mut Watched) {
    let image = "prefecthq/prefect:other";
    let run = match watched.prefect {
        Prefect::One => {
            let run_config = json!({"type": "ECSRun", "image": image});
            watched.deployment.schedule(FlowRunSpec { run_config, ..due("etl") })
        }
        Prefect::Three => {
            let job_variables = json!({"image": image}).as_object().unwrap().clone();
            let spec = RunSpec { job_variables, start_in_seconds: -1.0, ..RunSpec::default() };
            watched.deployment.world.prefect3_run(spec)
        }
    };
    watched.runs.push(run);
}

/// All runs become due again, as Lazarus or a person does it: one's task waits, one's runs, one's has stopped.
fn again(watched: &Watched) {
    let world = &watched.deployment.world;
    let tasks = world.ecs_tasks();
    world.ecs_set_status(&tasks[1].arn, "RUNNING");
    world.ecs_stop(&tasks[2].arn, &Stop::exited(1));
    for run in &watched.runs {
        watched.prefect.bring(world, run, Phase::Waiting);
    }
    watched.time_passes(60);
}

/// Two claims that are old by now. The request for the one's task never arrived, the answer about the other's task never
/// came.
async fn orphans(watched: &mut Watched) {
    watched.due_runs(2);
    let world = watched.deployment.world.world();
    for (run, kind) in watched.runs.iter().zip([FaultKind::DropBefore, FaultKind::DropAfter]) {
        world.fault(Fault::new("ecs", "RunTask", kind).always().when_body_contains(run));
    }
    // What no answer says would be asked by `startedBy`.
    world.fault(Fault::new("ecs", "ListTasks", FaultKind::DropBefore).always());
    watched.poll().await;
    world.lock().faults.clear();
    assert_eq!(watched.wrong, Vec::<String>::new(), "the poll that left the claims");
    assert_eq!(world.ecs_tasks().len(), 1);
    watched.forget();
    watched.function = None;
    watched.time_passes(121);
}

/// A person cancels all runs.
fn cancelling(watched: &mut Watched) {
    watched.cancelled = std::mem::take(&mut watched.runs);
    let world = watched.deployment.world.world();
    for (index, run) in watched.cancelled.iter().enumerate() {
        let started_by = Some(format!("prefect/etl/{run}"));
        let task = world.ecs_tasks().into_iter().find(|task| task.started_by == started_by).unwrap();
        if index > 0 {
            world.ecs_set_status(&task.arn, "RUNNING");
            watched.prefect.bring(&world, run, Phase::Running);
        }
        let phase = if index == 2 { Phase::Cancelled } else { Phase::Cancelling };
        watched.prefect.bring(&world, run, phase);
    }
    watched.function = None;
    watched.time_passes(121);
}
