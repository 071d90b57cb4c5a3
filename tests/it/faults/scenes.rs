//! The polls into which faults are put.

use super::watch::Watched;
use crate::prefect::due;
use crate::support::Deployment;
use serde_json::{Value, json};
use world::ecs::Stop;
use world::prefect1::{FlowRunSpec, TaskRunSpec};

/// A situation in which an agent polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// A cold start finds three runs; two share a task definition, the third needs another one of the same family.
    Cold,
    /// A warm process that has launched the flow before finds three runs more.
    Warm,
    /// Runs that are due again: their earlier tasks wait, run, have stopped.
    Again,
    /// Runs that start in a moment are held by a warm process, and read again before they are claimed.
    Held,
    /// A Running run with a task run that is due to be retried.
    Retry,
    /// A cold start whose poll must have a number.
    Counted,
}

impl Scene {
    pub(crate) const ALL: [Self; 6] = [Self::Cold, Self::Warm, Self::Again, Self::Held, Self::Retry, Self::Counted];

    /// The operations that are worth disturbing here; the others are disturbed elsewhere.
    pub(crate) fn has(self, operation: &str) -> bool {
        let here: &[&str] = match self {
            Self::Cold => return true,
            Self::Warm => {
                &["flow_run", "get_runs_in_queue", "set_flow_run_states", "RunTask", "write_run_logs", "PutParameter"]
            }
            Self::Again => &["RunTask", "ListTasks", "DescribeTasks", "StopTask"],
            Self::Held => &["flow_run"],
            Self::Retry => &["set_task_run_states", "RunTask"],
            Self::Counted => &["GetParameter", "PutParameter"],
        };
        here.contains(&operation)
    }

    fn config(self) -> Value {
        match self {
            // The default look-ahead: what starts within it is held.
            Self::Held => json!({}),
            Self::Counted => json!({"prefetch_seconds": 0, "max_polls": 50}),
            _ => json!({"prefetch_seconds": 0}),
        }
    }

    /// A world in this situation, just before the poll that is to be disturbed.
    pub(crate) async fn set(self) -> Watched {
        let deployment = Deployment::with_agent(self.config()).await;
        let mut watched = Watched::new(deployment);
        match self {
            Self::Cold => {
                watched.run(due("etl"));
                watched.run(due("etl"));
                watched.run(FlowRunSpec {
                    run_config: json!({"type": "ECSRun", "image": "prefecthq/prefect:1.0.0"}),
                    ..due("etl")
                });
            }
            Self::Counted => watched.run(due("etl")),
            Self::Warm => {
                watched.run(due("etl"));
                watched.warm_up().await;
                watched.runs.clear();
                (0..3).for_each(|_| watched.run(due("etl")));
            }
            Self::Again => {
                (0..3).for_each(|_| watched.run(due("etl")));
                watched.warm_up().await;
                again(&watched);
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

/// All runs become due again, as Lazarus or a person does it: one's task waits, one's runs, one's has stopped.
fn again(watched: &Watched) {
    let world = &watched.deployment.world;
    let tasks = world.ecs_tasks();
    world.ecs_set_status(&tasks[1].arn, "RUNNING");
    world.ecs_stop(&tasks[2].arn, &Stop::exited(1));
    for run in &watched.runs {
        let state = json!({"type": "Scheduled", "message": "Rescheduled by a Lazarus process."});
        world.set_flow_run_state(run, &state).unwrap();
    }
    watched.time_passes(60);
}
