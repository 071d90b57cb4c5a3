//! The `prefect-serverless-agent` command: what a person runs. The polls are those of the Lambda function.
//!
//! | file | what it does |
//! |---|---|
//! | `args.rs` | the arguments |
//! | `setting.rs` | arguments and environment → a deployment to poll |
//! | `poll.rs` | `prefect-serverless-agent poll`: one iteration, also as a dry run |
//! | `start.rs` | `prefect-serverless-agent start`: the long-lived loop, its pauses (pure), the signals that end it |
//! | `init/` | `prefect-serverless-agent init`: an agent and the stack's parameters from what exists |
//! | `push.rs` | `prefect-serverless-agent push`: a configuration from a file to Parameter Store |
//! | `status.rs` | `prefect-serverless-agent status`: how the agents are, once or again and again |
//! | `explain.rs` | `prefect-serverless-agent explain`: the story of one flow run, and what happens next |
//! | `bundle.rs` | `prefect-serverless-agent bundle`: what a deployment needs, as files |
//! | `check.rs` | `prefect-serverless-agent check`: the doctor, what it found as lines and as JSON |
//! | `connect.rs` | `prefect-serverless-agent connect`: has Prefect poke the deployment when a run is due |
//! | `terminal.rs` | questions to whoever sits there; a key is typed unseen |
//! | `redrive.rs` | `prefect-serverless-agent redrive`: what could not be told is told once more |
//! | `costs.rs` | `prefect-serverless-agent costs`: what the runs of a deployment cost |
//! | `server.rs` | what is served over HTTP: `/api/health` and `/api/poke` of the loop, the page |
//! | `page.rs` | `status --html`, `status --serve`: the page, where nobody can sign in to it by a URL |
//! | `output.rs` | reports and dry runs as people read them, and what to do about an error (pure) |

pub mod args;
mod bundle;
mod check;
mod connect;
mod costs;
mod explain;
mod init;
mod output;
mod page;
mod poll;
mod push;
mod redrive;
mod server;
mod setting;
mod start;
mod status;
mod terminal;

pub use args::Cli;

use crate::clock::SystemClock;
use crate::config::{Environment, UnknownAgent};
use crate::model::ErrorKind;
use crate::platform::ecs::AgentEcs;
use crate::platform::process::Processes;
use crate::platform::process::supervisor::supervise;
use crate::poll::PollError;
use crate::redaction::Redaction;
use crate::telemetry;
use args::{Command, PlatformName};
use std::io::Write;
use std::process::ExitCode;

/// Why a command did not do what it was asked to: for people, with what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
struct CliError {
    message: String,
    /// What to do next; empty when the message says so itself.
    advice: String,
    /// The configuration is wrong.
    is_configuration: bool,
}

impl CliError {
    fn new(message: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self { message: message.to_string(), advice: advice.into(), is_configuration: false }
    }

    /// The configuration is wrong.
    fn configuration(message: impl std::fmt::Display) -> Self {
        let advice = output::advice_on_kind(Some(ErrorKind::Configuration));
        Self { is_configuration: true, ..Self::new(message, advice) }
    }
}

impl From<&PollError> for CliError {
    fn from(error: &PollError) -> Self {
        let is_configuration = matches!(error, PollError::NoAgents(_) | PollError::UnknownAgent(_));
        Self { is_configuration, ..Self::new(error, output::advice_on_poll_error(error)) }
    }
}

impl From<UnknownAgent> for CliError {
    fn from(error: UnknownAgent) -> Self {
        Self::from(&PollError::from(error))
    }
}

/// Runs the command. Errors go to standard error; the exit code is 0 only if all went well.
pub async fn run(cli: Cli, environment: Environment) -> ExitCode {
    let (json, redaction) = (cli.json, Redaction::of_environment(&environment));
    let done = match cli.command {
        Command::Poll(args) => {
            // The report says it all; a log beside it is for those who ask for one.
            telemetry::init_terminal(&environment, json, "warn", &redaction);
            poll::poll(args, json, environment, &redaction).await
        }
        Command::Start(args) => {
            telemetry::init_terminal(&environment, json, "info", &redaction);
            match args.platform {
                PlatformName::Ecs => start::start::<AgentEcs<SystemClock>>(args, json, environment, &redaction).await,
                PlatformName::Process => {
                    start::start::<Processes<SystemClock>>(args, json, environment, &redaction).await
                }
            }
        }
        Command::Init(args) => {
            telemetry::init_terminal(&environment, json, "warn", &redaction);
            Box::pin(init::init(*args, json, environment, &redaction)).await.map(|done| {
                say(&mut std::io::stdout(), &redaction.text(done));
                ExitCode::SUCCESS
            })
        }
        Command::Push(args) => push::push(args, environment, &redaction).await.map(|done| {
            say(&mut std::io::stdout(), &done);
            ExitCode::SUCCESS
        }),
        Command::Status(args) => {
            telemetry::init_terminal(&environment, json, "warn", &redaction);
            status::status(args, json, environment, &redaction).await
        }
        Command::Explain(args) => {
            telemetry::init_terminal(&environment, json, "error", &redaction);
            explain::explain(args, json, environment, &redaction).await
        }
        Command::Bundle(args) => bundle::bundle(&args).map(|done| {
            say(&mut std::io::stdout(), &done);
            ExitCode::SUCCESS
        }),
        Command::Redrive(args) => {
            telemetry::init_terminal(&environment, json, "warn", &redaction);
            redrive::redrive(&args, json, environment, &redaction).await
        }
        Command::Costs(args) => {
            telemetry::init_terminal(&environment, json, "warn", &redaction);
            costs::costs(&args, json, environment, &redaction).await
        }
        Command::Connect(args) => {
            telemetry::init_terminal(&environment, json, "warn", &redaction);
            connect::connect(&args, json, environment, &redaction).await
        }
        Command::Check(args) => {
            telemetry::init_terminal(&environment, json, "error", &redaction);
            match Box::pin(check::check(args, json, environment, &redaction)).await {
                Ok(code) => Ok(code),
                Err(trouble) => {
                    complain(&trouble, &redaction);
                    Ok(ExitCode::from(check::BAD_INPUT))
                }
            }
        }
        Command::Supervise { directory } => supervise(&directory)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| CliError::new(format!("{}: {error}", directory.display()), "")),
    };
    match done {
        Ok(code) => code,
        Err(trouble) => {
            complain(&trouble, &redaction);
            ExitCode::FAILURE
        }
    }
}

fn complain(trouble: &CliError, redaction: &Redaction) {
    say(&mut std::io::stderr(), &said("error", trouble, redaction));
}

/// What is no error.
fn note(trouble: &CliError, redaction: &Redaction) {
    say(&mut std::io::stderr(), &said("note", trouble, redaction));
}

/// What servers and files say is shown as what it is, and not as commands to the terminal.
fn said(what: &str, CliError { message, advice, .. }: &CliError, redaction: &Redaction) -> String {
    let next = if advice.is_empty() { String::new() } else { format!("\n  next: {advice}") };
    output::printable_lines(&redaction.text(format!("{what}: {message}{next}"))) + "\n"
}

/// Writes a text. A reader that has gone away (`| head`) is no error.
fn say(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
