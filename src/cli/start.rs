//! `prefect-serverless-agent start`: polls again and again, as the Python agent does, until it is told to end.

use super::args::StartArgs;
use super::server::{Shared, serve};
use super::setting::{Setting, setting};
use super::{CliError, output, say};
use crate::clock::{Clock, SystemClock};
use crate::config::Environment;
use crate::model::ErrorKind;
use crate::platform::AgentPlatform;
use crate::poll::{AgentReport, Overrides, PollError, Report};
use crate::redaction::Redaction;
use serde_json::json;
use std::io::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

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
        let bound = serve(address, "--agent-address", Arc::clone(&shared)).await?;
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
                return tracing::error!(%error, next = output::advice_on_poll_error(error), "nothing was polled");
            }
        };
        if self.json {
            say(&mut std::io::stdout(), &format!("{}\n", json!(report)));
        }
        for (agent, report) in &report.agents {
            if let Some(error) = &report.error {
                let next = output::advice_on_kind(report.error_kind);
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
        Err(error @ (PollError::NoAgents(_) | PollError::UnknownAgent(_))) => Some(error.into()),
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

// Pure: how long the loop waits between polls, as the Python agent does.

/// The pause after work; each idle poll doubles it.
const AFTER_WORK: Duration = Duration::from_millis(250);

/// The longest pause.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Idle polls after which the pause is the longest.
const IDLE_MAX: u32 = 6;

/// How many polls in a row had nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Idle(u32);

impl Idle {
    /// After one more poll. Only what changes the queue is work: a run that is left for a later poll again and again
    /// must not keep the loop hot. Whoever asks for fewer requests gets the fewest.
    pub(super) fn after(self, polled: &Result<Report, PollError>) -> Self {
        let Ok(report) = polled else { return self.more() };
        let mut agents = report.agents.values();
        let wants_peace =
            |agent: &AgentReport| matches!(agent.error_kind, Some(ErrorKind::Throttled | ErrorKind::Maintenance));
        if agents.clone().any(wants_peace) {
            Self(IDLE_MAX)
        } else if agents.any(|agent| !agent.launched.is_empty() || !agent.failed.is_empty()) && report.ok() {
            Self(0)
        } else {
            self.more()
        }
    }

    fn more(self) -> Self {
        Self((self.0 + 1).min(IDLE_MAX))
    }

    /// The pause before the next poll.
    pub(super) fn pause(self) -> Duration {
        (AFTER_WORK * 2_u32.pow(self.0.min(IDLE_MAX))).min(LONGEST)
    }
}

// Being told to end: ctrl-c, SIGTERM.

/// The exit code of a process that a second signal ended.
const INTERRUPTED: i32 = 130;

/// Becomes true when the process is told to end.
#[derive(Debug, Clone)]
pub(super) struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Listens from now on. The first signal asks to end, the second one ends the process at once.
    pub(super) fn listen() -> Result<Self, Error> {
        let mut signals = Signals::new()?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("told to end: the current poll is finished first; once more ends at once");
            // Nobody listens any more when the loop has ended by itself.
            let _ = tell.send(true);
            signals.next().await;
            std::process::exit(INTERRUPTED);
        });
        Ok(Self(told))
    }

    pub(super) fn is_asked_for(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is asked for.
    pub(super) async fn asked_for(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // Nobody is left to ask.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[allow(clippy::unnecessary_wraps)] // As on Unix.
    fn new() -> Result<Self, Error> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::report::{LaunchedRun, WithReason};

    #[allow(clippy::unnecessary_wraps)] // What a poll gives.
    fn polled(agent: AgentReport) -> Result<Report, PollError> {
        Ok(Report { agents: [("etl".to_owned(), agent)].into() })
    }

    fn idle() -> Result<Report, PollError> {
        polled(AgentReport { ok: true, ..AgentReport::default() })
    }

    fn working() -> Result<Report, PollError> {
        let launched =
            vec![LaunchedRun { flow_run_id: "r".into(), task_arn: "t".into(), adopted: false, late_ms: None }];
        polled(AgentReport { ok: true, launched, ..AgentReport::default() })
    }

    #[test]
    fn the_pauses_are_those_of_the_python_agent() {
        let mut idle_for = Idle::default().after(&working());
        assert_eq!(idle_for.pause(), Duration::from_millis(250));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            idle_for = idle_for.after(&idle());
            pauses.push(idle_for.pause().as_secs_f64());
        }
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]);
        assert_eq!(idle_for.after(&working()).pause(), Duration::from_millis(250));
    }

    #[test]
    fn errors_back_off_too() {
        let failed = Err(PollError::NoAgents("/r".into()));
        assert_eq!(Idle::default().after(&failed).after(&failed).pause(), Duration::from_secs(1));
        let throttled = polled(AgentReport { error_kind: Some(ErrorKind::Throttled), ..AgentReport::default() });
        assert_eq!(Idle::default().after(&throttled).pause(), LONGEST);
        let maintenance = polled(AgentReport { error_kind: Some(ErrorKind::Maintenance), ..AgentReport::default() });
        assert_eq!(Idle::default().after(&maintenance).pause(), LONGEST);
    }

    #[test]
    fn a_run_that_stays_due_does_not_keep_the_loop_hot() {
        let deferred =
            vec![WithReason { flow_run_id: "r".into(), reason: "its task still runs".into(), late_ms: None }];
        let waiting = polled(AgentReport { ok: true, ready: 1, deferred, ..AgentReport::default() });
        assert_eq!(Idle::default().after(&waiting).pause(), Duration::from_millis(500));
    }
}
