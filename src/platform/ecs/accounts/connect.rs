//! The seam to accounts: how a launcher gets its clients and its credentials.

use crate::aws::{Account, AgentAws, AwsClients, AwsError};
use crate::clock::Clock;
use crate::platform::ecs::Launcher;
use crate::platform::ecs::launcher::EcsLauncher;
use crate::platform::ecs::rate::LaunchRate;
use std::future::Future;
use std::sync::Arc;

/// Makes launchers for accounts that are not the agent's own.
pub trait Connect: Send + Sync {
    /// What launches there.
    type Launcher: Launcher;
    /// What its credentials are renewed by.
    type Session: Send + Sync;

    /// A launcher for this account. Sends nothing.
    fn connect(&self, account: &Account) -> (Self::Launcher, Self::Session);

    /// Makes sure that there are credentials which last a while; asks for new ones only when it is time.
    fn renew(&self, session: &Self::Session) -> impl Future<Output = Result<(), AwsError>> + Send;
}

/// Launchers that ask AWS.
pub struct AwsConnect<C> {
    /// The clients of the process.
    pub aws: Arc<AwsClients>,
    /// The agent's own among them.
    pub own: Arc<AgentAws>,
    /// Time.
    pub clock: C,
    /// The agent's launch rate.
    pub rate: Arc<LaunchRate>,
}

impl<C: Clock + Clone> AwsConnect<C> {
    /// A launcher with these clients.
    pub fn launcher(&self, aws: &AgentAws) -> EcsLauncher<C> {
        EcsLauncher::new(aws.ecs.clone(), aws.ec2.clone(), self.clock.clone(), Arc::clone(&self.rate))
    }
}

impl<C: Clock + Clone> Connect for AwsConnect<C> {
    type Launcher = EcsLauncher<C>;
    type Session = AgentAws;

    fn connect(&self, account: &Account) -> (Self::Launcher, AgentAws) {
        let aws = self.aws.for_account(&self.own, account);
        (self.launcher(&aws), aws)
    }

    async fn renew(&self, session: &AgentAws) -> Result<(), AwsError> {
        session.renew().await
    }
}
