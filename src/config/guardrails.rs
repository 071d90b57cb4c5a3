//! The key `guardrails`: what the runs of an agent may ask for.

use super::reader::{Parsed, Problem, refuse, unknown};
use super::values::{choice, describe, flag, kind, list_of, mapping, whole};
use crate::guardrails::{DefinitionRule, Glob, Globs, Guardrails, Mode, Rule, VolumeKind};
use crate::http::hosts::host_pattern;
use serde_json::{Map, Value};

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("report", Mode::Report)];
const DEFINITIONS: &[(&str, DefinitionRule)] =
    &[("own", DefinitionRule::Own), ("named", DefinitionRule::Named), ("any", DefinitionRule::Any)];

/// Its keys, in the order in which they are shown.
fn keys() -> Vec<&'static str> {
    let of_rules = Rule::ALL.iter().filter(|(_, rule)| *rule != Rule::Members).map(|(key, _)| *key);
    std::iter::once("mode").chain(of_rules).collect()
}

/// `{mode: enforce, images: […], cpu: {max: 4096}, …}`.
pub(super) fn read(value: &Value) -> Parsed<Guardrails> {
    let all = mapping(value)?;
    let mut rules = Rules { all: &all, problems: unknown(&all, &keys()) };
    let all = Guardrails::default();
    let read = Guardrails {
        mode: rules.key("mode", choice(MODES)).unwrap_or(all.mode),
        images: rules.key("images", globs),
        image_digest: rules.key("image_digest", flag).unwrap_or(all.image_digest),
        cpu: rules.key("cpu", most("a number of CPU units (1024 are a vCPU)")),
        memory: rules.key("memory", most("a number of MiB")),
        ephemeral_storage: rules.key("ephemeral_storage", most("a number of GiB")),
        task_roles: rules.key("task_roles", globs),
        execution_roles: rules.key("execution_roles", globs),
        clusters: rules.key("clusters", globs),
        subnets: rules.key("subnets", globs),
        security_groups: rules.key("security_groups", globs),
        launch_types: rules.key("launch_types", globs),
        capacity_providers: rules.key("capacity_providers", globs),
        public_ip: rules.key("public_ip", flag).unwrap_or(all.public_ip),
        task_definitions: rules.key("task_definitions", choice(DEFINITIONS)).unwrap_or(all.task_definitions),
        command: rules.key("command", flag).unwrap_or(all.command),
        denied_variables: rules.key("environment", |value| only(value, "deny", globs)),
        secrets: rules.key("secrets", globs),
        privileged: rules.key("privileged", flag).unwrap_or(all.privileged),
        volumes: rules.key("volumes", |value| listed(value, kind_of_volume)),
        network_modes: rules.key("network_modes", globs),
    };
    if rules.problems.is_empty() { Ok(read) } else { Err(rules.problems) }
}

/// The keys that are being read, and what is wrong with them so far.
struct Rules<'a> {
    all: &'a Map<String, Value>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    /// A key that is written; null counts as not written.
    fn key<T>(&mut self, key: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> Option<T> {
        let written = self.all.get(key).filter(|value| !value.is_null())?;
        match parse(written) {
            Ok(value) => Some(value),
            Err(found) => {
                self.problems.extend(found.into_iter().map(|problem| problem.under(key)));
                None
            }
        }
    }
}

/// A mapping with this one key.
fn only<T>(value: &Value, key: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> Parsed<T> {
    let Value::Object(all) = value else { return refuse(describe(value), format!("a mapping with the key `{key}`")) };
    let mut problems = unknown(all, &[key]);
    match all.get(key).map(parse) {
        Some(Ok(value)) if problems.is_empty() => return Ok(value),
        Some(Ok(_)) => {}
        Some(Err(found)) => problems.extend(found.into_iter().map(|problem| problem.under(key))),
        None => problems.push(Problem::at(key, "nothing", "a value: without one, leave the rule out")),
    }
    Err(problems)
}

/// `{max: 4096}`.
fn most(allowed: &'static str) -> impl Fn(&Value) -> Parsed<u64> {
    move |value| only(value, "max", whole(0..=u64::MAX, allowed))
}

fn globs(value: &Value) -> Parsed<Globs> {
    listed(value, glob).map(Globs::new)
}

fn glob(value: &Value) -> Parsed<Glob> {
    match value {
        Value::String(text) => Glob::new(text).or_else(|allowed| refuse(describe(value), allowed)),
        _ => refuse(describe(value), "a pattern as text (put the value in quotes)"),
    }
}

/// The key `allowed_hosts`: hosts that runs may point at.
pub(super) fn hosts(value: &Value) -> Parsed<Vec<String>> {
    listed(value, |value| match value {
        Value::String(text) => host_pattern(text).or_else(|allowed| refuse(describe(value), allowed)),
        _ => refuse(describe(value), "the name of a host as text (put the value in quotes)"),
    })
}

fn kind_of_volume(value: &Value) -> Parsed<VolumeKind> {
    let found = value.as_str().and_then(|text| VolumeKind::ALL.iter().find(|(name, _)| *name == text));
    let names = VolumeKind::ALL.map(|(name, _)| name).join(", ");
    found.map_or_else(|| refuse(describe(value), format!("one of {names}")), |(_, kind)| Ok(*kind))
}

/// A list, also an empty one: then nothing is allowed. One text is no list, lest somebody takes it for a list of its words.
fn listed<T>(value: &Value, parse: impl Fn(&Value) -> Parsed<T>) -> Parsed<Vec<T>> {
    let Value::Array(items) = value else { return refuse(kind(value), "a list ([] allows none)") };
    list_of(items, parse)
}

#[cfg(test)]
mod tests;
