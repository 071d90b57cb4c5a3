//! What AWS runs: wiring only. Telemetry, clients warmed during Init, and the function that the handler names.

use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use prefect_serverless_agent::aws::AwsClients;
use prefect_serverless_agent::clock::{Clock, SystemClock};
use prefect_serverless_agent::config::{Environment, Root};
use prefect_serverless_agent::functions::check;
use prefect_serverless_agent::functions::health::HealthFunction;
use prefect_serverless_agent::functions::poke::PokeFunction;
use prefect_serverless_agent::functions::poll::{answer, handle, log_lines};
use prefect_serverless_agent::functions::task_events::TaskEventsFunction;
use prefect_serverless_agent::functions::{self, Handler, InvocationError, guarded, parameter_root};
use prefect_serverless_agent::health::UrlEvent;
use prefect_serverless_agent::platform::ecs::AgentEcs;
use prefect_serverless_agent::poll::{Deployment, Invocation, Source};
use prefect_serverless_agent::redaction::Redaction;
use prefect_serverless_agent::telemetry::{self, metrics::MetricScope};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use time::OffsetDateTime;

/// The warm-up in Init takes at most this long: Init itself has ten seconds, and a poll can do without.
const WARM_UP: Duration = Duration::from_millis(1500);

/// What goes back to Lambda.
type Answered = Result<Value, Diagnostic>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // What is not Unicode is nothing that is read here.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment: Environment = std::env::vars_os().filter_map(text).collect();
    let redaction = Redaction::of_environment(&environment);
    telemetry::init_json(&environment, &redaction);
    let runtime_api = environment.get("AWS_LAMBDA_RUNTIME_API").cloned();
    let Err(error) = run(environment, redaction).await else { return ExitCode::SUCCESS };
    // The exit code makes it an Init error; the sentence is shown to whoever invokes the function, and in its log.
    tracing::error!(%error, "the function cannot start");
    if let Some(runtime_api) = runtime_api {
        functions::tell_init_error(&runtime_api, &error.to_string()).await;
    }
    ExitCode::FAILURE
}

async fn run(environment: Environment, redaction: Redaction) -> Result<(), lambda_runtime::Error> {
    let handler = Handler::from_environment(&environment)?;
    let root = parameter_root(&environment)?;
    let aws = Arc::new(AwsClients::from_env(&environment)?);
    match handler {
        Handler::Poll => {
            let metrics = MetricScope::new(root.as_str(), &environment);
            let deployment =
                Deployment::new(Source::Parameters(root), environment, aws, SystemClock, redaction.clone());
            if tokio::time::timeout(WARM_UP, deployment.warm_up()).await.is_err() {
                tracing::warn!("warm-up took too long; the first poll goes on without");
            }
            let function = (&deployment, &metrics);
            lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| poll(function, event, &redaction))).await
        }
        Handler::TaskEvents => {
            let metrics = MetricScope::new(root.as_str(), &environment);
            let function = TaskEventsFunction::new(root, aws, environment, SystemClock, redaction.clone());
            let function = (&function, &metrics);
            lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| task_event(function, event, &redaction))).await
        }
        Handler::Health => {
            let function = HealthFunction::new(root, aws, environment, SystemClock, redaction.clone());
            lambda_runtime::run(service_fn(|event: LambdaEvent<UrlEvent>| health(&function, event, &redaction))).await
        }
        Handler::Poke => {
            let function = PokeFunction::new(&root, &aws, &environment, SystemClock, redaction.clone());
            // What takes too long is done by the first poke.
            let _ = tokio::time::timeout(WARM_UP, function.warm_up()).await;
            lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| poke(&function, event, &redaction))).await
        }
        Handler::Check => {
            lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| checked(&root, &aws, event, &redaction))).await
        }
    }
}

async fn poll(
    (deployment, metrics): (&Deployment<AgentEcs<SystemClock>, SystemClock>, &MetricScope),
    event: LambdaEvent<Value>,
    redaction: &Redaction,
) -> Answered {
    let invocation = Invocation {
        request_id: event.context.request_id.clone(),
        deadline: deadline(&event.context),
        is_poked: false,
    };
    let polled = async {
        let polled = handle(deployment, &event.payload, &invocation, &SystemClock).await;
        for line in log_lines(metrics, &polled, SystemClock.now()) {
            telemetry::log_line(redaction, &line);
        }
        answer(&polled?)
    };
    // Boxed: it is large, and waits for its event as long as the process lives.
    Box::pin(guarded(redaction, polled)).await.map_err(diagnostic)
}

async fn health(
    function: &HealthFunction<SystemClock>,
    event: LambdaEvent<UrlEvent>,
    redaction: &Redaction,
) -> Answered {
    guarded(redaction, async { Ok(json!(function.handle(event.payload).await)) }).await.map_err(diagnostic)
}

async fn poke(function: &PokeFunction<SystemClock>, event: LambdaEvent<Value>, redaction: &Redaction) -> Answered {
    let answered = async { function.handle(event.payload).await.map(|answer| json!(answer)) };
    guarded(redaction, answered).await.map_err(diagnostic)
}

async fn checked(root: &Root, aws: &Arc<AwsClients>, event: LambdaEvent<Value>, redaction: &Redaction) -> Answered {
    let left = Duration::try_from(deadline(&event.context) - SystemClock.now()).unwrap_or_default();
    let checking = check::handle(root.clone(), aws, redaction, &event.payload, left);
    Box::pin(guarded(redaction, checking)).await.map_err(diagnostic)
}

/// An error is what Lambda delivers again.
async fn task_event(
    (function, metrics): (&TaskEventsFunction<SystemClock>, &MetricScope),
    event: LambdaEvent<Value>,
    redaction: &Redaction,
) -> Answered {
    let deadline = deadline(&event.context);
    let told = async {
        let told = Box::pin(function.handle(&event.payload, deadline)).await;
        // Also of an invocation that failed: what it told of is not told again.
        for measured in function.take_measured() {
            for line in metrics.of_task(measured.agent.as_deref(), measured.metric, measured.value, measured.at) {
                telemetry::log_line(redaction, &line);
            }
        }
        told.map(|told| json!(told)).map_err(InvocationError::from)
    };
    guarded(redaction, told).await.map_err(diagnostic)
}

/// When the invocation is killed.
fn deadline(context: &Context) -> OffsetDateTime {
    OffsetDateTime::from(UNIX_EPOCH + Duration::from_millis(context.deadline))
}

fn diagnostic(failure: InvocationError) -> Diagnostic {
    Diagnostic { error_type: failure.error_type.to_owned(), error_message: failure.error_message }
}
