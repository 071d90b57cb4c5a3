//! The real `prefect-serverless-agent` binary as a process.

use crate::support::Deployment;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

/// No command of these stories takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The command with what a shell would have in its environment: the world as AWS. Nothing is inherited.
pub(crate) fn agent(deployment: &Deployment, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prefect-serverless-agent"));
    command.env_clear().kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("AWS_ENDPOINT_URL", deployment.world.url()).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "AKIAWORLD0000000001").env("AWS_SECRET_ACCESS_KEY", "secret-of-the-world");
    command.env("AWS_EC2_METADATA_DISABLED", "true").args(line.split_whitespace());
    command
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It must have worked.
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// Runs a command to its end.
pub(crate) async fn end(mut command: Command) -> Ended {
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("the command does not end").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A command that goes on.
pub(crate) struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, seen: Vec::new() }
    }

    /// Waits for a line of its log with `text` in it.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let read = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.seen.push(line.clone());
                if line.contains(text) {
                    return line;
                }
            }
            panic!("it ended without saying {text:?}: {:#?}", self.seen);
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("it does not say {text:?}"))
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it has ended").to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
    }

    /// Waits until it has ended; its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it does not end").unwrap().code()
    }
}

/// One request over HTTP: status, and the answer as text.
pub(crate) async fn request(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}
