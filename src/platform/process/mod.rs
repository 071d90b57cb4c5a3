//! Processes of this machine: for laptops, and for trying things without AWS.
//!
//! | part | what it does |
//! |---|---|
//! | `render` | from a flow run to its process, by the rules of Prefect's local agent and process worker (pure) |
//! | `directory` | what this machine remembers of launches |
//! | [`supervisor`] | the parent of a flow's process: starts it once, and writes down how it ended |
//!
//! A process outlives the agent that started it, as with Prefect's own local agent; an agent that is started again finds it,
//! and tells Prefect how it ended.

mod directory;
mod render;
pub mod supervisor;

use super::{
    AgentPlatform, AgentSetup, EndedDeployment, LaunchIdentity, LaunchOutcome, LiveDeployment, LiveDeployments, Place,
    Platform, Progress, RunDescription, TransientCause, WithWarning, WorkPoolType,
};
use crate::clock::Clock;
use crate::model::{ErrorKind, RenderError, SetupError};
use crate::panics::lock;
use directory::{GONE, LaunchDirectory, LaunchState, Launches};
use render::{Surroundings, order};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use supervisor::{ProcessOrder, SupervisorAnswer};
use time::OffsetDateTime;

/// A process that was asked to stop gets this long, as the process worker gives it.
const PATIENCE: Duration = Duration::from_secs(30);

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
    /// Supervisors that this process started, to be waited for.
    supervisors: Mutex<Vec<Child>>,
}

/// A machine, by its name; empty = the one that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host(String);

/// `<host>:<process id>`, as the process worker writes it.
impl Place for Host {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn named(self, name: &str) -> Self {
        Self(name.to_owned())
    }

    fn pid(&self, id: &str) -> String {
        format!("{}:{id}", self.0)
    }

    fn of_pid(pid: &str) -> (Self, String) {
        let (host, id) = pid.rsplit_once(':').unwrap_or(("", pid));
        (Self(host.to_owned()), id.to_owned())
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
    /// Those of this run that have not ended.
    fn of_run(&self, identity: &LaunchIdentity) -> impl Iterator<Item = (LaunchDirectory, LaunchState)> {
        let started_by = identity.started_by.clone();
        let ours = self.launches.all().into_iter().filter(move |(_, known)| known.started_by == started_by);
        ours.map(|(directory, _)| (directory.clone(), directory.state()))
    }

    /// The directory of the live process of this id.
    fn live_process(&self, id: &str) -> Option<LaunchDirectory> {
        let is_it = |directory: &LaunchDirectory| {
            directory.pid().is_some_and(|pid| pid.to_string() == id) && directory.state() == LaunchState::Running
        };
        self.launches.all().into_iter().map(|(directory, _)| directory).find(is_it)
    }

    /// Starts a supervisor in a group of its own, so that what ends the agent does not end it, and reads its answer.
    fn start(&self, launch: &PreparedProcess) -> io::Result<LaunchOutcome> {
        let mut supervisor = Command::new(&self.program)
            .arg(SUPERVISE)
            .arg(launch.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let order = serde_json::to_vec(&launch.order)?;
        let written = supervisor.stdin.take().map(|mut stdin| stdin.write_all(&order));
        let answer = supervisor.stdout.take().map(|stdout| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        lock(&self.supervisors).push(supervisor);
        written.transpose()?;
        let answer = answer.transpose()?.unwrap_or_default();
        Ok(match serde_json::from_str(&answer) {
            Ok(SupervisorAnswer::Started(pid)) => LaunchOutcome::Started { id: pid.to_string() },
            Ok(SupervisorAnswer::StartedBefore | SupervisorAnswer::Failed) => known(&launch.directory),
            Err(_) => LaunchOutcome::Unknown("its supervisor said nothing".to_owned()),
        })
    }
}

/// What became of a launch that was made before.
fn known(directory: &LaunchDirectory) -> LaunchOutcome {
    let id = directory.pid().map(|pid| pid.to_string()).unwrap_or_default();
    match directory.state() {
        LaunchState::Running => LaunchOutcome::Adopted { id },
        LaunchState::Prepared | LaunchState::Starting => LaunchOutcome::Unknown("it is being started".to_owned()),
        LaunchState::Ended(Some(end)) if end.error.is_some() => {
            LaunchOutcome::Permanent(sentence(&end.failure().unwrap_or_default()))
        }
        LaunchState::Ended(end) => {
            let failure = end.map_or_else(|| Some(GONE.to_owned()), |end| end.failure());
            let reason = failure.unwrap_or_else(|| "its process ended before the flow run began".to_owned());
            LaunchOutcome::Dead { id, reason: sentence(&reason) }
        }
    }
}

fn sentence(reason: &str) -> String {
    let reason = reason.strip_prefix("its ").map_or_else(|| reason.to_owned(), |rest| format!("Its {rest}"));
    format!("{reason}.")
}

fn live(directory: &LaunchDirectory, state: &LaunchState) -> Option<LiveDeployment> {
    let progress = match state {
        LaunchState::Starting => Progress::Unknown,
        LaunchState::Running => Progress::Begun,
        LaunchState::Prepared | LaunchState::Ended(_) => return None,
    };
    let id = directory.pid().map(|pid| pid.to_string()).unwrap_or_default();
    Some(LiveDeployment { id, progress, is_stopping: directory.stopping_since().is_some() })
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
    const TROUBLE: ErrorKind = ErrorKind::Internal;

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
        if let Some(working_dir) = order.working_dir.as_ref().filter(|path| !std::path::Path::new(path).exists()) {
            return Err(LaunchOutcome::Permanent(format!(
                "Flow run {} has a nonexistent `working_dir` configured: {working_dir}",
                identity.flow_run_id
            )));
        }
        let directory = self.launches.of(&identity.token);
        directory.create(identity).map_err(|error| trouble(&error))?;
        if order.needs_directory {
            let work = directory.path().join("work");
            std::fs::create_dir_all(&work).map_err(|error| trouble(&error))?;
            order.working_dir = Some(work.display().to_string());
        }
        Ok(WithWarning { launch: PreparedProcess { order, directory }, warning: None })
    }

    async fn launch(&self, launch: &PreparedProcess, deadline: OffsetDateTime) -> LaunchOutcome {
        if self.clock.now() >= deadline {
            let reason = "no time was left to start its process".to_owned();
            return LaunchOutcome::Transient { reason, cause: TransientCause::NoTime };
        }
        self.start(launch).unwrap_or_else(|error| {
            LaunchOutcome::AgentTrouble(format!("{} cannot be started: {error}", self.program.display()))
        })
    }

    async fn live(&self, place: &Host, identity: &LaunchIdentity) -> Result<LiveDeployments, LaunchOutcome> {
        if !place.0.is_empty() && *place != self.host {
            return Err(LaunchOutcome::Unknown(format!("that is known on {} only", place.0)));
        }
        let deployments = self.of_run(identity).filter_map(|(directory, state)| live(&directory, &state)).collect();
        Ok(LiveDeployments { deployments, warning: None })
    }

    /// Also all that the process has started.
    async fn stop(&self, _: &Host, id: &str, _: &str) -> Result<(), LaunchOutcome> {
        let Some(directory) = self.live_process(id) else { return Ok(()) };
        directory.mark_stopping().map_err(|error| trouble(&error))?;
        signal(&directory, Signal::TERM);
        Ok(())
    }

    async fn find(&self, _: &Host, id: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        Ok(self.live_process(id).and_then(|directory| live(&directory, &directory.state())))
    }

    fn shown(&self, id: &str) -> String {
        format!("PID: {id}")
    }

    /// A process is started on this machine or nowhere: one that was claimed elsewhere is not looked for here.
    fn in_place(&self, launch: ProcessLaunch, claimed: &str) -> ProcessLaunch {
        if claimed.is_empty() { launch } else { ProcessLaunch { host: Host(claimed.to_owned()), ..launch } }
    }

    async fn ended(&self) -> Vec<EndedDeployment> {
        let now = self.clock.now();
        lock(&self.supervisors).retain_mut(|supervisor| matches!(supervisor.try_wait(), Ok(None)));
        self.launches.forget_old(now);
        let mut ended = Vec::new();
        for (directory, identity) in self.launches.all().into_iter().filter(|(directory, _)| !directory.is_told()) {
            match directory.state() {
                LaunchState::Running if directory.stopping_since().is_some_and(|since| now - since > PATIENCE) => {
                    signal(&directory, Signal::KILL);
                }
                LaunchState::Ended(end) => ended.push(EndedDeployment {
                    id: directory.pid().map(|pid| pid.to_string()).unwrap_or_default(),
                    identity,
                    at: end.as_ref().map_or(now, |end| end.at),
                    failure: end.map_or_else(|| Some(GONE.to_owned()), |end| end.failure()),
                }),
                LaunchState::Prepared | LaunchState::Starting | LaunchState::Running => {}
            }
        }
        ended
    }

    fn forget(&self, ended: &EndedDeployment) {
        if let Err(error) = self.launches.of(&ended.identity.token).mark_told() {
            tracing::warn!(pid = ended.id, %error, "that its end was told cannot be written down");
        }
    }
}

/// Signals the group of a live process.
fn signal(directory: &LaunchDirectory, signal: Signal) {
    let pid = directory.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(Err(error)) = pid.map(|pid| kill_process_group(pid, signal)) {
        tracing::debug!(?pid, ?signal, %error, "a process was not signalled");
    }
}

impl<C: Clock + Clone> AgentPlatform<C> for Processes<C> {
    const NEEDS_AWS: bool = false;

    async fn of_agent(agent: &AgentSetup<'_, C>) -> Result<Self, SetupError> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| SetupError {
            kind: ErrorKind::Configuration,
            message: format!("{what}: {error}"),
        };
        let working_dir = std::env::current_dir().map_err(|error| wrong("the working directory", &error))?;
        let program = std::env::current_exe().map_err(|error| wrong("this program's file", &error))?;
        let host = host();
        let name = hex::encode(Sha256::digest(format!("{}/{}", working_dir.display(), agent.marked_as)));
        Ok(Self {
            launches: Launches::new(state_directory(agent.environment).join(name.get(..16).unwrap_or(&name))),
            host: Host(host),
            around: Surroundings {
                working_dir: working_dir.display().to_string(),
                python_path: agent.environment.get("PYTHONPATH").cloned(),
            },
            program,
            clock: agent.clock.clone(),
            supervisors: Mutex::default(),
        })
    }

    /// The machine.
    async fn scope(_: &AgentSetup<'_, C>) -> Result<String, SetupError> {
        Ok(host())
    }

    /// The host's name, as Prefect's local agent adds it: flows that may run anywhere on it ask for it.
    fn labels(&self) -> Vec<String> {
        vec![self.host.0.clone()]
    }
}

/// The name of this machine.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where this machine remembers launches, by the rules of the XDG base directories.
fn state_directory(environment: &crate::config::Environment) -> PathBuf {
    let named = |name: &str| environment.get(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("prefect-serverless-agent/processes")
}
