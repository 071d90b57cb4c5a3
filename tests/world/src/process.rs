//! The real Lambda binary as a process, with a [`RuntimeApi`] of its own.

use crate::{
    REGION, World,
    runtime_api::{Invocation, InvokeError, RuntimeApi},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// How a function process is started.
#[derive(Clone, Debug)]
pub struct LambdaOptions {
    binary: PathBuf,
    env: BTreeMap<String, String>,
}

impl LambdaOptions {
    /// A function whose AWS is the world at `url`, with what Lambda sets in its environment. The handler is `poll`.
    pub fn new(binary: impl AsRef<Path>, url: &str) -> Self {
        let set = [
            ("_HANDLER", "poll"),
            ("AWS_ENDPOINT_URL", url),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "AKIAWORLD0000000001"),
            ("AWS_SECRET_ACCESS_KEY", "secret-of-the-world"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_LAMBDA_FUNCTION_NAME", "world-poll"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/world-poll"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0123456789abcdef"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("TZ", ":UTC"),
            ("LANG", "en_US.UTF-8"),
        ];
        let env = set.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { binary: binary.as_ref().to_owned(), env }
    }

    /// Sets a variable of the process's environment; nothing is inherited.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Which of the functions it is: `poll`, `health`, …
    #[must_use]
    pub fn handler(self, handler: &str) -> Self {
        self.env("_HANDLER", handler).env("AWS_LAMBDA_FUNCTION_NAME", &format!("world-{handler}"))
    }

    /// `PARAMETER_ROOT`
    #[must_use]
    pub fn parameter_root(self, root: &str) -> Self {
        self.env("PARAMETER_ROOT", root)
    }

    /// Starts the process.
    pub async fn start(self) -> std::io::Result<LambdaProcess> {
        LambdaProcess::start(self).await
    }
}

/// A running function process. Dropping it kills the process by its pid.
pub struct LambdaProcess {
    child: Mutex<Child>,
    runtime: RuntimeApi,
    stdout: Captured,
    stderr: Captured,
    spawned: Instant,
}

/// What was written to a pipe so far.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn follow(&self, pipe: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let (Some(mut pipe), captured) = (pipe, self.clone()) else { return };
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                captured.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl LambdaProcess {
    /// Starts the process and its Runtime API. A relative binary is looked for from the working directory.
    pub async fn start(options: LambdaOptions) -> std::io::Result<Self> {
        let runtime = RuntimeApi::start().await?;
        let mut command = Command::new(&options.binary);
        command.env_clear().envs(&options.env).env("AWS_LAMBDA_RUNTIME_API", runtime.address());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let spawned = Instant::now();
        let mut child = command.spawn().map_err(|error| {
            std::io::Error::new(error.kind(), format!("{} cannot be started: {error}", options.binary.display()))
        })?;
        let (stdout, stderr) = (Captured::default(), Captured::default());
        stdout.follow(child.stdout.take());
        stderr.follow(child.stderr.take());
        Ok(Self { child: Mutex::new(child), runtime, stdout, stderr, spawned })
    }

    /// One invocation. When the process ends instead of answering, the error says so and shows its output.
    pub async fn invoke(&self, event: Value, deadline: Duration) -> Invocation {
        tokio::select! {
            answer = self.runtime.invoke(event, deadline) => answer,
            status = self.exit() => Err(self.exit_error(status)),
        }
    }

    /// Waits until it asks for its first event, and says how long that took from its start.
    pub async fn ready(&self, limit: Duration) -> Result<Duration, InvokeError> {
        tokio::select! {
            at = self.runtime.ready(limit) => match at {
                Some(at) => Ok(at - self.spawned),
                None => Err(InvokeError::new("Sandbox.Timedout", format!("not ready after {limit:?}; its output:\n{}", self.output()))),
            },
            status = self.exit() => Err(self.exit_error(status)),
        }
    }

    fn exit_error(&self, status: ExitStatus) -> InvokeError {
        self.runtime.init_error().unwrap_or_else(|| {
            InvokeError::new(
                "Runtime.ExitError",
                format!("the process ended: {status}; its output:\n{}", self.output()),
            )
        })
    }

    /// Waits until the process has ended.
    async fn exit(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.exited() {
                // Give the readers of its pipes a moment to see the end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How it ended; none while it runs.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Its process id; none when it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Its largest resident memory so far, in KiB; none when it has ended.
    pub fn peak_rss_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Its Runtime API.
    pub fn runtime(&self) -> &RuntimeApi {
        &self.runtime
    }

    /// When it was started.
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Everything it wrote so far: standard output, then standard error.
    pub fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Kills it (SIGKILL), whatever it is doing.
    pub fn kill(&self) {
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).start_kill();
    }

    /// Kills it and waits until it is gone.
    pub async fn stop(self) {
        self.kill();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.exit()).await;
    }
}

impl World {
    /// Hands the events that were invoked asynchronously since the last call to a function process, one after the
    /// other; what each came to.
    pub async fn deliver_invocations(&self, to: &LambdaProcess, deadline: Duration) -> Vec<Invocation> {
        let events = std::mem::take(&mut self.lock().lambda.invocations);
        let mut answers = Vec::new();
        for invoked in events {
            answers.push(to.invoke(invoked.payload, deadline).await);
        }
        answers
    }
}
