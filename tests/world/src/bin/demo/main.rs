//! `make demo`: flow runs of many kinds in a local world, polled and launched by the real `lambda` binary.
//!
//! | module | holds |
//! |---|---|
//! | [`runs`] | the flow runs, taken from recorded ones, and what is to become of each |
//! | [`deployment`] | the world: Prefect Cloud, a Prefect Server, AWS, the agents' configuration |
//! | [`story`] | what happens, in order: invocations, a cancellation, health, pokes |
//! | [`flow`] | `prefect execute flow-run`, as it runs in the containers |
//! | [`verdict`] | whether each run ended as it should |
//! | [`page`], [`ink`] | what is printed |

mod deployment;
mod flow;
mod ink;
mod page;
mod runs;
mod story;
mod verdict;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Whatever went wrong; it is only shown.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// The whole demo takes a few seconds; when it hangs, it ends after this.
const LIMIT: Duration = Duration::from_secs(20);

/// Flow runs of many kinds in a local world, polled and launched by the real `lambda` binary.
#[derive(Parser)]
struct Arguments {
    /// The `lambda` binary; by default the one beside this program.
    #[arg(long)]
    lambda: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let myself = std::env::args().next().map(PathBuf::from).unwrap_or_default();
    if myself.file_name().is_some_and(|name| name == flow::NAME) {
        return flow::run().await;
    }
    match demo(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all ended as it should.
async fn demo(arguments: Arguments) -> Result<bool, Error> {
    let lambda = match arguments.lambda {
        Some(lambda) => lambda,
        None => std::env::current_exe()?.with_file_name("lambda"),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    // Whichever way this ends, what it started ends with it: dropping the world and the functions kills their processes.
    tokio::select! {
        ended = tokio::time::timeout(LIMIT, story::tell(&lambda)) => match ended {
            Ok(Ok(story)) => Ok(page::show(&story)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("not done after {} s", LIMIT.as_secs()).into()),
        },
        _ = terminate.recv() => Err("terminated".into()),
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}
