use super::super::testing::{agents, codes, denied, root, stack};
use super::*;
use crate::check::stack::Stack;

const CONFIG: &str = "prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n";

const QUEUES: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/psa-task-events";

fn of(parameters: &[(&str, &str)]) -> Stack {
    let (dead_letters, failures) = (format!("{QUEUES}-dead-letters"), format!("{QUEUES}-failures"));
    let resources = [
        (OWN_TASKS, "own"),
        (WORKERS_TASKS, "workers"),
        (TASK_EVENTS, "psa-task-events"),
        (QUEUE, QUEUES),
        (DEAD_LETTERS, &dead_letters),
        (FAILURES, &failures),
    ];
    stack(parameters, &resources)
}

/// As version 0.1 deployed it.
fn former(parameters: &[(&str, &str)]) -> Stack {
    let resources = [
        ("TaskEventsFunctionOwnTasks", "own"),
        ("TaskEventsFunctionWorkersTasks", "workers"),
        (TASK_EVENTS, "psa-task-events"),
        (FAILURES, "https://sqs/q"),
    ];
    stack(parameters, &resources)
}

#[allow(clippy::unnecessary_wraps, reason = "as it is observed")]
fn rule_to(is_enabled: bool, target: &str) -> Result<Option<Rule>, AwsError> {
    Ok(Some(Rule { is_enabled, targets: vec![target.to_owned()] }))
}

fn rule(is_enabled: bool, queue: &str) -> Result<Option<Rule>, AwsError> {
    rule_to(is_enabled, &format!("arn:aws:sqs:us-east-1:123456789012:{queue}"))
}

/// The function reads the queue, in this state.
#[allow(clippy::unnecessary_wraps, reason = "as it is observed")]
fn reading(state: &str) -> Option<Result<Option<String>, AwsError>> {
    Some(Ok(Some(state.to_owned())))
}

/// A rule that calls a function itself.
fn calling(is_enabled: bool, function: &str) -> Result<Option<Rule>, AwsError> {
    rule_to(is_enabled, &format!("arn:aws:lambda:us-east-1:123456789012:function:{function}"))
}

/// All is well, but for the queues.
fn with_queues(queues: Vec<(&'static str, Result<Option<u64>, AwsError>)>) -> ObservedEvents {
    let (own_tasks, workers_tasks) = (rule(true, "psa-task-events"), rule(false, "psa-task-events"));
    ObservedEvents { own_tasks, workers_tasks, mapping: reading("Enabled"), queues }
}

fn empty() -> Vec<(&'static str, Result<Option<u64>, AwsError>)> {
    vec![(QUEUE, Ok(Some(0))), (DEAD_LETTERS, Ok(Some(0))), (FAILURES, Ok(Some(0)))]
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
fn somebody_reads_the_queue() {
    for (mapping, found) in [
        (reading("Enabled"), &[][..]),
        (reading("Updating"), &[]),
        (reading("Disabled"), &["PSA606"]),
        (reading("Deleting"), &["PSA606"]),
        (Some(Ok(None)), &["PSA606"]),
        (Some(Err(denied())), &["PSA699"]),
        (None, &[]),
    ] {
        let observed = ObservedEvents { mapping, ..with_queues(empty()) };
        assert_eq!(codes(&judge(&root(), &of(&[]), &observed)), found, "{observed:?}");
    }
}

#[test]
fn rules_are_there_enabled_as_wanted_and_send_to_the_queue() {
    let queue = "psa-task-events";
    let elsewhere = |arn: &str| rule_to(true, arn);
    for (own, workers, state, found) in [
        (rule(true, queue), rule(false, queue), "DISABLED", &[][..]),
        (rule(true, queue), rule(true, queue), "ENABLED", &[]),
        (rule(true, queue), rule(false, queue), "ENABLED", &["PSA602"]),
        (rule(false, queue), rule(false, queue), "DISABLED", &["PSA602"]),
        (rule(true, "psa-task-events-2"), rule(false, queue), "DISABLED", &["PSA603"]),
        (rule(true, "x-psa-task-events"), rule(false, queue), "DISABLED", &["PSA603"]),
        (rule(true, ""), rule(false, queue), "DISABLED", &["PSA603"]),
        (elsewhere("arn:aws:sqs:us-east-1:210987654321:psa-task-events"), rule(false, queue), "DISABLED", &["PSA603"]),
        (elsewhere("arn:aws:sns:us-east-1:123456789012:psa-task-events"), rule(false, queue), "DISABLED", &["PSA603"]),
        (elsewhere("psa-task-events"), rule(false, queue), "DISABLED", &["PSA603"]),
        (calling(true, queue), rule(false, queue), "DISABLED", &["PSA603"]),
        (Ok(None), rule(false, queue), "DISABLED", &["PSA601"]),
        (Err(denied()), rule(false, queue), "DISABLED", &["PSA699"]),
    ] {
        let observed = ObservedEvents { own_tasks: own, workers_tasks: workers, ..with_queues(empty()) };
        let looked = judge(&root(), &of(&[("WorkersTasksState", state)]), &observed);
        assert_eq!(codes(&looked), found, "{observed:?}");
        let well =
            looked.well.iter().any(|(_, line)| line == "rule own: enabled, and sends to the queue psa-task-events");
        assert_eq!(well, observed.own_tasks == rule(true, queue), "{looked:?}");
    }
}

#[test]
fn the_rules_of_a_stack_from_before_the_queue_call_the_function() {
    let function = "psa-task-events";
    for (own, failures, found) in [
        (calling(true, function), Ok(Some(0)), &[][..]),
        (calling(false, function), Ok(Some(0)), &["PSA602"]),
        (calling(true, "psa-task-events-2"), Ok(Some(0)), &["PSA603"]),
        (calling(true, "x-psa-task-events"), Ok(Some(0)), &["PSA603"]),
        (rule(true, function), Ok(Some(0)), &["PSA603"]),
        (Ok(None), Ok(Some(0)), &["PSA601"]),
        (calling(true, function), Ok(Some(1)), &["PSA604"]),
        (calling(true, function), Ok(None), &["PSA601"]),
    ] {
        let queues = vec![(FAILURES, failures)];
        let observed =
            ObservedEvents { own_tasks: own, workers_tasks: calling(false, function), mapping: None, queues };
        let looked = judge(&root(), &former(&[]), &observed);
        assert_eq!(codes(&looked), found, "{observed:?}");
        let well =
            looked.well.iter().any(|(_, line)| line == "rule own: enabled, and calls the function psa-task-events");
        assert_eq!(well, observed.own_tasks == calling(true, function), "{looked:?}");
    }
}

#[test]
fn a_stack_is_judged_by_its_own_version_also_in_the_midst_of_an_update() {
    assert_eq!((EventRoute::of(&of(&[])), EventRoute::of(&former(&[]))), (BY_QUEUE, DIRECT));
    let mut updating = former(&[]);
    updating.resources.insert(QUEUE.into(), QUEUES.into());
    assert_eq!(EventRoute::of(&updating), DIRECT, "the new rules are not there yet");
    updating.resources.insert(OWN_TASKS.into(), "psa-own-tasks".into());
    assert_eq!(EventRoute::of(&updating), BY_QUEUE);
    assert_eq!(EventRoute::of(&stack(&[], &[])), BY_QUEUE);
}

#[test]
fn what_could_not_be_told_is_counted_and_its_queue_is_named() {
    for id in [DEAD_LETTERS, FAILURES] {
        for (waiting, found) in
            [(Ok(Some(0)), &[][..]), (Ok(Some(1)), &["PSA604"]), (Ok(None), &["PSA601"]), (Err(denied()), &["PSA699"])]
        {
            let queues = empty().into_iter().map(|(one, empty)| (one, if one == id { waiting.clone() } else { empty }));
            let (stack, observed) = (of(&[]), with_queues(queues.collect()));
            let looked = judge(&root(), &stack, &observed);
            assert_eq!(codes(&looked), found, "{observed:?}");
            if waiting == Ok(Some(1)) {
                let finding = looked.findings.first().map(|one| (one.subject.as_str(), one.mend.as_str()));
                let subject = format!("queue {}", stack.resource(id).unwrap_or_default());
                assert_eq!(finding, Some((subject.as_str(), "prefect-serverless-agent redrive --root /psa/test")));
            }
        }
    }
    let both = vec![(QUEUE, Ok(Some(0))), (DEAD_LETTERS, Ok(Some(2))), (FAILURES, Ok(Some(1)))];
    assert_eq!(codes(&judge(&root(), &of(&[]), &with_queues(both))), ["PSA604", "PSA604"]);
}

#[test]
fn what_waits_for_its_turn_is_no_finding_and_no_queue_at_all_is_one() {
    for (waiting, found, well) in [
        (Ok(Some(0)), &[][..], Some("the queue of events is empty")),
        (Ok(Some(7)), &[], Some("the queue of events has 7 events, each to be told in its turn")),
        (Ok(None), &["PSA601"], None),
        (Err(denied()), &["PSA699"], None),
    ] {
        let queues = vec![(QUEUE, waiting), (DEAD_LETTERS, Ok(Some(0))), (FAILURES, Ok(Some(0)))];
        let looked = judge(&root(), &of(&[]), &with_queues(queues));
        assert_eq!(codes(&looked), found, "{looked:?}");
        let line =
            looked.well.iter().map(|(_, line)| line.as_str()).find(|line| line.starts_with("the queue of events"));
        assert_eq!(line, well);
    }
}

#[test]
fn events_that_wait_for_their_turn_count_too() {
    let of = |attributes: &Value| counted_in(&json!({"Attributes": attributes}));
    let visible = "ApproximateNumberOfMessages";
    assert_eq!(of(&json!({visible: "2"})), Ok(2));
    let hidden =
        json!({visible: "2", "ApproximateNumberOfMessagesNotVisible": "30", "ApproximateNumberOfMessagesDelayed": "4"});
    assert_eq!(of(&hidden), Ok(36));
    for lacking in [
        json!({}),
        json!({visible: 2}),
        json!({"ApproximateNumberOfMessagesDelayed": "2"}),
        json!({visible: "two"}),
        json!({visible: "2", "ApproximateNumberOfMessagesDelayed": null}),
    ] {
        assert!(matches!(of(&lacking), Err(AwsError::Malformed(_))), "{lacking}");
    }
}

#[test]
fn queues_that_may_not_be_asked_are_said_once() {
    let queues = vec![(QUEUE, Err(denied())), (DEAD_LETTERS, Err(denied())), (FAILURES, Err(denied()))];
    assert_eq!(codes(&judge(&root(), &of(&[]), &with_queues(queues))), ["PSA699"]);
}

fn elsewhere(config: &str) -> Elsewhere {
    let home = Home::new(Ok("123456789012".into()), "us-east-1");
    Elsewhere::of(&home, &agents(config), &[])
}

#[test]
fn accounts_that_are_launched_in_are_let_in() {
    let home = Home::new(Ok("123456789012".into()), "us-east-1");
    let elsewhere = elsewhere(&format!("{CONFIG}assume_role_arn: arn:aws:iam::210987654321:role/prefect\n"));
    for (let_in, found) in [("", &["PSA605"][..]), ("111111111111", &["PSA605"]), ("111111111111, 210987654321", &[])] {
        let looked = judge_elsewhere(&of(&[("ForwardingAccountIds", let_in)]), &home, &elsewhere, &BTreeMap::new());
        assert_eq!(codes(&looked), found, "{let_in}");
        if let_in == "111111111111" {
            let mend = &looked.findings.first().map(|finding| finding.mend.clone()).unwrap_or_default();
            assert!(mend.contains("ForwardingAccountIds=111111111111,210987654321"), "{mend}");
        }
    }
}

#[test]
fn a_rule_of_each_region_sends_events_here() {
    let home = Home::new(Ok("123456789012".into()), "us-east-1");
    let [own, other] = ["us-east-1", "eu-west-1"].map(|region| {
        let mut elsewhere = Elsewhere::default();
        elsewhere.add(&home, Some("123456789012"), region, "etl/nightly".to_owned());
        elsewhere
    });
    assert_eq!(own, Elsewhere::default());
    for (seen, found) in [(Ok(true), &[][..]), (Ok(false), &["PSA605"]), (Err(denied()), &["PSA699"])] {
        let seen = [("eu-west-1".to_owned(), seen)].into();
        assert_eq!(codes(&judge_elsewhere(&of(&[]), &home, &other, &seen)), found, "{seen:?}");
    }
}

#[test]
fn an_account_that_is_not_known_is_no_other_one() {
    let home = Home::new(Err("no credentials".into()), "us-east-1");
    let mut elsewhere = Elsewhere::default();
    elsewhere.add(&home, Some("210987654321"), "us-east-1", "etl/nightly".to_owned());
    elsewhere.add(&home, None, "eu-west-1", "etl/nightly".to_owned());
    assert_eq!(elsewhere, Elsewhere::default());
}
