use super::super::testing::{agents, codes, denied, stack};
use super::*;
use crate::check::stack::Stack;

const CONFIG: &str = "prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n";

fn of(parameters: &[(&str, &str)]) -> Stack {
    let resources =
        [(OWN_TASKS, "own"), (WORKERS_TASKS, "workers"), (TASK_EVENTS, "psa-task-events"), (FAILURES, "https://sqs/q")];
    stack(parameters, &resources)
}

#[allow(clippy::unnecessary_wraps, reason = "as it is observed")]
fn rule(is_enabled: bool, target: &str) -> Result<Option<Rule>, AwsError> {
    Ok(Some(Rule { is_enabled, targets: vec![format!("arn:aws:lambda:us-east-1:123456789012:function:{target}")] }))
}

#[test]
fn a_rule_that_is_not_wholly_told_is_no_rule() {
    let (described, targets) = (json!({"State": "DISABLED"}), json!({"Targets": [{"Arn": "a"}]}));
    let read = rule_of(&described, &targets);
    assert_eq!(read, Ok(Rule { is_enabled: false, targets: vec!["a".into()] }));
    assert_eq!(rule_of(&described, &json!({"Targets": []})).map(|rule| rule.targets), Ok(Vec::new()));
    for (described, targets) in
        [(&json!({}), &targets), (&described, &json!({})), (&described, &json!({"Targets": [{"Id": "1"}]}))]
    {
        assert!(matches!(rule_of(described, targets), Err(AwsError::Malformed(_))), "{described} {targets}");
    }
}

#[test]
fn rules_are_there_enabled_as_wanted_and_call_the_function() {
    let function = "psa-task-events";
    for (own, workers, state, found) in [
        (rule(true, function), rule(false, function), "DISABLED", &[][..]),
        (rule(true, function), rule(true, function), "ENABLED", &[]),
        (rule(true, function), rule(false, function), "ENABLED", &["PSA602"]),
        (rule(false, function), rule(false, function), "DISABLED", &["PSA602"]),
        (rule(true, "psa-task-events-2"), rule(false, function), "DISABLED", &["PSA603"]),
        (rule(true, "x-psa-task-events"), rule(false, function), "DISABLED", &["PSA603"]),
        (Ok(None), rule(false, function), "DISABLED", &["PSA601"]),
        (Err(denied()), rule(false, function), "DISABLED", &["PSA699"]),
    ] {
        let observed = ObservedEvents { own_tasks: own, workers_tasks: workers, failures: Ok(Some(0)) };
        let looked = judge(&of(&[("WorkersTasksState", state)]), &observed, &agents(CONFIG));
        assert_eq!(codes(&looked), found, "{observed:?}");
    }
}

#[test]
fn failures_that_wait_are_counted() {
    for (failures, found) in
        [(Ok(Some(0)), &[][..]), (Ok(Some(1)), &["PSA604"]), (Ok(None), &["PSA601"]), (Err(denied()), &["PSA699"])]
    {
        let observed = ObservedEvents {
            own_tasks: rule(true, "psa-task-events"),
            workers_tasks: rule(false, "psa-task-events"),
            failures,
        };
        assert_eq!(codes(&judge(&of(&[]), &observed, &[])), found, "{observed:?}");
    }
}

#[test]
fn accounts_that_are_launched_in_are_let_in() {
    let elsewhere = format!("{CONFIG}assume_role_arn: arn:aws:iam::210987654321:role/prefect\n");
    for (let_in, found) in [("", &["PSA605"][..]), ("111111111111", &["PSA605"]), ("111111111111, 210987654321", &[])] {
        let observed = ObservedEvents {
            own_tasks: rule(true, "psa-task-events"),
            workers_tasks: rule(false, "psa-task-events"),
            failures: Ok(Some(0)),
        };
        let looked = judge(&of(&[("ForwardingAccountIds", let_in)]), &observed, &agents(&elsewhere));
        assert_eq!(codes(&looked), found, "{let_in}");
        if let_in == "111111111111" {
            let mend = &looked.findings.first().map(|finding| finding.mend.clone()).unwrap_or_default();
            assert!(mend.contains("ForwardingAccountIds=111111111111,210987654321"), "{mend}");
        }
    }
}
