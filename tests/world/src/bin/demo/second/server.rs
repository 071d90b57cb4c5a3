//! The real Prefect 3 server: `scripts/prefect-server.sh`, which starts it and schedules flow runs.

use crate::{Error, http::ask, installation::scripts};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::Instant,
};

/// A first start migrates an empty database: seven seconds on an idle machine, a minute on a very busy one. Before it may
/// come the installation of Prefect, which its script bounds by 15 minutes.
const START: Duration = Duration::from_mins(19);
/// How long it may take to end.
const END: Duration = Duration::from_secs(30);
/// How long one request may take, its repetitions included.
const REQUEST: Duration = Duration::from_secs(30);
/// A server on `SQLite` answers 503 while its database is locked.
const BUSY: Duration = Duration::from_millis(100);
/// Lines of its log that are shown when something is wrong.
const LOG_LINES: usize = 30;

/// The process. It ends with [`ServerProcess::end`]; should this program die before, its input ends, and so does it.
pub(crate) struct ServerProcess {
    child: Child,
}

/// A server that answers, and what is in it.
#[derive(Deserialize)]
pub(crate) struct Server {
    /// Address of its API.
    pub(crate) api: String,
    /// Address of its pages.
    pub(crate) ui: String,
    /// Path of its log.
    log: String,
    pub(crate) work_pool: WorkPool,
    /// Ids of the deployments, by name.
    pub(crate) deployments: BTreeMap<String, String>,
    /// The flow runs that are scheduled, earliest first.
    pub(crate) flow_runs: Vec<Scheduled>,
    /// What a process needs that takes the place of a container.
    pub(crate) container_environment: BTreeMap<String, String>,
    /// How long it took to start.
    pub(crate) start_ms: u64,
}

/// The work pool.
#[derive(Deserialize)]
pub(crate) struct WorkPool {
    pub(crate) name: String,
}

/// A flow run that is scheduled.
#[derive(Clone, Deserialize)]
pub(crate) struct Scheduled {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Name of its deployment.
    deployment: String,
}

impl Scheduled {
    /// Whether it is of a flow that completes when nothing comes between.
    pub(crate) fn completes(&self) -> bool {
        matches!(self.deployment.as_str(), "nightly" | "reports")
    }
}

impl ServerProcess {
    /// Starts it, with so many flow runs scheduled; [`ServerProcess::ready`] waits until it answers.
    pub(crate) fn start(pool: &str, runs: usize) -> Result<Self, Error> {
        let script = scripts().join("prefect-server.sh");
        let mut command = Command::new(&script);
        command.args(["--pool", pool, "--runs", &runs.to_string()]);
        // A group of its own: ctrl-c is for this program, which then ends the server in order.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let child = command.spawn().map_err(|error| format!("{}: {error}", script.display()))?;
        Ok(Self { child })
    }

    /// Waits until it answers and everything is scheduled. Once.
    pub(crate) async fn ready(&mut self) -> Result<Server, Error> {
        let stdout = self.child.stdout.take().ok_or("the Prefect server was waited for already")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START, lines.next_line()).await;
        let line = line.map_err(|_| format!("the Prefect server was not ready after {} s", START.as_secs()))??;
        Ok(serde_json::from_str(&line.ok_or("the Prefect server ended before it was ready: see above")?)?)
    }

    /// Ends it, gently first.
    pub(crate) async fn end(mut self) {
        let Some(pid) = self.child.id() else { return };
        signal("-TERM", &pid.to_string());
        if tokio::time::timeout(END, self.child.wait()).await.is_err() {
            signal("-KILL", &format!("-{pid}"));
            let _ = tokio::time::timeout(END, self.child.wait()).await;
        }
    }
}

fn signal(which: &str, whom: &str) {
    if let Err(error) = std::process::Command::new("kill").args([which, "--", whom]).status() {
        eprintln!("demo: process {whom} cannot be ended: {error}");
    }
}

impl Server {
    /// What is at a path of the API.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.must("GET", path, None).await
    }

    /// The answer to a POST.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.must("POST", path, Some(body)).await
    }

    async fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let (url, end) = (format!("{}{path}", self.api), Instant::now() + REQUEST);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match ask(left, method, &url, &[], body).await? {
                (503, _) if left > BUSY => tokio::time::sleep(BUSY).await,
                (status, answer) if status < 300 => return Ok(answer),
                (status, answer) => return Err(format!("{method} {url}: {status}: {answer}").into()),
            }
        }
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_else(|error| format!("{}: {error}", self.log));
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}
