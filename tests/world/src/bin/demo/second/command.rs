//! What a person does: the `prefect-serverless-agent` command, with what it says.

use crate::{Error, ink::Ink};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;
use world::RunningWorld;

/// A command takes a second or two.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs the command at a prompt, against this account, and shows what it says. An error when it does not end with `code`.
pub(crate) async fn run(aws: &RunningWorld, ink: Ink, line: &str, code: i32) -> Result<(), Error> {
    println!("  {}", ink.title(&format!("$ prefect-serverless-agent {line}")));
    let program = std::env::current_exe()?.with_file_name("prefect-serverless-agent");
    let mut command = Command::new(program);
    command.args(line.split_whitespace()).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "AKIAWORLD0000000001").env("AWS_SECRET_ACCESS_KEY", "secret-of-the-world");
    let ended = tokio::time::timeout(LIMIT, command.output()).await;
    let ended = ended.map_err(|_| format!("{line}: not done after {} s", LIMIT.as_secs()))??;
    let said = String::from_utf8_lossy(&ended.stdout);
    for line in said.lines() {
        println!("    {}", ink.faint(line));
    }
    println!();
    if ended.status.code() == Some(code) {
        return Ok(());
    }
    Err(format!("{line}: {}: {said}{}", ended.status, String::from_utf8_lossy(&ended.stderr)).into())
}
