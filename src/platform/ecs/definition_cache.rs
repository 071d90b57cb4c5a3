//! Finds the task definition that says what is asked for, or registers it: once per content and process.

use super::definitions::{definition_hash, same_definition, tagged};
use super::outcome::{Origin, is_not_found, refusal};
use super::single_flight::SingleFlight;
use crate::aws::ecs::Ecs;
use crate::clock::Clock;
use crate::platform::{LaunchOutcome, TransientCause};
use crate::sync::lock;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Different run configurations of one flow alternate, so a few revisions are looked at, not only the latest.
const REVISIONS: usize = 5;

/// AWS allows one registration per second, and refuses two at once in a family.
const TRIES: u32 = 4;

/// Pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// Task definitions known to this process, for one region and one set of credentials. Nothing is ever deregistered.
#[derive(Debug, Default)]
pub struct DefinitionCache {
    /// Content → ARN.
    by_hash: Keyed<SingleFlight<String>>,
    /// One search and registration at a time per family, which AWS would refuse otherwise.
    families: Keyed<tokio::sync::Mutex<()>>,
    /// Every ARN ever answered, also when forgotten since.
    ours: Mutex<HashSet<String>>,
}

impl DefinitionCache {
    /// ARN of an active definition that says what `body` says: remembered, found among the newest of its family, or
    /// registered; and whether it was registered for whoever asked now. Whoever asks for the same at the same time gets
    /// the same answer.
    pub async fn settle(
        &self,
        ecs: &Ecs,
        clock: &impl Clock,
        body: &Map<String, Value>,
        origin: &Origin<'_>,
    ) -> Result<(String, bool), LaunchOutcome> {
        let hash = definition_hash(body);
        let mut registered = false;
        let search = Search { ecs, clock, body, hash: &hash, origin };
        let family = self.families.get(search.family());
        let arn = self
            .by_hash
            .get(&hash)
            .get(async {
                let _alone = family.lock().await;
                let (arn, is_new) = search.find_or_register().await?;
                registered = is_new;
                Ok(arn)
            })
            .await?;
        self.ours().insert(arn.clone());
        Ok((arn, registered))
    }

    /// Forgets a definition that turned out to be inactive; whether it is one of ours, also when it was forgotten before.
    pub async fn forget(&self, arn: &str) -> bool {
        for flight in self.by_hash.all() {
            flight.forget_if(|known| known == arn).await;
        }
        self.ours().contains(arn)
    }

    fn ours(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.ours)
    }
}

/// Values made on first use.
#[derive(Debug)]
pub(super) struct Keyed<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Keyed<T> {
    pub(super) fn get(&self, key: &str) -> Arc<T> {
        let mut map = lock(&self.0);
        map.entry(key.to_owned()).or_default().clone()
    }

    /// Whoever waits for it still shares it.
    pub(super) fn forget(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        lock(&self.0).values().cloned().collect()
    }
}

/// The search for one definition.
struct Search<'a, C> {
    ecs: &'a Ecs,
    clock: &'a C,
    body: &'a Map<String, Value>,
    hash: &'a str,
    origin: &'a Origin<'a>,
}

impl<C: Clock> Search<'_, C> {
    fn family(&self) -> &str {
        self.body.get("family").and_then(Value::as_str).unwrap_or_default()
    }

    /// The ARN, and whether it is a new one.
    async fn find_or_register(&self) -> Result<(String, bool), LaunchOutcome> {
        if let Some(arn) = self.find().await? {
            return Ok((arn, false));
        }
        let body = tagged(self.body, self.hash);
        let mut tries = 1;
        loop {
            let error = match self.ecs.register_task_definition(&body).await {
                Ok(arn) => {
                    tracing::info!(task_definition = arn, family = self.family(), "task definition registered");
                    return Ok((arn, true));
                }
                Err(error) => refusal("RegisterTaskDefinition", error, self.origin),
            };
            let can_pass = matches!(
                error,
                LaunchOutcome::Transient { cause: TransientCause::Throttled | TransientCause::Server, .. }
            );
            if !can_pass || tries == TRIES {
                return Err(error);
            }
            self.clock.sleep_until(self.clock.now() + self.pause(tries)).await;
            tries += 1;
            // Another agent may have been quicker, or an answer was lost. That this look fails says nothing new.
            if let Ok(Some(arn)) = self.find().await {
                return Ok((arn, false));
            }
        }
    }

    /// Pause after so many tries. Agents that compete for a family spread by the content they want to register.
    fn pause(&self, tries: u32) -> Duration {
        let spread = self.hash.get(..2).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
        PAUSE * 2_u32.pow(tries - 1) + Duration::from_millis(spread)
    }

    async fn find(&self) -> Result<Option<String>, LaunchOutcome> {
        if self.family().is_empty() {
            return Ok(None);
        }
        let latest = match self.ecs.describe_task_definition(self.family()).await {
            Ok(latest) => latest,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(refusal("DescribeTaskDefinition", error, self.origin)),
        };
        let latest_arn = arn_of(&latest.definition);
        if same_definition(self.body, &latest) {
            return Ok(latest_arn);
        }
        let newest = self.ecs.list_task_definitions(self.family(), REVISIONS).await;
        let newest = newest.map_err(|error| refusal("ListTaskDefinitions", error, self.origin))?;
        let others = newest.iter().filter(|arn| Some(*arn) != latest_arn.as_ref()).take(REVISIONS - 1);
        let described = join_all(others.map(|arn| self.ecs.describe_task_definition(arn))).await;
        for described in described {
            match described {
                Ok(described) if same_definition(self.body, &described) => return Ok(arn_of(&described.definition)),
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(refusal("DescribeTaskDefinition", error, self.origin)),
            }
        }
        Ok(None)
    }
}

fn arn_of(definition: &Map<String, Value>) -> Option<String> {
    definition.get("taskDefinitionArn")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
