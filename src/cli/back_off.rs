//! Pure: how long the loop waits between polls, as the Python agent does.

use crate::model::ErrorKind;
use crate::poll::{AgentReport, PollError, Report};
use std::time::Duration;

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
        let launched = vec![LaunchedRun { flow_run_id: "r".into(), task_arn: "t".into(), adopted: false }];
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
        let deferred = vec![WithReason { flow_run_id: "r".into(), reason: "its task still runs".into() }];
        let waiting = polled(AgentReport { ok: true, ready: 1, deferred, ..AgentReport::default() });
        assert_eq!(Idle::default().after(&waiting).pause(), Duration::from_millis(500));
    }
}
