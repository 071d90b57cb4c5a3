//! An AWS account in which the functions are deployed, for one agent that serves the server's work pool.

use super::{command, server::Server};
use crate::{Error, ink::Ink, story::scheduler_event};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use world::{
    FunctionUrl, LambdaOptions, LambdaProcess, RunningWorld, UrlAuth, World, ecs::ContainerOptions,
    runtime_api::Invocation,
};

pub(crate) const ROOT: &str = "/prefect-serverless-agent/demo";
/// The agent.
pub(crate) const AGENT: &str = "flows";
/// Seconds between polls, while everything keeps running.
pub(crate) const INTERVAL: u64 = 10;
/// Containers that run at once.
pub(crate) const AT_ONCE: usize = 2;
/// A container takes five seconds on an idle machine; one that takes so long hangs.
const CONTAINER_SECONDS: u64 = 200;
/// How long a function may take to start.
const INIT: Duration = Duration::from_secs(30);
/// What an invocation has, as in the template.
const DEADLINE: Duration = Duration::from_mins(2);

/// The account, and its functions.
pub(crate) struct Cloud {
    pub(crate) aws: RunningWorld,
    pub(crate) poll: LambdaProcess,
    pub(crate) task_events: LambdaProcess,
    /// What Prefect may poke.
    pub(crate) poke_url: FunctionUrl,
}

/// One invocation of `poll`.
pub(crate) struct Polled {
    pub(crate) answer: Invocation,
    pub(crate) took: Duration,
}

impl Cloud {
    /// Sets the agent up, as a person does, and deploys the functions.
    pub(crate) async fn new(lambda: &Path, server: &Server) -> Result<Self, Error> {
        let aws = World::start().await;
        let base_env = server.container_environment.clone();
        let work_dir = base_env.get("HOME").map(Into::into);
        aws.lock().ecs.options.containers = Some(ContainerOptions {
            base_env,
            work_dir,
            max_seconds: CONTAINER_SECONDS,
            at_once: AT_ONCE,
            step_ms: 100,
            ..ContainerOptions::default()
        });
        let ink = Ink::of_stdout();
        let (address, work_pool) = (&server.api, &server.work_pool.name);
        let init = format!(
            "init --yes --write --api {address} --work-pool {work_pool} --agent {AGENT} --root {ROOT} --prefetch-seconds 10"
        );
        command::run(&aws, ink, &init, 0).await?;
        command::run(&aws, ink, &format!("check --pre --root {ROOT}"), 0).await?;
        let start = async |handler: &str| -> Result<LambdaProcess, Error> {
            let function = LambdaOptions::new(lambda, &aws.url()).handler(handler).parameter_root(ROOT).start().await?;
            function.ready(INIT).await.map_err(|error| error.error_message)?;
            Ok(function)
        };
        let (poll, task_events) = (start("poll").await?, start("task-events").await?);
        let poke = LambdaOptions::new(lambda, &aws.url()).handler("poke").parameter_root(ROOT);
        let poke_url = FunctionUrl::serve(poke.env("POLL_FUNCTION_NAME", "world-poll"), UrlAuth::None).await?;
        Ok(Self { aws, poll, task_events, poke_url })
    }

    /// Whether a poke starts a poll within this time.
    pub(crate) async fn is_poked(&self, patience: Duration) -> bool {
        self.aws.wait_until(patience, |state| !state.lambda.invocations.is_empty()).await
    }

    /// The invocations of `poll` that pokes started, the next of which is waited for so long; how many there were.
    pub(crate) async fn poked(&self, patience: Duration) -> Result<usize, Error> {
        self.is_poked(patience).await;
        let answers = self.aws.deliver_invocations(&self.poll, DEADLINE).await;
        let failed = answers.iter().find_map(|answer| answer.as_ref().err());
        failed.map_or(Ok(answers.len()), |error| Err(format!("{}: {}", error.error_type, error.error_message).into()))
    }

    /// One invocation of `poll`, as the schedule makes it.
    pub(crate) async fn poll(&self) -> Polled {
        let begun = Instant::now();
        let answer = self.poll.invoke(scheduler_event(), DEADLINE).await;
        Polled { answer, took: begun.elapsed() }
    }
}
