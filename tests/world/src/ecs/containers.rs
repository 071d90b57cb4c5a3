//! Containers as local processes: the fake's way to really run a flow.

use super::{Stop, Task, logging::lines};
use crate::{World, world::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{process::Command, sync::Semaphore};

/// How much of a process's output is kept, in bytes.
const OUTPUT: usize = 64 * 1024;

/// How containers are run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerOptions {
    /// What every process finds in its environment, e.g. `PATH`; nothing else is inherited.
    pub base_env: BTreeMap<String, String>,
    /// Where processes run; none: where the world runs.
    pub work_dir: Option<PathBuf>,
    /// A process that takes longer is killed.
    pub max_seconds: u64,
    /// So many run at once; the others stay `PROVISIONING`.
    pub at_once: usize,
    /// Milliseconds from starting to `PENDING`, and again to `RUNNING`.
    pub step_ms: u64,
    /// Which container is run, when the definition has it; else `flow`, `prefect`, or the first.
    pub container: Option<String>,
}

impl Default for ContainerOptions {
    fn default() -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        Self {
            base_env: BTreeMap::from([("PATH".to_owned(), path)]),
            work_dir: None,
            max_seconds: 60,
            at_once: 4,
            step_ms: 0,
            container: None,
        }
    }
}

/// The processes under way, by task ARN. Dropping it ends them.
#[derive(Default)]
pub(super) struct Processes {
    pids: HashMap<String, u32>,
    places: Option<Arc<Semaphore>>,
}

impl Processes {
    /// Ends the process of a task, and what it started.
    pub(super) fn end(&mut self, arn: &str) {
        if let Some(pid) = self.pids.remove(arn) {
            kill_all(pid);
        }
    }

    pub(super) fn end_all(&mut self) {
        for (_, pid) in self.pids.drain() {
            kill_all(pid);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// Kills a process that leads a group, with its group and all that descends from it: in a container nothing outlives the
/// first process.
fn kill_all(pid: u32) {
    let whole: Vec<String> = descendants(pid).into_iter().map(|pid| pid.to_string()).collect();
    let kill = std::process::Command::new("kill")
        .args(["-KILL", "--", &format!("-{pid}")])
        .args(whole)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = kill {
        eprintln!("world: process group {pid} cannot be ended: {error}");
    }
}

/// Processes that a process started, that these started, and so on; some have groups of their own.
fn descendants(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// The process that started a process: `pid (name) state parent …`.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What is to be run.
struct Plan {
    container: String,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
}

/// Runs a task's container.
pub(super) fn start(world: &World, arn: &str, options: ContainerOptions) {
    let (world, arn) = (world.clone(), arn.to_owned());
    tokio::spawn(async move {
        let at_once = options.at_once.max(1);
        let places =
            Arc::clone(world.lock().ecs.processes.places.get_or_insert_with(|| Arc::new(Semaphore::new(at_once))));
        let Ok(_place) = places.acquire().await else { return };
        if let Some(stop) = run(&world, &arn, &options).await {
            world.ecs_stop(&arn, &stop);
        }
    });
}

/// Runs it to its end; none when the task was stopped from outside.
async fn run(world: &World, arn: &str, options: &ContainerOptions) -> Option<Stop> {
    for status in ["PENDING", "RUNNING"] {
        tokio::time::sleep(Duration::from_millis(options.step_ms)).await;
        if status == "RUNNING"
            && let Err(reason) = plan(&world.lock(), arn, options)
        {
            return Some(Stop::failed_to_start(&reason));
        }
        if !world.proceed(arn, status) {
            return None;
        }
    }
    let plan = plan(&world.lock(), arn, options).ok()?;
    match process(world, arn, options, &plan).await {
        Ok(stop) => Some(stop),
        Err(error) => {
            Some(Stop::failed_to_start(&format!("CannotStartContainerError: {}: {error}", plan.command.join(" "))))
        }
    }
}

async fn process(world: &World, arn: &str, options: &ContainerOptions, plan: &Plan) -> std::io::Result<Stop> {
    let Some((program, arguments)) = plan.command.split_first() else {
        return Ok(Stop::failed_to_start(&format!(
            "CannotStartContainerError: no command specified for container {}",
            plan.container
        )));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&plan.environment);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    if let Some(work_dir) = &options.work_dir {
        command.current_dir(work_dir);
    }
    let child = command.spawn()?;
    if let Some(pid) = child.id() {
        let mut state = world.lock();
        state.ecs.processes.pids.insert(arn.to_owned(), pid);
        // Stopped while the process was being made.
        if state.ecs.task_mut(arn).is_none_or(|task| task.desired_status == "STOPPED") {
            state.ecs.processes.end(arn);
        }
    }
    let finished = child.wait_with_output();
    tokio::pin!(finished);
    let limit = Duration::from_secs(options.max_seconds);
    let (output, in_time) = if let Ok(output) = tokio::time::timeout(limit, &mut finished).await {
        (output?, true)
    } else {
        world.lock().ecs.processes.end(arn);
        (finished.await?, false)
    };
    {
        let mut state = world.lock();
        state.ecs.processes.pids.remove(arn);
        let written = tail(&output.stdout) + &tail(&output.stderr);
        state.container_writes(arn, &plan.container, lines(&written));
        if let Some(task) = state.ecs.task_mut(arn) {
            task.output = written;
        }
    }
    let mut stop = Stop::exited(exit_code(output.status));
    if !in_time {
        stop.container_reason = Some(format!("killed by the fake after {} s", options.max_seconds));
    }
    Ok(stop)
}

fn exit_code(status: ExitStatus) -> i64 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    i64::from(code.unwrap_or(1))
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(OUTPUT)..]).into_owned()
}

/// Command and environment of the container to run, or why it cannot start.
fn plan(state: &State, arn: &str, options: &ContainerOptions) -> Result<Plan, String> {
    let task = state.ecs.tasks.iter().find(|task| task.arn == arn).ok_or("the task is gone")?;
    let definition = state.ecs.find_definition(&task.scope, &task.definition_arn).ok_or("the definition is gone")?;
    let mut names = options.container.as_deref().into_iter().chain(["flow", "prefect"]);
    let chosen = names.find_map(|name| definition.container(name)).or_else(|| definition.containers().first());
    let container = chosen.ok_or("the definition has no container")?;
    let name = container["name"].as_str().unwrap_or_default();
    let all = task.request["overrides"]["containerOverrides"].as_array();
    let overrides = all.into_iter().flatten().find(|one| one["name"] == name).unwrap_or(&Value::Null);
    let command = if overrides["command"].is_array() { &overrides["command"] } else { &container["command"] };
    let words = texts(&container["entryPoint"]).chain(texts(command)).collect();
    let mut environment = options.base_env.clone();
    environment.extend([
        ("AWS_REGION".to_owned(), task.scope.region.clone()),
        ("AWS_DEFAULT_REGION".to_owned(), task.scope.region.clone()),
        ("AWS_EXECUTION_ENV".to_owned(), "AWS_ECS_FARGATE".to_owned()),
    ]);
    environment.extend(variables(container));
    environment.extend(secrets(state, task, container)?);
    environment.extend(variables(overrides));
    Ok(Plan { container: name.to_owned(), command: words, environment })
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned))
}

fn variables(container: &Value) -> impl Iterator<Item = (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    container["environment"]
        .as_array()
        .into_iter()
        .flatten()
        .map(move |entry| (text(&entry["name"]), text(&entry["value"])))
}

fn secrets(state: &State, task: &Task, container: &Value) -> Result<Vec<(String, String)>, String> {
    let resolve = |secret: &Value| {
        let from = secret["valueFrom"].as_str().unwrap_or_default();
        let value = state.ssm.resolve(&task.scope, from).ok_or_else(|| {
            format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid parameters: {from}"
            )
        })?;
        Ok((secret["name"].as_str().unwrap_or_default().to_owned(), value.to_owned()))
    };
    container["secrets"].as_array().into_iter().flatten().map(resolve).collect()
}
