//! What this machine remembers of launches: a directory each, named by the launch's token.
//!
//! | file | says |
//! |---|---|
//! | `identity.json` | what named the launch |
//! | `lock` | locked as long as the supervisor or the flow's process lives; the kernel lets go of it, whatever happens |
//! | `started` | the process was started, or was about to be: it is never started again |
//! | `pid` | process id of the flow's process |
//! | `ended.json` | how it ended |
//! | `stopping` | it was asked to stop |
//! | `told` | Prefect knows of its end |
//!
//! Nothing of what a run is given is written down: neither its environment nor its keys.

use crate::platform::LaunchIdentity;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

/// A launch that Prefect was told the end of is remembered for so long: its token must not start another process.
const REMEMBERED: Duration = Duration::from_hours(24);

/// Whoever looks whether a process lives holds its lock for a moment. A supervisor tries so often, with a pause.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What named a launch, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenIdentity {
    flow_run_id: String,
    token: String,
    started_by: String,
}

/// How a flow's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessEnd {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) at: OffsetDateTime,
    /// Exit code; `None` = a signal ended it, or it was never started.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// Why it could not be started.
    pub(super) error: Option<String>,
    /// It could not be started for want of something that comes again: memory, processes, open files.
    #[serde(default)]
    pub(super) may_pass: bool,
}

impl ProcessEnd {
    /// What speaks against its flow having ended well.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self { error: Some(error), .. } => Some(format!("its process could not be started: {error}")),
            Self { signal: Some(signal), .. } => Some(format!("its process was ended by signal {signal}")),
            Self { code: Some(0), .. } => None,
            Self { code: Some(code), .. } => Some(format!("its process exited with code {code}")),
            Self { .. } => Some(GONE.to_owned()),
        }
    }
}

/// What is said of a process whose end nobody saw.
pub(super) const GONE: &str = "its process is gone, and nobody saw how it ended: the machine may have been restarted";

/// What is known of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LaunchState {
    /// Nothing was started.
    Prepared,
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It has ended, as far as that is known.
    Ended(Option<ProcessEnd>),
}

/// The directory of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaunchDirectory(PathBuf);

impl LaunchDirectory {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Creates it, readable by nobody else. One that is there already is the same launch's.
    pub(super) fn create(&self, identity: &LaunchIdentity) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let LaunchIdentity { flow_run_id, token, started_by } = identity.clone();
        self.write("identity.json", &serde_json::to_vec(&WrittenIdentity { flow_run_id, token, started_by })?)
    }

    /// What named the launch.
    pub(super) fn identity(&self) -> Option<LaunchIdentity> {
        let written = serde_json::from_slice(&fs::read(self.0.join("identity.json")).ok()?).ok()?;
        let WrittenIdentity { flow_run_id, token, started_by } = written;
        Some(LaunchIdentity { flow_run_id, token, started_by })
    }

    /// The lock, taken; `None` = a supervisor or its process lives.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let file = self.lock_file()?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(self.0.join("lock"))
    }

    /// Whether a supervisor or its process lives.
    fn is_alive(&self) -> bool {
        let Ok(file) = self.lock_file() else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Says that the process is about to be started; false = that was said before.
    pub(super) fn mark_started(&self) -> io::Result<bool> {
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(self.0.join("started")) {
            Ok(file) => file.sync_all().map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write_pid(&self, pid: u32) -> io::Result<()> {
        self.write("pid", pid.to_string().as_bytes())
    }

    /// Process id of the flow's process, once it was started.
    pub(super) fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.0.join("pid")).ok()?.parse().ok()
    }

    /// The directory that a process without one of its own runs in, for as long as it runs.
    pub(super) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub(super) fn write_end(&self, end: &ProcessEnd) -> io::Result<()> {
        self.write("ended.json", &serde_json::to_vec(end)?)
    }

    /// How far it is.
    pub(super) fn state(&self) -> LaunchState {
        // What a flow leaves behind may hold the lock after its end.
        let end = || fs::read(self.0.join("ended.json")).ok().and_then(|end| serde_json::from_slice(&end).ok());
        match end() {
            Some(end) => LaunchState::Ended(Some(end)),
            None if self.is_alive() && self.pid().is_some() => LaunchState::Running,
            None if self.is_alive() => LaunchState::Starting,
            None if !self.has("started") => LaunchState::Prepared,
            // It may have been written down in between.
            None => LaunchState::Ended(end()),
        }
    }

    /// Asked to stop: since when.
    pub(super) fn stopping_since(&self) -> Option<OffsetDateTime> {
        fs::metadata(self.0.join("stopping")).ok()?.modified().ok().map(OffsetDateTime::from)
    }

    pub(super) fn mark_stopping(&self) -> io::Result<()> {
        self.write("stopping", b"")
    }

    pub(super) fn is_told(&self) -> bool {
        self.has("told")
    }

    pub(super) fn mark_told(&self) -> io::Result<()> {
        self.write("told", b"")
    }

    /// Whether it can be forgotten, at this time.
    fn is_old(&self, now: OffsetDateTime) -> bool {
        // What was prepared and never started needs no telling.
        let over = if self.state() == LaunchState::Prepared { "identity.json" } else { "told" };
        let over = fs::metadata(self.0.join(over)).and_then(|over| over.modified());
        over.is_ok_and(|over| now - OffsetDateTime::from(over) > REMEMBERED)
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    /// Writes a file so that nobody ever reads half of it.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let next = self.0.join(format!("{name}.{}", std::process::id()));
        let mut file = File::create(&next)?;
        file.write_all(content)?;
        // A machine that loses its power must not remember an empty file.
        file.sync_all()?;
        fs::rename(next, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}

/// The launches of one agent on this machine.
#[derive(Debug, Clone)]
pub(super) struct Launches(PathBuf);

impl Launches {
    /// Below this directory.
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// The directory of a launch. Tokens are hexadecimal digits or UUIDs.
    pub(super) fn of(&self, token: &str) -> LaunchDirectory {
        let name: String = token.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        LaunchDirectory(self.0.join(name))
    }

    /// All launches that are remembered, with what named them.
    pub(super) fn all(&self) -> Vec<(LaunchDirectory, LaunchIdentity)> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let directories = entries.flatten().map(|entry| LaunchDirectory(entry.path()));
        directories.filter_map(|directory| directory.identity().map(|identity| (directory, identity))).collect()
    }

    /// Forgets what was told long ago.
    pub(super) fn forget_old(&self, now: OffsetDateTime) {
        for (directory, _) in self.all().into_iter().filter(|(directory, _)| directory.is_old(now)) {
            if let Err(error) = fs::remove_dir_all(&directory.0) {
                tracing::debug!(directory = %directory.0.display(), %error, "an old launch is not forgotten");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn identity(token: &str) -> LaunchIdentity {
        LaunchIdentity { flow_run_id: "run".into(), token: token.into(), started_by: "prefect/etl/run".into() }
    }

    fn created(root: &Path, token: &str) -> LaunchDirectory {
        let directory = Launches::new(root.to_owned()).of(token);
        directory.create(&identity(token)).unwrap();
        directory
    }

    #[test]
    fn a_launch_is_started_once_and_lives_as_long_as_its_lock_is_held() {
        let root = tempfile::tempdir().unwrap();
        let directory = created(root.path(), "t");
        assert_eq!((directory.state(), directory.identity()), (LaunchState::Prepared, Some(identity("t"))));
        let lock = directory.lock().unwrap().unwrap();
        assert!(directory.mark_started().unwrap());
        assert_eq!(directory.state(), LaunchState::Starting);
        directory.write_pid(4711).unwrap();
        let of_the_process = lock.try_clone().unwrap();
        drop(lock);
        assert_eq!(directory.state(), LaunchState::Running, "its supervisor was killed, the process lives");
        assert!(directory.lock().unwrap().is_none());
        drop(of_the_process);
        assert_eq!(directory.state(), LaunchState::Ended(None), "nobody saw how");
        assert!(!directory.mark_started().unwrap(), "it is not started again");
    }

    #[test]
    fn what_was_written_down_of_its_end_is_known_even_if_something_it_started_lives_on() {
        let root = tempfile::tempdir().unwrap();
        let directory = created(root.path(), "t");
        let _left_behind = directory.lock().unwrap().unwrap();
        directory.mark_started().unwrap();
        let at = OffsetDateTime::UNIX_EPOCH;
        let end = ProcessEnd { at, code: Some(3), signal: None, error: None, may_pass: false };
        directory.write_end(&end).unwrap();
        assert_eq!(directory.state(), LaunchState::Ended(Some(end)));
    }

    #[test]
    fn how_a_process_ended_is_said_in_words() {
        let end = ProcessEnd { at: OffsetDateTime::UNIX_EPOCH, code: None, signal: None, error: None, may_pass: false };
        for (end, failure) in [
            (ProcessEnd { code: Some(0), ..end.clone() }, None),
            (ProcessEnd { code: Some(3), ..end.clone() }, Some("its process exited with code 3")),
            (ProcessEnd { signal: Some(9), ..end.clone() }, Some("its process was ended by signal 9")),
            (
                ProcessEnd { error: Some("x: no".into()), ..end.clone() },
                Some("its process could not be started: x: no"),
            ),
            (end, Some(GONE)),
        ] {
            assert_eq!(end.failure().as_deref(), failure);
        }
    }

    #[test]
    fn what_was_told_is_forgotten_a_day_later_and_so_is_what_was_never_started() {
        let root = tempfile::tempdir().unwrap();
        let launches = Launches::new(root.path().to_owned());
        let told = created(root.path(), "told");
        told.mark_started().unwrap();
        told.mark_told().unwrap();
        created(root.path(), "untold").mark_started().unwrap();
        created(root.path(), "prepared");
        let tokens = || {
            let mut tokens: Vec<_> = launches.all().into_iter().map(|(_, identity)| identity.token).collect();
            tokens.sort();
            tokens
        };
        launches.forget_old(OffsetDateTime::now_utc());
        assert_eq!(tokens(), ["prepared", "told", "untold"]);
        launches.forget_old(OffsetDateTime::now_utc() + REMEMBERED + Duration::from_secs(1));
        assert_eq!(tokens(), ["untold"]);
    }
}
