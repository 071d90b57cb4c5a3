//! What is asked for × what is allowed → what is too much, in words.

use super::glob::{CLUSTER, PARAMETER, ROLE, is_plain};
use super::requests::{Ask, Asked, DEFAULT, DefinitionOrigin, NO_LIMIT, Requests, asks};
use super::{DefinitionRule, Globs, Guardrails, Rule, image, members};
use crate::image::registry;
use std::collections::BTreeSet;

/// Texts of runs are cut after so many characters.
const SHOWN: usize = 160;

/// Something that is asked for and not allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What does not allow it.
    pub rule: Rule,
    /// Where it is asked for: `RunTask.overrides.taskRoleArn`.
    pub place: String,
    /// What is asked for, for people.
    pub asked: String,
    /// What is allowed, for people.
    pub allowed: String,
}

/// All that the requests of a launch ask for and may not. `own`: what the agent itself asks for, which is allowed by that.
pub fn judge(guardrails: &Guardrails, requests: &Requests<'_>, own: &BTreeSet<Asked>) -> Vec<Violation> {
    let mut violations = members::undecided(requests);
    for Ask { place, asked } in asks(requests).into_iter().filter(|ask| !own.contains(&ask.asked)) {
        let found = too_much(guardrails, &asked, requests.names_are_ours).into_iter();
        violations.extend(found.map(|(rule, asked, allowed)| Violation { rule, place: place.clone(), asked, allowed }));
    }
    violations
}

type TooMuch = (Rule, String, String);

/// By which rules it is too much, in words: what is asked for, and what is allowed.
fn too_much(guardrails: &Guardrails, asked: &Asked, names_are_ours: bool) -> Vec<TooMuch> {
    let listed = |rule, globs: &Option<Globs>, text: &str, is_allowed: &dyn Fn(&Globs) -> bool| -> Option<TooMuch> {
        let globs = globs.as_ref().filter(|globs| !is_allowed(globs))?;
        Some((rule, shown(text), globs.shown()))
    };
    let plain = |rule, globs: &Option<Globs>, text: &str| listed(rule, globs, text, &|globs| globs.allow(text));
    let by_arn = |rule, globs: &Option<Globs>, text: &str, kind| {
        listed(rule, globs, text, &|globs| globs.allow_named(text, kind, names_are_ours))
    };
    let flag =
        |rule, is_allowed: bool, asked: String, allowed: &str| (!is_allowed).then(|| (rule, asked, allowed.to_owned()));
    let g = guardrails;
    let found = match asked {
        Asked::Definition(origin) => definition(g.task_definitions, origin),
        Asked::Image(name) => {
            let spellings = image::names(name);
            let allows = |globs: &Globs| {
                is_plain(name) && spellings.iter().any(|name| globs.allow_image(name, registry(name).is_some()))
            };
            let digest = "an image that is named by its digest (…@sha256:…)";
            let is_exact = !g.image_digest || image::has_digest(name);
            return [
                listed(Rule::Images, &g.images, name, &allows),
                flag(Rule::ImageDigest, is_exact, shown(name), digest),
            ]
            .into_iter()
            .flatten()
            .collect();
        }
        Asked::Size { rule, units, written } => {
            let (most, unit) = match rule {
                Rule::Cpu => (g.cpu, "CPU units"),
                Rule::Memory => (g.memory, "MiB"),
                _ => (g.ephemeral_storage, "GiB"),
            };
            most.filter(|most| units.is_none_or(|units| units > *most)).map(|most| {
                let is_unread = units.is_none() && written != NO_LIMIT;
                let unread = if is_unread { ", which cannot be read" } else { "" };
                (*rule, format!("{}{unread}", shown(written)), format!("at most {most} {unit}"))
            })
        }
        Asked::TaskRole(role) => by_arn(Rule::TaskRoles, &g.task_roles, role, ROLE),
        Asked::ExecutionRole(role) => by_arn(Rule::ExecutionRoles, &g.execution_roles, role, ROLE),
        Asked::Cluster(cluster) => by_arn(Rule::Clusters, &g.clusters, cluster, CLUSTER),
        Asked::Subnet(subnet) => plain(Rule::Subnets, &g.subnets, subnet),
        Asked::SecurityGroup(group) => plain(Rule::SecurityGroups, &g.security_groups, group),
        // What may be provided is listed: Fargate is a provider by its own name, and instances are none that is.
        Asked::LaunchType(launch_type) if g.launch_types.is_none() => {
            plain(Rule::CapacityProviders, &g.capacity_providers, launch_type)
        }
        Asked::LaunchType(launch_type) => plain(Rule::LaunchTypes, &g.launch_types, launch_type),
        // Without a rule of their own, providers are what they provide.
        Asked::CapacityProvider(provider) if g.capacity_providers.is_none() => {
            let launch_type = match provider.as_str() {
                "FARGATE" | "FARGATE_SPOT" => "FARGATE",
                DEFAULT => DEFAULT,
                _ => "EC2",
            };
            listed(Rule::LaunchTypes, &g.launch_types, provider, &|globs| globs.allow(launch_type))
        }
        Asked::CapacityProvider(provider) => plain(Rule::CapacityProviders, &g.capacity_providers, provider),
        Asked::PublicIp { address, .. } => flag(Rule::PublicIp, g.public_ip, shown(address), "DISABLED"),
        Asked::Command(words) => {
            let allowed = "what the image itself starts, and Prefect's own command for the flow";
            flag(Rule::Command, g.command, shown(&words.join(" ")), allowed)
        }
        Asked::Variable { name, .. } => {
            // What follows is a part of the value by the time a container sees it.
            let name = name.split(['=', '\0']).next().unwrap_or_default();
            let denied = g.denied_variables.as_ref().filter(|denied| denied.deny(name));
            denied.map(|denied| (Rule::Environment, shown(name), format!("all but {}", denied.shown())))
        }
        Asked::VariablesFile(file) => {
            let denied = g.denied_variables.as_ref();
            let allowed = "variables that the request names itself: what is in a file is not known here";
            denied.map(|_| (Rule::Environment, shown(file), allowed.to_owned()))
        }
        Asked::Secret(secret) => by_arn(Rule::Secrets, &g.secrets, secret, PARAMETER),
        Asked::Privilege(privilege) => flag(Rule::Privileged, g.privileged, shown(privilege), "none"),
        Asked::Volume { kind, .. } => {
            let volumes = g.volumes.as_ref().filter(|volumes| !volumes.contains(kind));
            volumes.map(|volumes| {
                let kinds: Vec<&str> = volumes.iter().map(|kind| kind.name()).collect();
                let allowed = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
                (Rule::Volumes, kind.name().to_owned(), allowed)
            })
        }
        Asked::NetworkMode(mode) => plain(Rule::NetworkModes, &g.network_modes, mode),
    };
    found.into_iter().collect()
}

fn definition(rule: DefinitionRule, origin: &DefinitionOrigin) -> Option<TooMuch> {
    let (asked, needs) = match origin {
        DefinitionOrigin::Own => return None,
        DefinitionOrigin::OwnInFamily(family) => (format!("the family {}", shown(family)), DefinitionRule::Any),
        DefinitionOrigin::Brought => ("a task definition of its own".to_owned(), DefinitionRule::Any),
        DefinitionOrigin::Named(name) => (shown(name), DefinitionRule::Named),
    };
    let allowed = match rule {
        DefinitionRule::Own => "own: what the agent or the work pool's template defines",
        DefinitionRule::Named => {
            "named: what the agent or the work pool's template defines, or one that exists, by name"
        }
        DefinitionRule::Any => "any",
    };
    (rule < needs).then(|| (Rule::TaskDefinitions, asked, allowed.to_owned()))
}

/// A text of a run as a message can bear it: what is not visible is spelled out, what is long is cut.
pub(crate) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).flat_map(spelled).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{cut}…") } else { cut }
}

/// A character that looks like another one must not be read as it.
fn spelled(c: char) -> impl Iterator<Item = char> {
    let is_plain = c == ' ' || c.is_ascii_graphic();
    let spelled: String = if is_plain { c.to_string() } else { c.escape_unicode().to_string() };
    spelled.chars().collect::<Vec<_>>().into_iter()
}

// What people are told.

/// More violations than this are only counted.
const MOST: usize = 5;

/// All that is too much, in one sentence.
pub fn sentence(violations: &[Violation]) -> String {
    let mut parts: Vec<String> = violations
        .iter()
        .take(MOST)
        .map(|Violation { rule, place, asked, allowed }| {
            format!("`{}`: {asked} in {place} (allowed: {allowed})", rule.key())
        })
        .collect();
    let more = violations.len().saturating_sub(MOST);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join("; ")
}
