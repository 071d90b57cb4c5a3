//! Slots under the concurrency limits of deployments, and the leases on them.

use super::{CollisionStrategy, Prefect3, RunState, StateType, rules::Verdict, times};
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// Leases by id: for how long a run holds a slot without saying so again.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<String, Lease>);

#[derive(Debug)]
struct Lease {
    deployment_id: String,
    expires: OffsetDateTime,
}

/// A client's version, e.g. `[3, 8, 8]`, from its `User-Agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) [u32; 3]);

/// Clients from this version on keep their leases alive.
const KEEPS_LEASES: Version = Version([3, 4, 11]);

impl Version {
    /// From `prefect/3.8.8 (API 0.8.4)`; none for everybody else.
    pub(super) fn of(user_agent: &str) -> Option<Self> {
        let (version, rest) = user_agent.strip_prefix("prefect/")?.split_once(" (API ")?;
        rest.strip_suffix(')')?;
        let mut parts = version.split('.');
        let mut next = || {
            let part = parts.next()?;
            let digits = part.find(|letter: char| !letter.is_ascii_digit()).map_or(part, |end| &part[..end]);
            digits.parse().ok()
        };
        Some(Self([next()?, next()?, next()?]))
    }

    /// Whether its workers take the slots themselves.
    fn takes_slots_itself(self) -> bool {
        self >= Self([3, 0, 0]) && self <= Self([3, 0, 3])
    }

    pub(super) fn keeps_leases(version: Option<Self>) -> bool {
        version.is_some_and(|version| version >= KEEPS_LEASES)
    }
}

impl Leases {
    /// All of them run out that much earlier.
    pub(super) fn grow_older(&mut self, by: Duration) {
        for lease in self.0.values_mut() {
            lease.expires -= by;
        }
    }
}

impl Prefect3 {
    fn grace(&self, deployment_id: &str) -> Duration {
        let own = self.deployment(deployment_id).and_then(|deployment| deployment.grace_period_seconds);
        Duration::seconds(own.unwrap_or(self.switches.lease_seconds))
    }

    /// Takes a slot of a deployment if one is free.
    fn take_slot(&mut self, deployment_id: &str) -> bool {
        let limit = self.deployment_mut(deployment_id).and_then(|deployment| deployment.limit.as_mut());
        match limit {
            Some(limit) if limit.active && limit.active_slots < limit.limit => {
                limit.active_slots += 1;
                true
            }
            _ => false,
        }
    }

    fn give_slot_back(&mut self, deployment_id: &str) {
        if let Some(limit) = self.deployment_mut(deployment_id).and_then(|deployment| deployment.limit.as_mut()) {
            limit.active_slots = (limit.active_slots - 1).max(0);
        }
    }

    fn lease(&mut self, deployment_id: &str, now: OffsetDateTime) -> String {
        let id = times::new_id();
        let expires = now + self.grace(deployment_id);
        self.leases.0.insert(id.clone(), Lease { deployment_id: deployment_id.to_owned(), expires });
        id
    }

    /// A run that becomes Pending needs a slot, and holds it by a lease.
    pub(super) fn secure_slot(
        &mut self,
        deployment_id: Option<&str>,
        to: &mut RunState,
        client: Option<Version>,
        now: OffsetDateTime,
    ) -> Option<Verdict> {
        let id = deployment_id?;
        if client.is_some_and(Version::takes_slots_itself) {
            return None;
        }
        let Some(deployment) = self.deployment(id) else {
            return Some(Verdict::Abort("Deployment not found.".to_owned()));
        };
        let strategy = deployment.collision_strategy.unwrap_or(CollisionStrategy::Enqueue);
        if deployment.limit.as_ref()?.limit == 0 {
            let reason = "The deployment concurrency limit is 0. The flow will deadlock if submitted again.";
            return Some(Verdict::Abort(reason.to_owned()));
        }
        if self.take_slot(id) {
            to.details.deployment_concurrency_lease_id = Some(self.lease(id, now));
            return None;
        }
        let reason = "Deployment concurrency limit reached.".to_owned();
        let state = match strategy {
            CollisionStrategy::Enqueue => RunState::new(StateType::Scheduled, now)
                .named("AwaitingConcurrencySlot")
                .starting(now + Duration::seconds(self.switches.slot_wait_seconds)),
            CollisionStrategy::CancelNew => RunState::new(StateType::Cancelled, now).saying(&reason),
        };
        Some(Verdict::Replace(state.into(), reason))
    }

    /// A run that goes from Pending to Running renews its lease, or takes a slot anew, or is cancelled.
    pub(super) fn renew_slot(
        &mut self,
        deployment_id: Option<&str>,
        to: &mut RunState,
        client: Option<Version>,
        now: OffsetDateTime,
    ) -> Option<Verdict> {
        let lease_id = to.details.deployment_concurrency_lease_id.clone()?;
        let id = deployment_id?;
        if !Version::keeps_leases(client) {
            return None;
        }
        self.deployment(id)?.limit.as_ref()?;
        let grace = self.grace(id);
        if let Some(lease) = self.leases.0.get_mut(&lease_id) {
            lease.expires = now + grace;
            return None;
        }
        if self.take_slot(id) {
            to.details.deployment_concurrency_lease_id = Some(self.lease(id, now));
            return None;
        }
        let message = "Deployment concurrency slot lost during provisioning - no slots available to continue execution";
        let state = RunState::new(StateType::Cancelled, now).saying(message);
        Some(Verdict::Replace(state.into(), "Deployment concurrency limit reached after lease expiry.".to_owned()))
    }

    /// Forgets a lease without giving its slot back.
    pub(super) fn revoke_lease(&mut self, lease_id: Option<&str>) {
        if let Some(id) = lease_id {
            self.leases.0.remove(id);
        }
    }

    /// Gives back what a run held that is no longer Pending, Running or Cancelling.
    pub(super) fn release_slot(&mut self, deployment_id: Option<&str>, lease_id: Option<&str>) {
        let lease = lease_id.and_then(|id| self.leases.0.remove(id));
        if let Some(id) = lease.map(|lease| lease.deployment_id).or_else(|| deployment_id.map(str::to_owned)) {
            self.give_slot_back(&id);
        }
    }

    /// The server's repossessor: slots whose leases ran out are free again.
    pub(super) fn reap_leases(&mut self, now: OffsetDateTime) {
        let (dead, live) = std::mem::take(&mut self.leases.0).into_iter().partition(|(_, lease)| lease.expires <= now);
        self.leases.0 = live;
        let dead: BTreeMap<String, Lease> = dead;
        for lease in dead.into_values() {
            self.give_slot_back(&lease.deployment_id);
        }
    }

    /// Whether a late run of the deployment is cancelled instead of marked late.
    pub(super) fn cancels_late_runs(&self, deployment_id: Option<&str>) -> bool {
        let deployment = deployment_id.and_then(|id| self.deployment(id));
        deployment.is_some_and(|deployment| {
            deployment.collision_strategy == Some(CollisionStrategy::CancelNew)
                && deployment.limit.as_ref().is_some_and(|limit| limit.active_slots >= limit.limit)
        })
    }
}
