//! Processes of this machine: for laptops, and for trying things without AWS.
//!
//! | part | what it does |
//! |---|---|
//! | `render` | from a flow run to its process, by the rules of Prefect's local agent and process worker (pure) |
//! | `directory` | what this machine remembers of launches |
//! | [`supervisor`] | the parent of a flow's process: starts it once, and writes down how it ended |
//!
//! A process outlives the agent that started it, as with Prefect's own local agent; an agent that is started again finds it,
//! and tells Prefect how it ended. Only the machine that started a process knows of it: what is claimed elsewhere is left
//! alone.

mod directory;
mod render;
pub mod supervisor;

use super::{
    AgentPlatform, AgentSetup, EndedDeployment, LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, Place,
    Platform, Progress, RunDescription, TransientCause, WithWarning, WorkPoolType,
};
use crate::clock::Clock;
use crate::config::Environment;
use crate::model::{ErrorKind, RenderError, SetupError};
use directory::{GONE, LaunchDirectory, LaunchState, Launches};
use render::{Surroundings, order};
use rustix::process::{Pid, Signal, test_kill_process};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use supervisor::{ProcessOrder, SupervisorAnswer, signal};
use time::OffsetDateTime;
use tokio::sync::oneshot;

/// The hidden command that runs a supervisor.
pub const SUPERVISE: &str = "supervise";

/// Deploys flow runs as processes of this machine.
pub struct Processes<C> {
    launches: Launches,
    host: Host,
    around: Surroundings,
    /// This program.
    program: PathBuf,
    clock: C,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// What it is known by, also when it is called otherwise one day; empty = not known.
    machine: String,
    /// What it is called; empty = not known.
    name: String,
}

/// `<host>:<process id>`, as the process worker writes it.
impl Place for Host {
    fn name(&self) -> String {
        self.machine.clone()
    }

    fn named(self, name: &str) -> Self {
        Self { machine: name.to_owned(), ..self }
    }

    fn pid(&self, id: &str) -> String {
        format!("{}:{id}", self.name)
    }

    fn of_pid(pid: &str) -> (Self, String) {
        let (host, id) = pid.rsplit_once(':').unwrap_or(("", pid));
        (Self { machine: String::new(), name: host.to_owned() }, id.to_owned())
    }
}

/// A process to start, and where.
#[derive(Clone)]
pub struct ProcessLaunch {
    order: ProcessOrder,
    host: Host,
}

/// A process of which nothing is left to decide.
pub struct PreparedProcess {
    order: ProcessOrder,
    directory: LaunchDirectory,
}

impl<C: Clock> Processes<C> {
    /// The directory of the live process of this id.
    fn live_process(&self, id: &str) -> Option<LaunchDirectory> {
        let is_it = |directory: &LaunchDirectory| {
            directory.pid().is_some_and(|pid| pid.to_string() == id) && directory.state() == LaunchState::Running
        };
        self.launches.all().into_iter().map(|(directory, _)| directory).find(is_it)
    }
}

/// Starts a supervisor in a group of its own, so that what ends the agent does not end it; reads its answer, and waits for
/// its end. For a thread of its own: neither a hung file system nor a flow that runs for days may hold the agent up.
fn start(
    program: &Path,
    launch: (&ProcessOrder, &LaunchDirectory),
    answer: oneshot::Sender<io::Result<LaunchOutcome>>,
) {
    let (order, directory) = launch;
    let started = || {
        let mut supervisor = Command::new(program)
            .arg(SUPERVISE)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        if let Some(mut stdin) = supervisor.stdin.take() {
            stdin.write_all(&serde_json::to_vec(order)?)?;
        }
        let mut line = String::new();
        if let Some(stdout) = supervisor.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        Ok((supervisor, line))
    };
    match started() {
        Ok((mut supervisor, line)) => {
            // Whoever waited for it may have given up.
            let _ = answer.send(Ok(match serde_json::from_str(&line) {
                Ok(SupervisorAnswer::Started(pid)) => LaunchOutcome::Started { id: pid.to_string() },
                Ok(SupervisorAnswer::StartedBefore | SupervisorAnswer::Failed) => known(directory),
                Err(_) => LaunchOutcome::Unknown("its supervisor said nothing".to_owned()),
            }));
            let _ = supervisor.wait();
        }
        Err(error) => drop(answer.send(Err(error))),
    }
}

/// What became of a launch that was made before.
fn known(directory: &LaunchDirectory) -> LaunchOutcome {
    let id = directory.pid().map(|pid| pid.to_string()).unwrap_or_default();
    match directory.state() {
        LaunchState::Running => LaunchOutcome::Adopted { id },
        LaunchState::Prepared | LaunchState::Starting => LaunchOutcome::Unknown(STARTING.to_owned()),
        LaunchState::Ended(Some(end)) if end.error.is_some() => {
            let reason = sentence(&end.failure().unwrap_or_default());
            if end.may_pass {
                LaunchOutcome::Transient { reason, cause: TransientCause::Server }
            } else {
                LaunchOutcome::Permanent(reason)
            }
        }
        LaunchState::Ended(end) => {
            let failure = end.map_or_else(|| Some(GONE.to_owned()), |end| end.failure());
            let reason = failure.unwrap_or_else(|| "its process ended before the flow run began".to_owned());
            LaunchOutcome::Dead { id, reason: sentence(&reason) }
        }
    }
}

const STARTING: &str = "its process is being started";

fn sentence(reason: &str) -> String {
    let reason = reason.strip_prefix("its ").map_or_else(|| reason.to_owned(), |rest| format!("Its {rest}"));
    format!("{reason}.")
}

/// A process that runs.
fn running(directory: &LaunchDirectory, pid: u32) -> LiveDeployment {
    let is_stopping = directory.stopping_since().is_some();
    LiveDeployment { id: pid.to_string(), progress: Progress::Begun, is_stopping }
}

fn trouble(error: &io::Error) -> LaunchOutcome {
    LaunchOutcome::AgentTrouble(format!("what this machine remembers of launches cannot be written: {error}"))
}

impl<C: Clock> Platform for Processes<C> {
    type Launch = ProcessLaunch;
    type Prepared = PreparedProcess;
    type Place = Host;

    const NOUN: &'static str = "process";
    const WORK_POOL: WorkPoolType =
        WorkPoolType { name: "process", template: |_| include_str!("work_pool_template.json") };
    const TROUBLE: ErrorKind = ErrorKind::Platform;

    async fn render(&self, run: RunDescription) -> Result<WithWarning<ProcessLaunch>, RenderError> {
        let order = order(&run, &self.around).map_err(RenderError::Refused)?;
        Ok(WithWarning { launch: ProcessLaunch { order, host: self.host.clone() }, warning: None })
    }

    fn place(&self, launch: &ProcessLaunch) -> Host {
        launch.host.clone()
    }

    async fn prepare(
        &self,
        launch: &ProcessLaunch,
        identity: &LaunchIdentity,
    ) -> Result<WithWarning<PreparedProcess>, LaunchOutcome> {
        let mut order = launch.order.clone();
        if let Some(working_dir) = order.working_dir.as_ref().filter(|path| !Path::new(path).exists()) {
            return Err(LaunchOutcome::Permanent(format!(
                "Flow run {} has a nonexistent `working_dir` configured: {working_dir}",
                identity.flow_run_id
            )));
        }
        let directory = self.launches.of(&identity.token);
        directory.create(identity).map_err(|error| trouble(&error))?;
        if order.needs_directory {
            std::fs::create_dir_all(directory.work()).map_err(|error| trouble(&error))?;
            order.working_dir = Some(directory.work().display().to_string());
        }
        Ok(WithWarning { launch: PreparedProcess { order, directory }, warning: None })
    }

    async fn launch(&self, launch: &PreparedProcess, deadline: OffsetDateTime) -> LaunchOutcome {
        let left = Duration::try_from(deadline - self.clock.now()).unwrap_or_default();
        if left.is_zero() {
            let reason = "no time was left to start its process".to_owned();
            return LaunchOutcome::Transient { reason, cause: TransientCause::NoTime };
        }
        let (answer, outcome) = oneshot::channel();
        let (program, order, directory) = (self.program.clone(), launch.order.clone(), launch.directory.clone());
        let thread = thread::Builder::new().spawn(move || start(&program, (&order, &directory), answer));
        let cannot = |error: io::Error| {
            LaunchOutcome::AgentTrouble(format!("{} cannot be started: {error}", self.program.display()))
        };
        if let Err(error) = thread {
            return cannot(error);
        }
        match tokio::time::timeout(left, outcome).await {
            Ok(Ok(outcome)) => outcome.unwrap_or_else(cannot),
            Ok(Err(_)) | Err(_) => LaunchOutcome::Unknown("its supervisor did not answer in time".to_owned()),
        }
    }

    async fn live(&self, place: &Host, identity: &LaunchIdentity) -> Result<LiveDeployments, LaunchOutcome> {
        if !place.machine.is_empty() && place.machine != self.host.machine {
            return Err(LaunchOutcome::Unknown(format!("that is known on the machine {} only", place.machine)));
        }
        let mut deployments = Vec::new();
        for (directory, known) in self.launches.all() {
            if known.started_by != identity.started_by {
                continue;
            }
            match (directory.state(), directory.pid()) {
                (LaunchState::Running, Some(pid)) => deployments.push(running(&directory, pid)),
                (LaunchState::Running | LaunchState::Starting, _) => {
                    return Err(LaunchOutcome::Unknown(STARTING.to_owned()));
                }
                (LaunchState::Prepared | LaunchState::Ended(_), _) => {}
            }
        }
        Ok(LiveDeployments { deployments, warning: None })
    }

    /// Also all that the process has started. What does not stop is killed by its supervisor.
    async fn stop(&self, _: &Host, id: &str, _: &str) -> Result<(), LaunchOutcome> {
        let Some((directory, pid)) = self.live_process(id).and_then(|one| one.pid().map(|pid| (one, pid))) else {
            return Ok(());
        };
        directory.mark_stopping().map_err(|error| trouble(&error))?;
        if signal(pid, Signal::TERM) || directory.state() != LaunchState::Running {
            return Ok(());
        }
        Err(LaunchOutcome::AgentTrouble(format!("process {pid} cannot be signalled")))
    }

    async fn find(&self, place: &Host, id: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        if let Some((directory, pid)) = self.live_process(id).and_then(|one| one.pid().map(|pid| (one, pid))) {
            return Ok(Some(running(&directory, pid)));
        }
        let is_elsewhere = !place.name.is_empty() && place.name != self.host.name;
        let pid = id.parse().ok().and_then(Pid::from_raw);
        // Another agent's, or a worker's: it looks after it.
        if is_elsewhere || pid.is_some_and(|pid| test_kill_process(pid).is_ok()) {
            return Err(LaunchOutcome::Unknown(format!("process {id} of {} is not this agent's", place.name)));
        }
        Ok(None)
    }

    fn shown(&self, id: &str) -> String {
        format!("PID: {id}")
    }

    /// A process is started on this machine or nowhere: one that was claimed elsewhere is not looked for here.
    fn in_place(&self, launch: ProcessLaunch, claimed: &str) -> ProcessLaunch {
        if claimed.is_empty() { launch } else { ProcessLaunch { host: launch.host.named(claimed), ..launch } }
    }

    async fn ended(&self) -> Vec<EndedDeployment> {
        let now = self.clock.now();
        self.launches.forget_old(now);
        let untold = self.launches.all().into_iter().filter(|(directory, _)| !directory.is_told());
        let ended = untold.filter_map(|(directory, identity)| match directory.state() {
            LaunchState::Ended(end) => Some(EndedDeployment {
                id: directory.pid().map(|pid| pid.to_string()).unwrap_or_default(),
                identity,
                at: end.as_ref().map_or(now, |end| end.at),
                failure: end.map_or_else(|| Some(GONE.to_owned()), |end| end.failure()),
            }),
            LaunchState::Prepared | LaunchState::Starting | LaunchState::Running => None,
        });
        ended.collect()
    }

    fn forget(&self, ended: &EndedDeployment) {
        if let Err(error) = self.launches.of(&ended.identity.token).mark_told() {
            tracing::warn!(pid = ended.id, %error, "that its end was told cannot be written down");
        }
    }
}

impl<C: Clock + Clone> AgentPlatform<C> for Processes<C> {
    const NEEDS_AWS: bool = false;

    async fn of_agent(agent: &AgentSetup<'_, C>) -> Result<Self, SetupError> {
        let wrong = |message: String| SetupError { kind: ErrorKind::Configuration, message };
        if agent.config.guardrails.is_some() {
            return Err(wrong(
                "`guardrails` judge what runs ask of ECS, and say nothing of processes: leave the key out with --platform \
                 process, so that nobody relies on it"
                    .to_owned(),
            ));
        }
        let working_dir = std::env::current_dir().map_err(|error| wrong(format!("the working directory: {error}")))?;
        let state = state_directory(agent.environment).ok_or_else(|| {
            wrong("neither XDG_STATE_HOME nor HOME names a directory in which launches can be remembered".to_owned())
        })?;
        let host = host();
        // Not by the directory that it was started in: an agent that is started elsewhere is the same one.
        let name = hex::encode(Sha256::digest(format!("{}\0{}", host.machine, agent.marked_as)));
        Ok(Self {
            launches: Launches::new(state.join(name.get(..16).unwrap_or(&name))),
            host,
            around: Surroundings {
                working_dir: working_dir.display().to_string(),
                python_path: agent.environment.get("PYTHONPATH").cloned(),
            },
            program: program().map_err(|error| wrong(format!("this program's file: {error}")))?,
            clock: agent.clock.clone(),
        })
    }

    /// A file by its whole path, and the machine with it: two agents of one name are two.
    fn marked_as(configured_in: &str, agent: &str) -> String {
        let path = Path::new(configured_in).canonicalize();
        let place = path.map_or_else(|_| configured_in.to_owned(), |path| path.display().to_string());
        format!("process:{}:{place}/{agent}", host().machine)
    }

    /// The machine.
    async fn scope(_: &AgentSetup<'_, C>) -> Result<String, SetupError> {
        Ok(host().machine)
    }

    /// The host's name, as Prefect's local agent adds it: flows that may run anywhere on it ask for it.
    fn labels(&self) -> Vec<String> {
        vec![self.host.name.clone()]
    }
}

/// This machine. Its name may change, and a home directory may be shared by many.
fn host() -> Host {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine = std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default();
    Host { machine: if machine.is_empty() { name.clone() } else { machine }, name }
}

/// This program, also when it is replaced while it runs.
fn program() -> io::Result<PathBuf> {
    let itself = Path::new("/proc/self/exe");
    if itself.exists() { Ok(itself.to_owned()) } else { std::env::current_exe() }
}

/// Where this machine remembers launches, by the rules of the XDG base directories.
fn state_directory(environment: &Environment) -> Option<PathBuf> {
    let named = |name: &str| environment.get(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("prefect-serverless-agent/processes"))
}
