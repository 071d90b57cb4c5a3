//! The first act's second scene: flows of the real Prefect 1.4.1. What runs in their containers is its own
//! `prefect execute flow-run`, with exactly the environment of the tasks.

use crate::{
    Error,
    deployment::Deployment,
    installation::scripts,
    runs::{Expected, Seed},
    story::{Poll, poll, tasks_end},
    verdict::Verdict,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// How long Prefect may take to describe its flows.
const DESCRIBE: Duration = Duration::from_mins(1);
/// A flow's process takes three seconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// Containers that run at once.
const AT_ONCE: usize = 2;
/// The flow that a user cancels while it runs.
const CANCELLED: &str = "long";

/// What happened.
pub(crate) struct Scene {
    pub(crate) poll: Poll,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) took: Duration,
}

fn seeds() -> Vec<Seed> {
    let ended = Expected::Ended("Cancelled", "Flow run is cancelled");
    vec![
        Seed::real("etl", "etl", "three tasks, one of them mapped over what another found"),
        Seed::real("etl", "patient", "its task fails once, and is tried again by the flow itself"),
        Seed::real("etl", "fragile", "its task fails for good")
            .becomes(Expected::Ended("Failed", "Some reference tasks failed.")),
        Seed::real("etl", CANCELLED, "a user cancels it while it runs: it ends itself").becomes(ended),
        Seed::real("lab", "etl", "the same flow, of a Prefect Server: no key"),
    ]
}

/// Plays it in the world of the first scene; `programs` is where the real Prefect's are.
pub(crate) async fn tell(deployment: &Deployment, programs: &Path) -> Result<Scene, Error> {
    let registered = described(programs, deployment.home()).await?;
    deployment.run_in_containers(programs, AT_ONCE, PATIENCE);
    let begun = Instant::now();
    let seeded = deployment.create(seeds(), &registered)?;
    let function = deployment.start("poll").await?;
    let (poll, cancelled) =
        tokio::join!(poll(&function, "EventBridge Scheduler, cold start", &["reports"]), cancel(deployment, &seeded));
    cancelled?;
    tasks_end(&deployment.cloud, PATIENCE).await;
    function.stop().await;
    let verdicts = seeded.iter().map(|(seed, id)| Verdict::of(deployment, seed, id)).collect::<Result<_, _>>()?;
    Ok(Scene { poll, verdicts, took: begun.elapsed() })
}

/// What Prefect makes of the flows when they are registered, by name.
async fn described(programs: &Path, home: &Path) -> Result<BTreeMap<String, Value>, Error> {
    let mut command = Command::new(programs.join("python"));
    command.arg(scripts().join("prefect1/describe.py")).env_clear().env("HOME", home).kill_on_drop(true);
    let output = tokio::time::timeout(DESCRIBE, command.output());
    let output = output.await.map_err(|_| "Prefect 1.4.1 does not describe its flows")??;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("Prefect 1.4.1 cannot describe its flows: {why}").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A user cancels a flow run once it runs.
async fn cancel(deployment: &Deployment, seeded: &[(Seed, String)]) -> Result<(), Error> {
    let found = seeded.iter().find(|(seed, _)| seed.name == CANCELLED);
    let (seed, id) = found.ok_or("no flow run is to be cancelled")?;
    let prefect = deployment.prefect_of(seed.agent);
    let runs =
        prefect.wait_until(PATIENCE, |state| state.prefect1.flow_run(id).is_some_and(|run| run.state() == "Running"));
    if !runs.await {
        return Err(format!("{CANCELLED} does not run after {} s", PATIENCE.as_secs()).into());
    }
    Ok(prefect.set_flow_run_state(id, &json!({"type": "Cancelling", "message": "Flow run cancelling."}))?)
}
