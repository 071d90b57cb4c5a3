//! The Python environment with Prefect 1.4.1, installed while the demo plays what needs none.

use crate::Error;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

/// `scripts/tools.sh` itself gives up after 15 minutes of installing, and waits so long for another installation.
const LIMIT: Duration = Duration::from_mins(31);
/// Whoever finds everything installed waits so long at most, and need not be told.
const AT_ONCE: Duration = Duration::from_secs(1);

/// An installation under way. Dropping it ends it.
pub(crate) struct Installation {
    child: Child,
}

impl Installation {
    /// Starts it; a moment's work when all is there.
    pub(crate) fn start() -> Result<Self, Error> {
        let mut command = Command::new(scripts().join("tools.sh"));
        command.arg("prefect-1.4").stdin(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("scripts/tools.sh: {error}"))?;
        Ok(Self { child })
    }

    /// Waits for it; the folder with its programs. `waiting` is called when that takes a while.
    pub(crate) async fn programs(&mut self, waiting: impl FnOnce()) -> Result<PathBuf, Error> {
        let ended = if let Ok(ended) = tokio::time::timeout(AT_ONCE, self.child.wait()).await {
            ended?
        } else {
            waiting();
            let late = |_| format!("Prefect 1.4.1 is not installed after {} s", LIMIT.as_secs());
            tokio::time::timeout(LIMIT, self.child.wait()).await.map_err(late)??
        };
        if !ended.success() {
            return Err("Prefect 1.4.1 could not be installed: see above".into());
        }
        let tools = std::env::var_os("PSA_TOOLS").map_or_else(|| scripts().join("../.tools"), PathBuf::from);
        Ok(tools.join("prefect-1.4/bin"))
    }
}

/// The project's scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts")
}
