//! The seam to accounts: how a launcher gets its clients and its credentials.

use crate::aws::ec2::Ec2;
use crate::aws::ecs::Ecs;
use crate::aws::{Account, AgentAws, AwsClients, AwsError};
use crate::clock::Clock;
use crate::platform::ecs::Launcher;
use crate::platform::ecs::calls::EcsCalls;
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

/// Launchers that ask AWS. `W`: what stands between a launcher and ECS, if anything.
pub struct AwsConnect<C, W> {
    /// The clients of the process.
    pub aws: Arc<AwsClients>,
    /// The agent's own among them.
    pub own: Arc<AgentAws>,
    /// Time.
    pub clock: C,
    /// The agent's launch rate.
    pub rate: Arc<LaunchRate>,
    /// Wraps a client of ECS.
    pub wrap: W,
}

/// How an agent reaches ECS: directly.
pub type AgentConnect<C> = AwsConnect<C, fn(Ecs) -> Ecs>;

impl<C: Clock + Clone, E: EcsCalls, W: Fn(Ecs) -> E + Send + Sync> AwsConnect<C, W> {
    /// A launcher with these clients.
    pub fn launcher(&self, aws: &AgentAws) -> EcsLauncher<E, Ec2, C> {
        EcsLauncher::new((self.wrap)(aws.ecs.clone()), aws.ec2.clone(), self.clock.clone(), Arc::clone(&self.rate))
    }
}

impl<C: Clock + Clone, E: EcsCalls, W: Fn(Ecs) -> E + Send + Sync> Connect for AwsConnect<C, W> {
    type Launcher = EcsLauncher<E, Ec2, C>;
    type Session = AgentAws;

    fn connect(&self, account: &Account) -> (Self::Launcher, AgentAws) {
        let aws = self.aws.for_account(&self.own, account);
        (self.launcher(&aws), aws)
    }

    async fn renew(&self, session: &AgentAws) -> Result<(), AwsError> {
        session.renew().await
    }
}
