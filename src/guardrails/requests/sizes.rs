//! Sizes: those of the task, and where it has none, of its containers together. A request may start more than one task.

use super::{Asked, DefinitionOrigin, Found, given, listed, shown, text_of};
use crate::guardrails::Rule;
use crate::guardrails::size::{self, size};
use serde_json::{Map, Value};

/// The memory of a container that only reserves some, in a task that has no size: it takes what the instance has.
pub(in crate::guardrails) const NO_LIMIT: &str = "no limit, only a reservation";

impl Found<'_> {
    pub(super) fn sizes(&mut self) {
        let count = self.requests.run_task.get("count").and_then(Value::as_u64).unwrap_or(1);
        for (rule, key, unit, of_container) in [
            (Rule::Cpu, "cpu", size::CPU, &["cpu"][..]),
            (Rule::Memory, "memory", size::MEMORY, &["memory", "memoryReservation"][..]),
        ] {
            let parts = self.of_containers(rule, of_container);
            let overridden = self.overrides.and_then(|overrides| given(overrides.get(key)));
            let written = overridden.or_else(|| given(self.requests.definition.get(key)));
            let (place, units, written) = match written {
                Some(written) => {
                    let place = if overridden.is_some() { format!("RunTask.overrides.{key}") } else { self.of(key) };
                    (place, size(written, unit), shown(written))
                }
                None if rule == Rule::Memory && self.has_unlimited() => {
                    (self.of("containerDefinitions[].memory"), None, NO_LIMIT.to_owned())
                }
                None => (self.of(&format!("containerDefinitions[].{key}")), Some(parts), parts.to_string()),
            };
            self.total(rule, &place, (units, written), count);
        }
        let storage = |map: Option<&Map<String, Value>>| given(map?.get("ephemeralStorage")?.get("sizeInGiB")).cloned();
        let overridden = storage(self.overrides);
        let place = if overridden.is_some() {
            "RunTask.overrides.ephemeralStorage.sizeInGiB".to_owned()
        } else {
            self.of("ephemeralStorage.sizeInGiB")
        };
        if let Some(written) = overridden.or_else(|| storage(Some(self.requests.definition))) {
            self.total(Rule::EphemeralStorage, &place, (written.as_u64(), shown(&written)), count);
        }
    }

    /// Whether a container reserves memory and has no limit of it.
    fn has_unlimited(&self) -> bool {
        listed(self.requests.definition.get("containerDefinitions")).any(|(_, container)| {
            let name = text_of(container.get("name"));
            let has = |key: &str| self.overridden(name, key).or_else(|| given(container.get(key))).is_some();
            has("memoryReservation") && !has("memory")
        })
    }

    /// A place in the definition.
    fn of(&self, path: &str) -> String {
        let is_named = matches!(self.requests.origin, DefinitionOrigin::Named(_));
        format!("{}.{path}", if is_named { "DescribeTaskDefinition" } else { "RegisterTaskDefinition" })
    }

    fn total(&mut self, rule: Rule, place: &str, (units, written): (Option<u64>, String), count: u64) {
        if count > 1 {
            let units = units.map(|units| units.saturating_mul(count));
            self.ask("RunTask.count", Asked::Size { rule, units, written: format!("{count} times {written}") });
        } else {
            self.ask(place, Asked::Size { rule, units, written });
        }
    }

    /// What each container asks for; all of them together. The first of `keys` that one has counts.
    fn of_containers(&mut self, rule: Rule, keys: &[&str]) -> u64 {
        let mut sum = 0_u64;
        for (index, container) in listed(self.requests.definition.get("containerDefinitions")) {
            let name = text_of(container.get("name"));
            let mut counted = None;
            for key in keys {
                let overridden = self.overridden(name, key);
                let Some(written) = overridden.or_else(|| given(container.get(*key))) else { continue };
                let units = written.as_u64();
                counted = counted.or(Some(units.unwrap_or(u64::MAX)));
                if overridden.is_none() {
                    let place = self.of(&format!("containerDefinitions[{index}].{key}"));
                    self.ask(place, Asked::Size { rule, units, written: shown(written) });
                }
            }
            sum = sum.saturating_add(counted.unwrap_or(0));
        }
        for (index, entry) in listed(self.overrides.and_then(|overrides| overrides.get("containerOverrides"))) {
            for key in keys {
                let Some(written) = given(entry.get(*key)) else { continue };
                let place = format!("RunTask.overrides.containerOverrides[{index}].{key}");
                self.ask(place, Asked::Size { rule, units: written.as_u64(), written: shown(written) });
            }
        }
        sum
    }
}
