//! What a person runs: wiring only. Arguments and environment go to the command.

use clap::Parser;
use prefect_serverless_agent::cli::{Cli, run};
use prefect_serverless_agent::config::Environment;
use prefect_serverless_agent::panics;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    panics::install();
    let cli = Cli::parse();
    // What is not Unicode is nothing that is read here.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment: Environment = std::env::vars_os().filter_map(text).collect();
    run(cli, environment).await
}
