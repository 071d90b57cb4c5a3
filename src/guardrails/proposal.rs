//! Guardrails that allow what runs ask for today, and nothing more. Pure.

use super::image::pattern;
use super::{Asked, DefinitionOrigin, Glob, Rule};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Variables that change whose credentials a flow uses, or what its programs load.
const DENIED: [&str; 2] = ["AWS_*", "LD_*"];

/// The name that is asked for, if it is of one kind.
type NameOf = fn(&Asked) -> Option<&String>;

/// The value of the key `guardrails`, with `mode: report`. `asked`: all that is asked for now. `infers_network`: some tasks are
/// put into the default VPC, whose subnets have no way out but by public addresses.
pub fn proposed<'a>(asked: impl IntoIterator<Item = &'a Asked>, infers_network: bool) -> Value {
    let asked: BTreeSet<&Asked> = asked.into_iter().collect();
    let any = |is_it: fn(&Asked) -> bool| asked.iter().any(|asked| is_it(asked));
    let listed = |of: &dyn Fn(&Asked) -> Option<String>| -> Value {
        // What a pattern would not stand for is left out, and so is what would stand for more than was asked for.
        let is_exact = |text: &String| {
            Glob::new(text).is_ok() && !text.trim_end_matches(":*").trim_end_matches("@*").contains(['*', '?'])
        };
        let all: BTreeSet<String> = asked.iter().filter_map(|asked| of(asked)).filter(is_exact).collect();
        json!(all)
    };
    let mut rules = Map::new();
    let mut set = |rule: Rule, value: Value| drop(rules.insert(rule.key().to_owned(), value));
    set(Rule::Images, listed(&|asked| if let Asked::Image(name) = asked { pattern(name) } else { None }));
    for rule in [Rule::Cpu, Rule::Memory, Rule::EphemeralStorage] {
        let of_rule = asked.iter().filter_map(|asked| match asked {
            Asked::Size { rule: of, units, .. } if *of == rule => Some(*units),
            _ => None,
        });
        // One that cannot be read would be refused by any limit.
        let most = of_rule.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max());
        if let Some(most) = most {
            set(rule, json!({"max": most}));
        }
    }
    let names: [(Rule, NameOf); 9] = [
        (Rule::TaskRoles, |asked| if let Asked::TaskRole(name) = asked { Some(name) } else { None }),
        (Rule::ExecutionRoles, |asked| if let Asked::ExecutionRole(name) = asked { Some(name) } else { None }),
        (Rule::Clusters, |asked| if let Asked::Cluster(name) = asked { Some(name) } else { None }),
        (Rule::Subnets, |asked| if let Asked::Subnet(name) = asked { Some(name) } else { None }),
        (Rule::SecurityGroups, |asked| if let Asked::SecurityGroup(name) = asked { Some(name) } else { None }),
        (Rule::LaunchTypes, |asked| if let Asked::LaunchType(name) = asked { Some(name) } else { None }),
        (Rule::CapacityProviders, |asked| if let Asked::CapacityProvider(name) = asked { Some(name) } else { None }),
        (Rule::Secrets, |asked| if let Asked::Secret(name) = asked { Some(name) } else { None }),
        (Rule::NetworkModes, |asked| if let Asked::NetworkMode(name) = asked { Some(name) } else { None }),
    ];
    for (rule, name) in names {
        set(rule, listed(&|asked| name(asked).cloned()));
    }
    let has_public = any(|asked| matches!(asked, Asked::PublicIp { .. }));
    set(Rule::PublicIp, json!(has_public || infers_network));
    let definitions = if any(|asked| {
        matches!(asked, Asked::Definition(DefinitionOrigin::Brought | DefinitionOrigin::OwnInFamily(_)))
    }) {
        "any"
    } else if any(|asked| matches!(asked, Asked::Definition(DefinitionOrigin::Named(_)))) {
        "named"
    } else {
        "own"
    };
    set(Rule::TaskDefinitions, json!(definitions));
    set(Rule::Command, json!(any(|asked| matches!(asked, Asked::Command(_)))));
    set(Rule::Privileged, json!(any(|asked| matches!(asked, Asked::Privilege(_)))));
    let volumes =
        |asked: &Asked| if let Asked::Volume { kind, .. } = asked { Some(kind.name().to_owned()) } else { None };
    set(Rule::Volumes, listed(&volumes));
    let is_denied = |name: &str| {
        let name = name.trim().to_ascii_uppercase();
        DENIED.iter().any(|denied| name.starts_with(denied.trim_end_matches('*')))
    };
    let sets_denied = asked.iter().any(|asked| match asked {
        Asked::Variable { name, .. } => is_denied(name),
        Asked::VariablesFile(_) => true,
        _ => false,
    });
    if !sets_denied {
        set(Rule::Environment, json!({"deny": DENIED}));
    }
    let mut all = Map::from_iter([("mode".to_owned(), json!("report"))]);
    all.extend(rules);
    Value::Object(all)
}
