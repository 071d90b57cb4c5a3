//! What `prefect flow-run execute` does in its container, as the server sees it.

use super::{Prefect3, RunState, StateType, orchestrate::Rules, slots::Version};
use time::OffsetDateTime;

/// The version of Prefect in the containers.
const CLIENT: Version = Version([3, 8, 8]);

/// What became of a container that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The run is Running; also when it was so before.
    Yes,
    /// The run's time has not come: the process asks again in so many seconds.
    Wait(i64),
    /// The process ended at once; the text says why.
    No(String),
}

impl Prefect3 {
    /// Begins to run a flow run, unless it was cancelled. The server lets a second container run a run that runs.
    pub fn start_container(&mut self, id: &str, now: OffsetDateTime) -> Result<Started, String> {
        let run = self.flow_run_mut(id).ok_or_else(|| format!("no flow run {id}"))?;
        run.starts += 1;
        self.go_on(id, now)
    }

    /// Asks again after [`Started::Wait`].
    pub fn go_on(&mut self, id: &str, now: OffsetDateTime) -> Result<Started, String> {
        let now = super::times::micros(now);
        let run = self.flow_run(id).ok_or_else(|| format!("no flow run {id}"))?;
        match run.state_type() {
            Some(StateType::Cancelling) => {
                let message = "Flow run was cancelled before execution started.";
                let state = RunState::new(StateType::Cancelled, now).saying(message);
                self.propose(id, state, Rules::All, Some(CLIENT), now);
                return Ok(Started::No("it was being cancelled".to_owned()));
            }
            Some(StateType::Cancelled) => return Ok(Started::No("it is cancelled".to_owned())),
            _ => {}
        }
        let state = RunState::new(StateType::Running, now);
        let decision = self.propose(id, state, Rules::All, Some(CLIENT), now).ok_or("the run is gone")?;
        let reason = || decision.details["reason"].as_str().unwrap_or_default().to_owned();
        Ok(match decision.status {
            "ACCEPT" => Started::Yes,
            "WAIT" => Started::Wait(decision.details["delay_seconds"].as_i64().unwrap_or(1)),
            _ => Started::No(reason()),
        })
    }

    /// Ends a run with a state of type `kind`, e.g. `COMPLETED` or `FAILED`; what the server says to it when it does
    /// not take it.
    pub fn finish_container(
        &mut self,
        id: &str,
        kind: StateType,
        message: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), String> {
        let now = super::times::micros(now);
        let mut state = RunState::new(kind, now);
        state.message = message.map(str::to_owned);
        let decision = self.propose(id, state, Rules::All, Some(CLIENT), now);
        let decision = decision.ok_or_else(|| format!("no flow run {id}"))?;
        if decision.status == "ACCEPT" {
            return Ok(());
        }
        Err(format!("{}: {}", decision.status, decision.details["reason"].as_str().unwrap_or_default()))
    }
}
