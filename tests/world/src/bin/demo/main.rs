//! `make demo`: two acts. Flow runs of many kinds in a local world, then flows of a real Prefect 3 server; polled and
//! launched by the real `lambda` binary.
//!
//! | module | holds |
//! |---|---|
//! | [`runs`] | the first act's flow runs, taken from recorded ones, and what is to become of each |
//! | [`deployment`] | its world: Prefect Cloud, a Prefect Server, AWS, the agents' configuration |
//! | [`story`] | what happens in it, in order: invocations, a cancellation, health, pokes |
//! | [`flow`] | what runs in its containers: a stand-in for `prefect execute flow-run` |
//! | [`installation`], [`flows`] | the real one, and the real flows that it runs in the first act's second scene |
//! | [`verdict`] | whether each of its runs ended as it should |
//! | [`second`] | the second act |
//! | [`page`], [`ink`], [`http`] | what is printed, and how; how APIs are asked |

mod deployment;
mod flow;
mod flows;
mod http;
mod ink;
mod installation;
mod page;
mod runs;
mod second;
mod story;
mod verdict;

use clap::Parser;
use deployment::Deployment;
use installation::Installation;
use second::server::ServerProcess;
use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Whatever went wrong; it is only shown.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// A scene of the first act takes a few seconds; when it hangs, it ends after this.
const LIMIT: Duration = Duration::from_mins(1);
/// The same of its second scene, whose flows run in processes of Python's.
const FLOWS_LIMIT: Duration = Duration::from_mins(5);

/// Flow runs of many kinds, polled and launched by the real `lambda` binary: in a local world, then of a real Prefect 3
/// server.
#[derive(Parser)]
struct Arguments {
    /// The `lambda` binary; by default the one beside this program.
    #[arg(long)]
    lambda: Option<PathBuf>,
    /// Keeps the Prefect server and its agent running after the second act, until ctrl-c.
    #[arg(long)]
    keep: bool,
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
    let mut installation = Installation::start()?;
    let mut server = second::prepare()?;
    let ended = OnceCell::new();
    // Whichever way this ends, what it started ends with it: dropping the worlds and the functions kills their processes.
    let outcome = tokio::select! {
        played = acts(&lambda, &mut installation, &mut server, arguments.keep, &ended) => played,
        _ = terminate.recv() => interrupted("terminated", &ended),
        _ = tokio::signal::ctrl_c() => interrupted("interrupted", &ended),
    };
    server.end().await;
    outcome.map(|()| ended.into_inner().unwrap_or_default())
}

/// When both acts are over, somebody explores, and has done so.
fn interrupted(how: &str, ended: &OnceCell<bool>) -> Result<(), Error> {
    ended.get().map(drop).ok_or_else(|| how.into())
}

/// Both acts; `ended` gets whether all ended as it should.
async fn acts(
    lambda: &Path,
    installation: &mut Installation,
    server: &mut ServerProcess,
    keep: bool,
    ended: &OnceCell<bool>,
) -> Result<(), Error> {
    let first = first_act(lambda, installation).await?;
    second::play(lambda, server, keep, first, ended).await
}

/// The first act; whether all ended as it should. Its first scene needs nothing but this program and `lambda`.
async fn first_act(lambda: &Path, installation: &mut Installation) -> Result<bool, Error> {
    let late = |limit: Duration| move |_| format!("the first act is not done after {} s", limit.as_secs());
    let deployment = Deployment::new(lambda).await?;
    let story = tokio::time::timeout(LIMIT, story::tell(&deployment)).await.map_err(late(LIMIT))??;
    let first = page::show(&story);
    let programs = installation
        .programs(|| println!("\nThe next scene waits for Prefect 1.4.1, which is installed once: about a minute"))
        .await?;
    let scene = tokio::time::timeout(FLOWS_LIMIT, flows::tell(&deployment, &programs)).await;
    let scene = scene.map_err(late(FLOWS_LIMIT))??;
    Ok(page::show_flows(&scene) && first)
}
