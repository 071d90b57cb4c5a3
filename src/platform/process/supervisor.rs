//! The parent of a flow's process: it starts it once, stops it for good when it was asked to stop and does not, and writes
//! down how it ended, also when the agent has ended before.

use super::directory::{LaunchDirectory, ProcessEnd};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use time::OffsetDateTime;

/// A process that was asked to stop gets this long, as the process worker gives it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the process is looked at.
const LOOKS: Duration = Duration::from_millis(100);

/// The process to start, as a supervisor reads it from its standard input.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessOrder {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables besides those of the agent itself; some hold keys. `null`: one of the agent's that it does not get.
    pub env: BTreeMap<String, Option<String>>,
    /// Where it runs; `None` = where the agent does.
    pub working_dir: Option<String>,
    /// It runs in a directory of its own, which goes with it.
    pub needs_directory: bool,
    /// What it prints goes to the agent's standard error.
    pub stream_output: bool,
}

/// What a supervisor says on its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SupervisorAnswer {
    /// The process is started, with this id.
    Started(u32),
    /// It was started before, by whomever.
    StartedBefore,
    /// It could not be started, and never will be: why is in the directory.
    Failed,
}

/// Starts the process of a launch and waits for its end.
pub fn supervise(directory: &Path) -> io::Result<()> {
    let directory = LaunchDirectory::new(directory);
    let mut order = Vec::new();
    io::stdin().read_to_end(&mut order)?;
    let order: ProcessOrder = serde_json::from_slice(&order)?;
    let Some(lock) = directory.lock()? else { return answer(SupervisorAnswer::StartedBefore) };
    if !directory.mark_started()? {
        return answer(SupervisorAnswer::StartedBefore);
    }
    let end = match start(&order, lock.try_clone()?) {
        Ok(mut process) => {
            if let Err(error) = directory.write_pid(process.id()) {
                // Nobody could find it again.
                signal(process.id(), Signal::KILL);
                process.wait()?;
                return Err(error);
            }
            let output = order.stream_output.then(|| streamed(&mut process));
            // The agent may be gone by now. The process is not.
            let _ = answer(SupervisorAnswer::Started(process.id()));
            let status = ended(&mut process, &directory)?;
            output.into_iter().flatten().for_each(|thread| drop(thread.join()));
            ProcessEnd { at: now(), code: status.code(), signal: status.signal(), error: None, may_pass: false }
        }
        Err(error) => {
            let may_pass = may_pass(&error);
            let program = order.command.first().map_or("", String::as_str);
            let error = Some(format!("{program}: {error}"));
            ProcessEnd { at: now(), code: None, signal: None, error, may_pass }
        }
    };
    if order.needs_directory {
        // What the flow fetched and wrote there may be large, and may be secret.
        let _ = fs::remove_dir_all(directory.work());
    }
    directory.write_end(&end)?;
    drop(lock);
    if end.error.is_some() { answer(SupervisorAnswer::Failed) } else { Ok(()) }
}

/// The process has the lock as its standard input, which is empty, so that the lock is held as long as it lives even if
/// its supervisor is killed. It leads a group of its own: what it starts is stopped with it.
fn start(order: &ProcessOrder, lock: File) -> io::Result<Child> {
    let [program, arguments @ ..] = order.command.as_slice() else {
        return Err(io::Error::other("the command is empty"));
    };
    let output = || if order.stream_output { Stdio::piped() } else { Stdio::null() };
    let mut command = Command::new(program);
    command.args(arguments).stdin(lock).stdout(output()).stderr(output()).process_group(0);
    for (name, value) in &order.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(working_dir) = &order.working_dir {
        command.current_dir(working_dir);
    }
    command.spawn()
}

/// Passes on what the process prints, for as long as somebody takes it: a flow must not die of an agent that has ended.
fn streamed(process: &mut Child) -> Vec<thread::JoinHandle<()>> {
    let pass_on = |mut output: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let (mut buffer, mut is_taken) = ([0; 8192], true);
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let printed = buffer.get(..count).unwrap_or_default();
                is_taken = is_taken && io::stderr().write_all(printed).is_ok();
            }
        })
    };
    let stdout = process.stdout.take().map(|stdout| pass_on(Box::new(stdout)));
    let stderr = process.stderr.take().map(|stderr| pass_on(Box::new(stderr)));
    stdout.into_iter().chain(stderr).collect()
}

/// Waits for the end. What was asked to stop and does not is killed, with all that it has started.
fn ended(process: &mut Child, directory: &LaunchDirectory) -> io::Result<ExitStatus> {
    loop {
        let stopping = directory.stopping_since();
        if let Some(status) = process.try_wait()? {
            if stopping.is_some() {
                signal(process.id(), Signal::KILL);
            }
            return Ok(status);
        }
        if stopping.is_some_and(|since| now() - since > PATIENCE) {
            signal(process.id(), Signal::KILL);
        }
        thread::sleep(LOOKS);
    }
}

/// Signals the group that a process leads; whether there was one.
pub(super) fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
}

/// Whether the machine may have room again in a while.
fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{ExecutableFileBusy, OutOfMemory, WouldBlock};
    // EMFILE and ENFILE: too many open files.
    matches!(error.kind(), WouldBlock | OutOfMemory | ExecutableFileBusy)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

fn answer(answer: SupervisorAnswer) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{}", serde_json::to_string(&answer)?)?;
    out.flush()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
