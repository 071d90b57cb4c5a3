//! Whether a role is for ECS's tasks: its trust policy, as far as that can be judged without asking IAM. Pure.

use crate::survey::place::account_of;
use crate::transport::shape::text_at;
use serde_json::Value;
use std::collections::BTreeSet;

/// ECS, where it asks for the role of a task.
const SERVICE: &str = "ecs-tasks.amazonaws.com";

/// Whether a trust policy lets tasks of these regions have its role. `None`: it has something that is not understood here.
pub(super) fn trusts_ecs_tasks(policy: &Value, role: &str, regions: &BTreeSet<String>) -> Option<bool> {
    let statements = match policy.get("Statement")? {
        statement @ Value::Object(_) => std::slice::from_ref(statement),
        Value::Array(statements) => statements,
        _ => return None,
    };
    let account = account_of(role)?;
    let of_region = |region: &String| {
        let of_effect = |effect: &str| {
            any(statements.iter().map(|statement| match text_at(statement, &["Effect"])? {
                of if of == effect => applies(statement, account, region),
                "Allow" | "Deny" => Some(false),
                _ => None,
            }))
        };
        match (of_effect("Deny"), of_effect("Allow")) {
            (Some(true), _) | (_, Some(false)) => Some(false),
            (Some(false), Some(true)) => Some(true),
            (None, _) | (_, None) => None,
        }
    };
    all(regions.iter().map(of_region))
}

/// Whether a statement is about ECS's taking the role for a task of this account and region.
fn applies(statement: &Value, account: &str, region: &str) -> Option<bool> {
    let conditions = match statement.get("Condition") {
        None => Some(true),
        Some(Value::Object(blocks)) => all(blocks.iter().map(|(operator, keys)| {
            let keys = keys.as_object()?;
            all(keys.iter().map(|(key, wanted)| condition(operator, key, &texts(wanted)?, account, region)))
        })),
        Some(_) => None,
    };
    all([is_principal(statement), is_action(statement), conditions].into_iter())
}

fn is_principal(statement: &Value) -> Option<bool> {
    // What `*` means for services, and all but some principals, is IAM's to say.
    let principal = statement.get("Principal")?.as_object()?;
    let services = principal.get("Service").map_or(Some(Vec::new()), texts)?;
    if services.contains(&SERVICE) {
        return Some(true);
    }
    let others = principal.get("AWS").map_or(Some(Vec::new()), texts)?;
    (!others.contains(&"*")).then_some(false)
}

fn is_action(statement: &Value) -> Option<bool> {
    let actions = texts(statement.get("Action")?)?;
    Some(actions.into_iter().any(|action| is_like(&action.to_ascii_lowercase(), "sts:assumerole")))
}

/// What AWS recommends against confused deputies; nothing else is understood.
fn condition(operator: &str, key: &str, wanted: &[&str], account: &str, region: &str) -> Option<bool> {
    let operator = operator.strip_suffix("IfExists").unwrap_or(operator);
    match (operator, key.to_ascii_lowercase().as_str()) {
        ("StringEquals", "aws:sourceaccount") => Some(wanted.contains(&account)),
        ("StringLike", "aws:sourceaccount") => Some(wanted.iter().any(|wanted| is_like(wanted, account))),
        ("ArnLike" | "ArnEquals" | "StringLike", "aws:sourcearn") => {
            any(wanted.iter().map(|wanted| is_source(wanted, account, region)))
        }
        _ => None,
    }
}

/// Whether an ARN in a policy means whatever ECS starts in an account and region. That it means only some of it cannot be
/// judged: ECS does not tell what it is that it asks for.
fn is_source(wanted: &str, account: &str, region: &str) -> Option<bool> {
    let mut parts = wanted.splitn(6, ':');
    if parts.next()? != "arn" {
        return None;
    }
    let _partition = parts.next()?;
    let (service, of_region, of_account, named) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let may_be = is_like(service, "ecs") && is_like(of_region, region) && is_like(of_account, account);
    if may_be && named != "*" { None } else { Some(may_be) }
}

/// One text, or a list of nothing else.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// `*` is any text, `?` any letter.
fn is_like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // What follows the last `*`, and the text that it may begin at.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (mut next_pattern, mut next_text) = (pattern.clone(), text.clone());
        match (next_pattern.next(), next_text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((next_pattern.clone(), text.clone()));
                pattern = next_pattern;
            }
            (Some(wanted), Some(letter)) if wanted == '?' || wanted == letter => {
                (pattern, text) = (next_pattern, next_text);
            }
            _ => {
                let Some((after, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), from.clone());
            }
        }
    }
}

/// Whether one of them is so; what is not known decides nothing.
fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(false);
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = None,
        }
    }
    known
}

/// Whether all of them are so.
fn all(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(all.map(|one| one.map(|one| !one))).map(|any| !any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ROLE: &str = "arn:aws:iam::123456789012:role/execution";

    fn judged(policy: &Value) -> Option<bool> {
        trusts_ecs_tasks(policy, ROLE, &["eu-west-1".to_owned()].into())
    }

    fn allow(service: &Value) -> Value {
        json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut statement = allow(&json!(SERVICE));
        statement[key] = value;
        json!({"Statement": [statement]})
    }

    #[test]
    fn a_role_is_for_tasks_if_its_trust_policy_says_so() {
        let deny = json!({"Effect": "Deny", "Principal": {"Service": SERVICE}, "Action": "sts:AssumeRole"});
        for (policy, trusts) in [
            (json!({"Statement": [allow(&json!(SERVICE))]}), true),
            (json!({"Statement": allow(&json!(["ec2.amazonaws.com", SERVICE]))}), true),
            (with("Action", json!(["sts:TagSession", "sts:AssumeRole"])), true),
            (with("Action", json!("sts:Assume*")), true),
            (with("Action", json!("STS:assumerole")), true),
            (with("Action", json!("sts:TagSession")), false),
            (json!({"Statement": [allow(&json!("ecs.amazonaws.com"))]}), false),
            (json!({"Statement": [allow(&json!("ec2.amazonaws.com"))]}), false),
            (json!({"Statement": [deny]}), false),
            (json!({"Statement": [allow(&json!(SERVICE)), deny]}), false),
            (with("Principal", json!({"AWS": "arn:aws:iam::123456789012:root"})), false),
            (json!({"Statement": []}), false),
        ] {
            assert_eq!(judged(&policy), Some(trusts), "{policy}");
        }
    }

    /// infra/cluster.yaml writes the first, AWS's documentation the others.
    #[test]
    fn conditions_against_confused_deputies_are_understood() {
        for (condition, trusts) in [
            (json!({"StringEquals": {"aws:SourceAccount": "123456789012"}}), true),
            (json!({"StringEquals": {"aws:SourceAccount": ["1", "123456789012"]}}), true),
            (json!({"StringEquals": {"aws:SourceAccount": "210987654321"}}), false),
            (json!({"StringLike": {"AWS:sourceAccount": "1234*"}}), true),
            (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:eu-west-1:123456789012:*"}}), true),
            (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:*:123456789012:*"}}), true),
            (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:us-east-1:123456789012:*"}}), false),
            (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:eu-west-1:210987654321:*"}}), false),
            (
                json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:*:123456789012:*"},
                       "StringEquals": {"aws:SourceAccount": "210987654321"}}),
                false,
            ),
        ] {
            assert_eq!(judged(&with("Condition", condition.clone())), Some(trusts), "{condition}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_judged() {
        for policy in [
            json!({}),
            json!({"Statement": "?"}),
            json!({"Statement": [7]}),
            with("Effect", json!("Perhaps")),
            with("Principal", json!("*")),
            with("Principal", json!({"AWS": "*"})),
            with("Principal", json!({"Service": 7})),
            with("Principal", Value::Null),
            with("Action", Value::Null),
            with("Condition", json!("?")),
            with("Condition", json!({"Bool": {"aws:SecureTransport": "true"}})),
            with("Condition", json!({"StringNotEquals": {"aws:SourceAccount": "123456789012"}})),
            with("Condition", json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:eu-west-1:123456789012:cluster/a"}})),
            json!({"Statement": [{"Effect": "Allow", "NotPrincipal": {"AWS": "x"}, "Action": "sts:AssumeRole"}]}),
            json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": SERVICE}, "NotAction": "sts:TagSession"}]}),
            // Allowed, unless the other denies it.
            json!({"Statement": [allow(&json!(SERVICE)), {"Effect": "Deny", "NotPrincipal": {"AWS": "x"}, "Action": "*"}]}),
        ] {
            assert_eq!(judged(&policy), None, "{policy}");
        }
        assert_eq!(trusts_ecs_tasks(&json!({"Statement": []}), "execution", &["eu-west-1".into()].into()), None);
    }

    #[test]
    fn what_is_certain_decides_whatever_else_there_is() {
        let odd = json!({"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"});
        assert_eq!(judged(&json!({"Statement": [odd, allow(&json!(SERVICE))]})), Some(true));
        let deny = json!({"Effect": "Deny", "Principal": {"Service": SERVICE}, "Action": "*"});
        assert_eq!(judged(&json!({"Statement": [odd, deny]})), Some(false));
        let elsewhere = json!({"Effect": "Deny", "NotPrincipal": {"AWS": "x"}, "Action": "sts:TagSession"});
        assert_eq!(judged(&json!({"Statement": [elsewhere, allow(&json!(SERVICE))]})), Some(true));
    }

    #[test]
    fn patterns_match_as_those_of_policies() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*b*c", "axbxxc", true),
            ("a*bc", "abbbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("a*", "ba", false),
            ("*a", "ab", false),
            ("sts:*", "sts:assumerole", true),
        ] {
            assert_eq!(is_like(pattern, text), matches, "{pattern} {text}");
        }
    }
}
