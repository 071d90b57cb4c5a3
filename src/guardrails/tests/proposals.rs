//! Guardrails that are proposed, against what they were proposed for.

use super::proposal::proposed;
use super::*;
use crate::config::{ConfigSource, Environment, read_agent};

fn asked(launch: &Launch) -> BTreeSet<Asked> {
    asks(&launch.requests()).into_iter().map(|ask| ask.asked).filter(|asked| !own().contains(asked)).collect()
}

/// As they are written into a configuration and read from it.
fn read(proposal: &Value) -> Guardrails {
    let text = format!("prefect: 3\napi: https://prefect/api\nwork_pool: pool\nguardrails: {proposal}\n");
    let source = ConfigSource { parameter: "x", agent: "agent", local_files: false };
    let config = read_agent(&text, &source, &Environment::default());
    config.unwrap_or_else(|error| panic!("{text}: {error}")).guardrails.unwrap()
}

#[test]
fn what_is_asked_for_today_is_allowed_and_what_is_not_is_not() {
    let modest = Launch::with(&[]);
    let proposal = proposed(&asked(&modest), false);
    let guardrails = read(&proposal);
    assert_eq!(modest.judged(&guardrails), [], "{proposal:#}");
    assert_eq!((guardrails.mode, guardrails.cpu, guardrails.memory), (Mode::Report, Some(1024), Some(2048)));
    assert_eq!(
        guardrails.images,
        Some(globs(&[&format!("{REGISTRY}/flows/etl@*"), &format!("{REGISTRY}/flows/side@*")]))
    );
    assert!(!guardrails.public_ip && !guardrails.command && !guardrails.privileged);
    let refused = |place: &str, value: Value| Launch::with(&[(place, value)]).judged(&guardrails);
    for (place, value, rule) in [
        ("RunTask/overrides/cpu", json!("2048"), Rule::Cpu),
        ("RunTask/overrides/taskRoleArn", json!("admin"), Rule::TaskRoles),
        ("RunTask/cluster", json!("other"), Rule::Clusters),
        ("RegisterTaskDefinition/containerDefinitions/0/image", json!("evil/x"), Rule::Images),
        ("RegisterTaskDefinition/containerDefinitions/1/privileged", json!(true), Rule::Privileged),
    ] {
        let found = refused(place, value);
        assert_eq!(found.iter().map(|violation| violation.rule).collect::<Vec<_>>(), [rule], "{place}");
    }
}

/// Whatever is asked for now, what is proposed can be read, and stands for nothing else: what could not be written down exactly
/// is refused, and nothing is allowed by it that was not asked for.
#[test]
fn what_no_pattern_stands_for_is_left_out() {
    let odd = Launch::with(&[
        ("RunTask/overrides/taskRoleArn", json!("*")),
        ("RunTask/cluster", json!("pr\u{435}fect")),
        ("RegisterTaskDefinition/containerDefinitions/0/image", json!("evil/*:1")),
    ]);
    let guardrails = read(&proposed(&asked(&odd), false));
    for rules in [&guardrails.task_roles, &guardrails.clusters] {
        assert_eq!(rules, &Some(Globs::default()));
    }
    let found: BTreeSet<Rule> = odd.judged(&guardrails).into_iter().map(|violation| violation.rule).collect();
    assert_eq!(found, [Rule::TaskRoles, Rule::Clusters, Rule::Images].into());
}

#[test]
fn no_attempt_that_is_made_today_gives_a_proposal_that_cannot_be_read() {
    for (what, launch) in attempts::launches() {
        let guardrails = read(&proposed(&asked(&launch), true));
        assert!(guardrails.public_ip, "{what}: where the network is looked up");
        let unread =
            |violation: &Violation| violation.rule == Rule::Members || violation.asked.contains("cannot be read");
        let judged = launch.judged(&Guardrails { images: None, ..guardrails });
        let named = [
            Rule::TaskRoles,
            Rule::ExecutionRoles,
            Rule::Clusters,
            Rule::Subnets,
            Rule::SecurityGroups,
            Rule::Secrets,
            Rule::CapacityProviders,
            Rule::LaunchTypes,
            Rule::NetworkModes,
        ];
        assert!(judged.iter().all(|one| unread(one) || named.contains(&one.rule)), "{what}: {judged:?}");
    }
}
