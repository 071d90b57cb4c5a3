//! The launcher of an agent: with the agent's own credentials, and with those that runs bring along.

mod account;
mod connect;

pub use connect::{AwsConnect, Connect};

use super::outcome::{Origin, refusal};
use super::single_flight::SingleFlight;
use super::target::AwsCredentials;
use super::{
    LaunchIdentity, LaunchOutcome, LaunchSpec, LaunchTarget, Launcher, LiveDeployment, LiveDeployments, PreparedLaunch,
    WithWarning,
};
use crate::aws::{Account, AwsError};
use crate::clock::Clock;
use crate::panics::lock;
use crate::platform::TransientCause;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;

/// So many accounts are remembered with their clients, task definitions and networks; the one that was not used for
/// longest makes room for a new one.
const REMEMBERED: usize = 16;

/// Launches with the agent's own credentials, or with those of a run. Kept for the life of the process.
pub struct AccountsLauncher<T: Connect, C> {
    own: T::Launcher,
    connect: T,
    clock: C,
    /// Accounts of runs by the fingerprints of their credentials, the last one used at the end.
    others: Mutex<Vec<(String, Arc<Other<T>>)>>,
}

/// An account that is not the agent's own.
struct Other<T: Connect> {
    launcher: T::Launcher,
    session: T::Session,
    /// Many runs wait for one renewal, and share its answer.
    renewal: SingleFlight<Result<(), AwsError>>,
}

impl<C: Clock + Clone> AccountsLauncher<AwsConnect<C>, C> {
    /// The launcher of an agent.
    pub fn of_agent(connect: AwsConnect<C>) -> Self {
        Self::new(connect.launcher(&connect.own), connect.clock.clone(), connect)
    }
}

impl<C: Clock + Clone> AccountsLauncher<AwsConnect<C>, C> {
    /// Opens the connections of the agent's own account.
    pub async fn warm_up(&self) {
        self.connect.own.warm_up().await;
    }
}

impl<T: Connect, C: Clock> AccountsLauncher<T, C> {
    /// `own` launches with the agent's own credentials.
    pub fn new(own: T::Launcher, clock: C, connect: T) -> Self {
        Self { own, connect, clock, others: Mutex::default() }
    }

    /// Where these credentials lead; `None` = the agent's own account. Its credentials are good for a while.
    async fn elsewhere(&self, credentials: &AwsCredentials) -> Result<Option<Arc<Other<T>>>, LaunchOutcome> {
        if credentials.are_the_agents_own() {
            return Ok(None);
        }
        let account = account::account(credentials).map_err(|refusal| LaunchOutcome::Permanent(refusal.0))?;
        if account == Account::default() {
            return Ok(None);
        }
        let other = self.known(credentials.fingerprint(), || {
            let (launcher, session) = self.connect.connect(&account);
            Other { launcher, session, renewal: SingleFlight::default() }
        });
        let renew = async { Ok(self.connect.renew(&other.session).await) };
        match other.renewal.share(renew).await? {
            Ok(()) => Ok(Some(other)),
            Err(error) => Err(no_credentials(error, credentials)),
        }
    }

    fn known(&self, fingerprint: String, connect: impl FnOnce() -> Other<T>) -> Arc<Other<T>> {
        let mut others = lock(&self.others);
        let known = others.iter().position(|(known, _)| *known == fingerprint);
        let other = match known {
            Some(index) => others.remove(index).1,
            None => Arc::new(connect()),
        };
        if others.len() == REMEMBERED {
            others.remove(0);
        }
        others.push((fingerprint, Arc::clone(&other)));
        other
    }
}

/// What it means that these credentials cannot be had. Only a role has to be asked for.
fn no_credentials(error: AwsError, credentials: &AwsCredentials) -> LaunchOutcome {
    let origin = Origin { run_sets: &credentials.set_by_run, ..Origin::nobodys() };
    refusal("AssumeRole", error, &origin)
}

fn no_time() -> LaunchOutcome {
    LaunchOutcome::Transient {
        reason: "No time was left to get the credentials that the run brings along".into(),
        cause: TransientCause::NoTime,
    }
}

impl<T: Connect, C: Clock> Launcher for AccountsLauncher<T, C> {
    async fn prepare(
        &self,
        spec: &LaunchSpec,
        identity: &LaunchIdentity,
    ) -> Result<WithWarning<PreparedLaunch>, LaunchOutcome> {
        match self.elsewhere(&spec.worker.credentials).await? {
            Some(other) => other.launcher.prepare(spec, identity).await,
            None => self.own.prepare(spec, identity).await,
        }
    }

    async fn launch(&self, launch: &PreparedLaunch, deadline: OffsetDateTime) -> LaunchOutcome {
        let left = Duration::try_from(deadline - self.clock.now()).unwrap_or_default();
        match tokio::time::timeout(left, self.elsewhere(&launch.target.credentials)).await {
            Ok(Ok(Some(other))) => other.launcher.launch(launch, deadline).await,
            Ok(Ok(None)) => self.own.launch(launch, deadline).await,
            Ok(Err(outcome)) => outcome,
            Err(_) => no_time(),
        }
    }

    /// All accounts together: they share the agent's launch rate.
    fn room(&self, deadline: OffsetDateTime) -> Option<usize> {
        self.own.room(deadline)
    }

    async fn live_tasks(&self, target: &LaunchTarget, started_by: &str) -> Result<LiveDeployments, LaunchOutcome> {
        match self.elsewhere(&target.credentials).await? {
            Some(other) => other.launcher.live_tasks(target, started_by).await,
            None => self.own.live_tasks(target, started_by).await,
        }
    }

    async fn live_task(&self, target: &LaunchTarget, task_arn: &str) -> Result<Option<LiveDeployment>, LaunchOutcome> {
        match self.elsewhere(&target.credentials).await? {
            Some(other) => other.launcher.live_task(target, task_arn).await,
            None => self.own.live_task(target, task_arn).await,
        }
    }

    async fn stop(&self, target: &LaunchTarget, task_arn: &str, reason: &str) -> Result<(), LaunchOutcome> {
        match self.elsewhere(&target.credentials).await? {
            Some(other) => other.launcher.stop(target, task_arn, reason).await,
            None => self.own.stop(target, task_arn, reason).await,
        }
    }
}

#[cfg(test)]
mod tests;
