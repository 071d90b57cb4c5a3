//! What AWS runs: wiring only. Telemetry, clients warmed during Init, and the function that the handler names.

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use prefect_serverless_agent::aws::AwsClients;
use prefect_serverless_agent::clock::SystemClock;
use prefect_serverless_agent::config::Environment;
use prefect_serverless_agent::functions::health::HealthFunction;
use prefect_serverless_agent::functions::poll::{Failure, answer, handle, log_lines};
use prefect_serverless_agent::functions::task_events::TaskEventsFunction;
use prefect_serverless_agent::functions::{Handler, parameter_root};
use prefect_serverless_agent::health::request::UrlEvent;
use prefect_serverless_agent::panics::{self, Panic, caught};
use prefect_serverless_agent::poll::{Deployment, Invocation, Source};
use prefect_serverless_agent::telemetry::logs;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use time::OffsetDateTime;

/// The warm-up in Init takes at most this long: Init itself has ten seconds, and a poll can do without.
const WARM_UP: Duration = Duration::from_millis(1500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment: Environment = std::env::vars().collect();
    logs::init_json(&environment);
    panics::install();
    if let Err(error) = run(environment).await {
        // Lambda shows what a process says before it dies; the exit code makes it an Init error.
        tracing::error!(%error, "the function cannot start");
        return Err(error);
    }
    Ok(())
}

async fn run(environment: Environment) -> Result<(), lambda_runtime::Error> {
    let handler = Handler::from_environment(&environment)?;
    let root = parameter_root(&environment)?;
    let aws = Arc::new(AwsClients::from_env(&environment).await?);
    match handler {
        Handler::Poll => {
            let deployment = Deployment::new(Source::Parameters(root), environment, aws, SystemClock);
            if tokio::time::timeout(WARM_UP, deployment.warm_up()).await.is_err() {
                tracing::warn!("warm-up took too long; the first poll goes on without");
            }
            lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| poll(&deployment, event))).await
        }
        Handler::TaskEvents => {
            let function = TaskEventsFunction::new(root, aws, environment, SystemClock);
            lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| task_event(&function, event))).await
        }
        Handler::Health => {
            let function = HealthFunction::new(root, aws, environment, SystemClock);
            lambda_runtime::run(service_fn(|event: LambdaEvent<UrlEvent>| health(&function, event))).await
        }
    }
}

async fn poll(deployment: &Deployment<SystemClock>, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let context = &event.context;
    let deadline = OffsetDateTime::from(UNIX_EPOCH + Duration::from_millis(context.deadline));
    let invocation = Invocation { request_id: context.request_id.clone(), deadline };
    let handled = caught(handle(deployment, &event.payload, &invocation)).await.map_err(|panic| broken(&panic))?;
    let report = handled.map_err(diagnostic)?;
    for line in log_lines(deployment, &report, &SystemClock) {
        println!("{line}");
    }
    answer(&report).map_err(diagnostic)
}

async fn health(function: &HealthFunction<SystemClock>, event: LambdaEvent<UrlEvent>) -> Result<Value, Diagnostic> {
    let answer = caught(function.handle(event.payload)).await.map_err(|panic| broken(&panic))?;
    Ok(json!(answer))
}

/// An error is what Lambda delivers again.
async fn task_event(
    function: &TaskEventsFunction<SystemClock>,
    event: LambdaEvent<Value>,
) -> Result<Value, Diagnostic> {
    // Boxed: it is large, and waits for its event as long as the process lives.
    match Box::pin(caught(function.handle(&event.payload))).await.map_err(|panic| broken(&panic))? {
        Ok(told) => Ok(json!(told)),
        Err(error) => {
            tracing::error!(%error, "a task event was not dealt with");
            Err(Diagnostic { error_type: "TaskEventFailed".to_owned(), error_message: error.to_string() })
        }
    }
}

/// A bug ends one invocation; the process lives for the next one.
fn broken(panic: &Panic) -> Diagnostic {
    Diagnostic { error_type: "Internal".to_owned(), error_message: panic.to_string() }
}

fn diagnostic(failure: Failure) -> Diagnostic {
    Diagnostic { error_type: failure.error_type.to_owned(), error_message: failure.error_message }
}
