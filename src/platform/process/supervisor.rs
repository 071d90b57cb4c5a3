//! The parent of a flow's process: it starts it once, and writes down how it ended, also when the agent has ended before.

use super::directory::{LaunchDirectory, ProcessEnd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use time::OffsetDateTime;

/// The process to start, as a supervisor reads it from its standard input.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessOrder {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables besides those of the agent itself; some hold keys.
    pub env: BTreeMap<String, String>,
    /// Where it runs; `None` = where the agent does.
    pub working_dir: Option<String>,
    /// It runs in a directory of its own.
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
            directory.write_pid(process.id())?;
            // The agent may be gone by now. The process is not.
            let _ = answer(SupervisorAnswer::Started(process.id()));
            let status = process.wait()?;
            ProcessEnd { at: now(), code: status.code(), signal: status.signal(), error: None }
        }
        Err(error) => {
            let program = order.command.first().map_or("", String::as_str);
            let error = Some(format!("{program}: {error}"));
            ProcessEnd { at: now(), code: None, signal: None, error }
        }
    };
    directory.write_end(&end)?;
    drop(lock);
    if end.error.is_some() { answer(SupervisorAnswer::Failed) } else { Ok(()) }
}

/// The process has the lock as its standard input, which is empty, so that the lock is held as long as it lives even if
/// its supervisor is killed. It leads a group of its own: what it starts is stopped with it.
fn start(order: &ProcessOrder, lock: std::fs::File) -> io::Result<Child> {
    let [program, arguments @ ..] = order.command.as_slice() else {
        return Err(io::Error::other("the command is empty"));
    };
    let output = || if order.stream_output { Stdio::from(io::stderr()) } else { Stdio::null() };
    let mut command = Command::new(program);
    command.args(arguments).envs(&order.env).stdin(lock).stdout(output()).stderr(output()).process_group(0);
    if let Some(working_dir) = &order.working_dir {
        command.current_dir(working_dir);
    }
    command.spawn()
}

fn answer(answer: SupervisorAnswer) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{}", serde_json::to_string(&answer)?)?;
    out.flush()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
