//! The fakes as a program: for the demo, the benchmarks and the runs of the real Python agents.

use clap::{Args, Parser, Subcommand};
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use world::{
    World,
    ecs::{ContainerOptions, Lifecycle},
};

/// Stateful fakes of Prefect and AWS on one port of 127.0.0.1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or ctrl-c; prints one JSON line with its addresses first.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Added to every answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Ends by itself after this long.
    #[arg(long)]
    for_seconds: Option<u64>,
    /// Runs the containers' commands as local processes.
    #[arg(long)]
    run_containers: bool,
    /// A variable of every container's environment, NAME=VALUE; PATH is passed on anyway.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, requires = "run_containers")]
    container_env: Vec<(String, String)>,
    /// Where containers run.
    #[arg(long, requires = "run_containers")]
    container_dir: Option<PathBuf>,
    /// A container that takes longer is killed.
    #[arg(long, default_value_t = 60)]
    container_seconds: u64,
    /// So many containers run at once.
    #[arg(long, default_value_t = 4)]
    containers_at_once: usize,
    /// Lets tasks become PENDING and RUNNING by themselves, this many milliseconds per step.
    #[arg(long, conflicts_with = "run_containers")]
    task_step_ms: Option<u64>,
    /// Lets tasks stop by themselves after this long.
    #[arg(long, requires = "task_step_ms")]
    task_run_ms: Option<u64>,
    /// Lets tasks that live by themselves take their Prefect 3 flow runs along.
    #[arg(long, requires = "task_step_ms")]
    task_flow_runs: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Serve(serve) = Arguments::parse().command;
    match run(serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("world: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(serve: Serve) -> std::io::Result<()> {
    // Before the addresses are printed: whoever reads them may end the program at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let world = World::new();
    world.latency(Duration::from_millis(serve.latency_ms));
    {
        let mut state = world.lock();
        state.ecs.options.flow_runs = serve.task_flow_runs;
        state.ecs.options.containers = serve.run_containers.then(|| containers(&serve));
        state.ecs.options.lifecycle =
            serve.task_step_ms.map(|step_ms| Lifecycle { step_ms, run_ms: serve.task_run_ms });
    }
    let running = world.serve(serve.port).await?;
    let url = running.url();
    println!(
        "{}",
        json!({"url": url, "aws": url, "prefect1": running.prefect1_url(), "prefect3": running.prefect3_url(), "control": format!("{url}/_world"), "pid": std::process::id()})
    );
    let limit = async {
        match serve.for_seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = limit => {}
    }
    Ok(())
}

fn containers(serve: &Serve) -> ContainerOptions {
    let mut options = ContainerOptions {
        work_dir: serve.container_dir.clone(),
        max_seconds: serve.container_seconds,
        at_once: serve.containers_at_once,
        ..ContainerOptions::default()
    };
    options.base_env.extend(serve.container_env.iter().cloned().collect::<BTreeMap<_, _>>());
    options
}
