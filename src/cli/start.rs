//! `prefect-serverless-agent start`: polls again and again, as the Python agent does.

use super::args::StartArgs;
use super::back_off::{Idle, LONGEST};
use super::server::{Shared, serve};
use super::setting::{Setting, setting};
use super::signals::StopSignal;
use super::{CliError, advice, say};
use crate::clock::{Clock, SystemClock};
use crate::config::Environment;
use crate::model::ErrorKind;
use crate::platform::AgentPlatform;
use crate::poll::{Overrides, PollError, Report};
use crate::redaction::Redaction;
use serde_json::json;
use std::process::ExitCode;
use std::sync::Arc;
use time::OffsetDateTime;

/// Polls until a signal or `max_polls` ends it.
pub(super) async fn start<P: AgentPlatform<SystemClock>>(
    args: StartArgs,
    json: bool,
    environment: Environment,
    redaction: &Redaction,
) -> Result<ExitCode, CliError> {
    let ending = StopSignal::listen().map_err(|error| CliError::new(format!("no signals: {error}"), ""))?;
    let since = SystemClock.now();
    let mut setting: Setting<P> = setting(args.setting, environment, redaction).await?;
    // The next look is at most the longest pause away: looking further ahead would only hold the loop up, for a poll
    // ends when the last launch it holds is done.
    let overrides = Overrides { max_polls: args.max_polls, prefetch_at_most: Some(LONGEST) };
    setting.deployment = setting.deployment.overriding(overrides);
    let shared = Arc::new(Shared::default());
    if let Some(address) = &args.agent_address {
        let bound = serve(address, Arc::clone(&shared)).await?;
        tracing::info!("serving http://{bound}/api/health and http://{bound}/api/poke");
    }
    Loop { setting, max_polls: args.max_polls, json, since, shared, ending }.run().await?;
    Ok(ExitCode::SUCCESS)
}

struct Loop<P> {
    setting: Setting<P>,
    /// What the command line says.
    max_polls: Option<u64>,
    json: bool,
    since: OffsetDateTime,
    shared: Arc<Shared>,
    ending: StopSignal,
}

impl<P: AgentPlatform<SystemClock>> Loop<P> {
    async fn run(mut self) -> Result<(), CliError> {
        self.setting.deployment.warm_up().await;
        self.publish().await;
        tracing::info!(agents = self.setting.deployment.name(), "polling; ctrl-c ends it");
        let (mut idle, mut is_first) = (Idle::default(), true);
        while !self.ending.is_asked_for() {
            let Setting { deployment, selection, invocations } = &self.setting;
            let polled = deployment.poll(selection, &invocations.next()).await;
            self.publish().await;
            if let Some(trouble) = hopeless(&polled).filter(|_| is_first) {
                // Said once: by whoever ends because of it.
                if self.json
                    && let Ok(report) = &polled
                {
                    say(&mut std::io::stdout(), &format!("{}\n", json!(report)));
                }
                return Err(trouble);
            }
            self.tell(&polled);
            if self.has_had_its_polls(&polled) {
                tracing::info!("max_polls is reached");
                break;
            }
            (idle, is_first) = (idle.after(&polled), false);
            tokio::select! {
                () = tokio::time::sleep(idle.pause()) => {}
                () = self.shared.poked() => tracing::debug!("poked"),
                () = self.ending.asked_for() => {}
            }
        }
        tracing::info!("ended");
        Ok(())
    }

    /// What health shows from now on.
    async fn publish(&self) {
        self.shared.know(self.setting.deployment.facts(&self.setting.selection, self.since).await);
    }

    fn has_had_its_polls(&self, polled: &Result<Report, PollError>) -> bool {
        let Ok(report) = polled else { return false };
        let mut agents = report.agents.values().filter(|agent| !agent.disabled).peekable();
        let reached = |poll: u64| self.max_polls.is_some_and(|max_polls| poll >= max_polls);
        agents.peek().is_some() && agents.all(|agent| agent.stopped || reached(agent.poll))
    }

    /// The log, and the report on standard output for those who asked for it.
    fn tell(&self, polled: &Result<Report, PollError>) {
        let report = match polled {
            Ok(report) => report,
            Err(error) => {
                return tracing::error!(%error, next = advice::on_poll_error(error), "nothing was polled");
            }
        };
        if self.json {
            say(&mut std::io::stdout(), &format!("{}\n", json!(report)));
        }
        for (agent, report) in &report.agents {
            if let Some(error) = &report.error {
                let next = advice::on_kind(report.error_kind);
                if report.failed_itself() {
                    tracing::error!(agent, error, next, "the poll failed");
                } else {
                    tracing::warn!(agent, error, next, "nothing was polled");
                }
            }
            for warning in &report.warnings {
                tracing::warn!(agent, warning);
            }
            let (poll, ready) = (report.poll, report.ready);
            let (launched, deferred, skipped, failed) =
                (report.launched.len(), report.deferred.len(), report.skipped.len(), report.failed.len());
            if ready > 0 {
                tracing::info!(agent, poll, ready, launched, deferred, skipped, failed, "polled");
            } else {
                tracing::debug!(agent, poll, "polled: nothing is due");
            }
        }
    }
}

/// What no further poll can heal without a person: better said at the start than logged all night.
fn hopeless(polled: &Result<Report, PollError>) -> Option<CliError> {
    match polled {
        Err(error @ (PollError::NoAgents(_) | PollError::UnknownAgent { .. })) => {
            Some(CliError::new(error, advice::on_poll_error(error)))
        }
        Err(PollError::Parameters { .. } | PollError::Deadline(_)) => None,
        Ok(report) => {
            let wrong = |kind| kind == Some(ErrorKind::Configuration);
            let all_wrong = !report.agents.is_empty() && report.agents.values().all(|agent| wrong(agent.error_kind));
            let errors: Vec<_> = report.agents.iter().map(said).collect();
            all_wrong.then(|| CliError::configuration(errors.join("\n")))
        }
    }
}

fn said((name, agent): (&String, &crate::poll::AgentReport)) -> String {
    format!("agent {name}: {}", agent.error.as_deref().unwrap_or_default())
}
