//! What a Prefect 2 or 3 launch needs beyond one of Prefect 1: its definition described, its VPC looked up.

use super::EcsLauncher;
use crate::clock::Clock;
use crate::model::RunRefusal;
use crate::platform::LaunchOutcome;
use crate::platform::ecs::outcome::{Origin, refusal};
use crate::platform::ecs::worker::NetworkLookup;
use serde_json::Value;

impl<C: Clock> EcsLauncher<C> {
    /// The network that the launch asks for; `None` = what its request has stands.
    pub(super) async fn looked_up_network(
        &self,
        lookup: &NetworkLookup,
        origin: &Origin<'_>,
    ) -> Result<Option<Value>, LaunchOutcome> {
        // Those who share an answer share its fault too.
        let key = format!("{} {}", chooses_network(origin), lookup.vpc_id().unwrap_or_default());
        let subnets = self.vpcs.get(&key).get(self.subnets(lookup, origin)).await?;
        lookup.network(&subnets).map_err(|refusal| network_fault(refusal, origin))
    }

    async fn subnets(&self, lookup: &NetworkLookup, origin: &Origin<'_>) -> Result<Vec<String>, LaunchOutcome> {
        let vpcs_refused = |error| refusal("DescribeVpcs", error, origin);
        let vpc = if let Some(vpc_id) = lookup.vpc_id() {
            vpc_id.to_owned()
        } else {
            let vpcs = self.ec2.default_vpcs().await.map_err(vpcs_refused)?;
            vpcs.into_iter().next().ok_or_else(|| network_fault(lookup.no_vpc(), origin))?
        };
        let subnets = self.ec2.subnets(&vpc).await;
        let subnets = subnets.map_err(|error| refusal("DescribeSubnets", error, origin))?;
        if !subnets.is_empty() {
            return Ok(subnets);
        }
        // Only now it matters whether the VPC is there. Nothing of this is remembered: somebody will mend it.
        let is_there = lookup.vpc_id().is_none() || self.ec2.vpc_exists(&vpc).await.map_err(vpcs_refused)?;
        let refusal = if is_there { lookup.network(&[]).err() } else { Some(lookup.no_vpc()) };
        Err(network_fault(refusal.unwrap_or_else(|| lookup.no_vpc()), origin))
    }

    /// Forgets the subnets that led to this `networkConfiguration`.
    pub(super) async fn forget_vpc(&self, used: Option<&Value>) {
        for flight in self.vpcs.all() {
            let led_to_it = |subnets: &Vec<String>| {
                used.is_some()
                    && NetworkLookup::DefaultVpc.network(subnets).is_ok_and(|network| network.as_ref() == used)
            };
            flight.forget_if(led_to_it).await;
        }
    }
}

fn chooses_network(origin: &Origin<'_>) -> bool {
    origin.sets("networkConfiguration")
}

/// A network that is not as it should be is the run's fault where the run chose it.
fn network_fault(refusal: RunRefusal, origin: &Origin<'_>) -> LaunchOutcome {
    if chooses_network(origin) { LaunchOutcome::Permanent(refusal.0) } else { LaunchOutcome::AgentTrouble(refusal.0) }
}
