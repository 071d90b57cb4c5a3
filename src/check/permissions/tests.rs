#![allow(clippy::unwrap_used, clippy::panic)]
use super::super::Severity;
use super::super::testing::{codes, home, launch, root, stack, survey};
use super::*;
use serde_json::json;

fn all(definition: &serde_json::Value, run_task: &serde_json::Value, stack: &Stack) -> Vec<Wanted> {
    let survey = survey(launch(definition, run_task));
    wanted(&root(), &home(), stack, &[&survey])
}

fn stock() -> (Stack, Vec<Wanted>) {
    let resources = [("PollRole", "psa-PollRole-1"), ("TaskEventsRole", "psa-TaskEventsRole-1")];
    let stack = stack(&[("PassableRoleArns", "arn:aws:iam::1:role/a")], &resources);
    let definition = json!({
        "family": "flows", "executionRoleArn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole",
        "containerDefinitions": [
            {"name": "flow", "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/company", "awslogs-stream-prefix": "p"}}},
            {"name": "side", "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/side"}}}],
    });
    let wanted = all(&definition, &json!({"cluster": "prefect"}), &stack);
    (stack, wanted)
}

#[test]
fn the_requests_of_a_launch_are_asked_for_with_their_context() {
    let (_, wanted) = stock();
    let ecs = |resource: &str| format!("arn:aws:ecs:us-east-1:123456789012:{resource}");
    let has = |action: &str, resource: &str, context: Option<(&'static str, &str)>| {
        let context = context.map(|(key, value)| (key, value.to_owned()));
        let is_it = |one: &&Wanted| one.action == action && one.resource == resource && one.context == context;
        assert!(wanted.iter().any(|one| is_it(&one)), "{action} {resource}: {wanted:#?}");
    };
    let cluster = ecs("cluster/prefect");
    has("ecs:RunTask", &ecs("task-definition/flows:1"), Some(("ecs:cluster", &cluster)));
    has("ecs:ListTasks", "*", Some(("ecs:cluster", &cluster)));
    has("ecs:RegisterTaskDefinition", &ecs("task-definition/flows:1"), None);
    has("ecs:TagResource", &ecs("task-definition/flows:1"), Some(("ecs:CreateAction", "RegisterTaskDefinition")));
    let role = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole";
    has("iam:PassRole", role, Some(("iam:PassedToService", "ecs-tasks.amazonaws.com")));
    has("ssm:PutParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/psa/test/state/etl/status", None);
    let group = "arn:aws:logs:us-east-1:123456789012:log-group:/company:log-stream:prefect/flow/0123456789abcdef";
    has("logs:GetLogEvents", group, None);
    assert!(!wanted.iter().any(|one| one.resource.contains("/side")), "nobody reads the logs of other containers");
    assert!(!wanted.iter().any(|one| one.action.starts_with("ec2:")), "no network is looked up");
}

#[test]
fn what_is_denied_names_the_parameter_of_the_stack_with_all_that_it_must_hold() {
    let (stack, wanted) = stock();
    let decisions = |action: &str, decision: &SimulatedDecision| -> Vec<SimulatedDecision> {
        let of = |one: &Wanted| if one.action == action { decision.clone() } else { SimulatedDecision::Allowed };
        wanted.iter().map(of).collect()
    };
    for (action, decision, found) in [
        ("nothing", SimulatedDecision::Implicit, &[][..]),
        ("iam:PassRole", SimulatedDecision::Implicit, &["PSA302"]),
        ("iam:PassRole", SimulatedDecision::Explicit, &["PSA302"]),
        ("ecs:RunTask", SimulatedDecision::Implicit, &["PSA301"]),
        ("logs:GetLogEvents", SimulatedDecision::Implicit, &["PSA303"]),
        ("ecs:TagResource", SimulatedDecision::Implicit, &["PSA307"]),
        ("ssm:GetParametersByPath", SimulatedDecision::Implicit, &["PSA307", "PSA307"]),
        ("iam:PassRole", SimulatedDecision::Unknown("no".into()), &["PSA399"]),
    ] {
        let looked = judge(&stack, &home(), &wanted, &decisions(action, &decision));
        assert_eq!(codes(&looked), found, "{action} {decision:?}");
    }
    let looked = judge(&stack, &home(), &wanted, &decisions("iam:PassRole", &SimulatedDecision::Implicit));
    let finding = looked.findings.first().unwrap();
    assert_eq!(finding.subject, "role psa-PollRole-1");
    let holds = "PassableRoleArns=arn:aws:iam::123456789012:role/ecsTaskExecutionRole,arn:aws:iam::1:role/a";
    assert!(finding.mend.ends_with(holds), "{}", finding.mend);
    let of_logs = judge(&stack, &home(), &wanted, &decisions("logs:GetLogEvents", &SimulatedDecision::Implicit));
    assert_eq!(of_logs.findings[0].severity, Severity::Warning, "runs start without it");
    let looked = judge(&stack, &home(), &wanted, &decisions("iam:PassRole", &SimulatedDecision::Explicit));
    assert!(looked.findings.first().unwrap().mend.contains("boundary"));
}

/// Whoever deploys what the line says must not take from other runs what they have.
#[test]
fn what_a_setting_of_the_stack_allows_is_mended_by_it() {
    let (stack, wanted) = stock();
    let deregister = "ecs:DeregisterTaskDefinition";
    assert!(!wanted.iter().any(|one| one.action == deregister), "no pool asks for it");
    let mut launch = launch(&json!({"family": "flows"}), &json!({"cluster": "prefect"}));
    launch.rendered.as_mut().unwrap().deregisters = true;
    let wanted = super::wanted(&root(), &home(), &stack, &[&survey(launch)]);
    let denied = |one: &Wanted| {
        if one.action == deregister { SimulatedDecision::Implicit } else { SimulatedDecision::Allowed }
    };
    let looked = judge(&stack, &home(), &wanted, &wanted.iter().map(denied).collect::<Vec<_>>());
    let [finding] = &looked.findings[..] else { panic!("{looked:?}") };
    assert!(finding.sentence.contains(deregister), "{finding:?}");
    assert!(finding.mend.ends_with("DeregisterTaskDefinitions=ENABLED"), "{finding:?}");
}

#[test]
fn what_a_stack_allows_by_default_stays() {
    let (stack, wanted) = stock();
    let stack = Stack { parameters: [].into(), ..stack };
    let all = vec![SimulatedDecision::Implicit; wanted.len()];
    let looked = judge(&stack, &home(), &wanted, &all);
    for (name, arns) in [
        (
            "ClusterArns",
            &["arn:aws:ecs:us-east-1:123456789012:cluster/*", "arn:aws:ecs:us-east-1:123456789012:cluster/prefect"][..],
        ),
        (
            "PassableRoleArns",
            &[
                "arn:aws:iam::123456789012:role/ecsTaskExecutionRole",
                "arn:aws:iam::123456789012:role/prefect-serverless-agent/*",
            ],
        ),
        (
            "TaskLogArns",
            &[
                "arn:aws:logs:*:123456789012:log-group:/prefect/*:log-stream:*",
                "arn:aws:logs:*:123456789012:log-group:prefect*:log-stream:*",
                "arn:aws:logs:us-east-1:123456789012:log-group:/company:log-stream:*",
            ],
        ),
    ] {
        let written = format!("{name}={}", arns.join(","));
        assert!(looked.findings.iter().any(|finding| finding.mend.ends_with(&written)), "{written}: {looked:#?}");
    }
    let template = include_str!("../../../template.yaml");
    for (name, arns) in DEFAULTS {
        for arn in arns {
            assert!(template.contains(&format!("!Sub {arn}\n")), "template.yaml has no default {arn} of {name}");
        }
    }
}

/// Each line is deployed by itself: the last must not undo the first.
#[test]
fn two_lines_of_a_parameter_say_the_same() {
    let resources = [("PollRole", "psa-PollRole-1")];
    let stack = stack(&[], &resources);
    let definition = json!({"family": "flows", "executionRoleArn": "one", "taskRoleArn": "two"});
    let wanted = all(&definition, &json!({"cluster": "prefect"}), &stack);
    let of = |one: &Wanted| {
        if one.action == "iam:PassRole" { SimulatedDecision::Implicit } else { SimulatedDecision::Allowed }
    };
    let looked = judge(&stack, &home(), &wanted, &wanted.iter().map(of).collect::<Vec<_>>());
    let mends: BTreeSet<_> = looked.findings.iter().map(|finding| finding.mend.as_str()).collect();
    assert_eq!((looked.findings.len(), mends.len()), (2, 1), "{looked:#?}");
    assert!(mends.iter().all(|mend| mend.contains("role/one,") && mend.contains("role/two")), "{mends:?}");
}

#[test]
fn documents_and_other_accounts_are_asked_for() {
    let mut survey = survey(launch(&json!({"family": "flows"}), &json!({"cluster": "c"})));
    survey.needs.refers(Some("s3://bucket/definition.yaml"), "task_definition_path");
    survey.needs.refers(Some("ssm://company/ca"), "ca_bundle");
    let wanted = wanted(&root(), &home(), &stack(&[], &[]), &[&survey]);
    let remedy = |action: &str| wanted.iter().find(|one| one.action == action).map(|one| one.remedy.clone());
    let parameter = |name, arn: &str| Some(Remedy::Parameter(name, arn.to_owned()));
    assert_eq!(remedy("s3:GetObject"), parameter("S3ObjectArns", "arn:aws:s3:::bucket/definition.yaml"));
    let ca = "arn:aws:ssm:us-east-1:123456789012:parameter/company/ca";
    assert_eq!(remedy("ssm:GetParameter"), parameter("ExtraParameterArns", ca));
}

#[test]
fn what_is_done_with_the_queues_is_asked_for_as_far_as_the_stack_has_them() {
    let url = |name: &str| format!("https://sqs.us-east-1.amazonaws.com/123456789012/{name}");
    let (queue, failures) = (url("psa-task-events"), url("psa-task-events-failures"));
    let asked = |resources: &[(&str, &str)]| -> Vec<String> {
        let wanted = wanted(&root(), &home(), &stack(&[], resources), &[]);
        let of_queues = wanted.iter().filter(|one| one.action.starts_with("sqs:"));
        of_queues.map(|one| format!("{} {}", one.action, one.resource.rsplit(':').next().unwrap())).collect()
    };
    let before = [("TaskEventsFailures", failures.as_str())];
    assert_eq!(asked(&before), ["sqs:SendMessage psa-task-events-failures"]);
    let both = [("TaskEventsFailures", failures.as_str()), ("TaskEventsQueue", queue.as_str())];
    assert_eq!(
        asked(&both),
        [
            "sqs:ChangeMessageVisibility psa-task-events",
            "sqs:DeleteMessage psa-task-events",
            "sqs:GetQueueAttributes psa-task-events",
            "sqs:ReceiveMessage psa-task-events",
            "sqs:SendMessage psa-task-events",
            "sqs:SendMessage psa-task-events-failures",
        ]
    );
    assert_eq!(asked(&[]), Vec::<String>::new());
}

#[test]
fn an_answer_is_read_by_the_resource_that_it_names() {
    let answer = |resource: &str, said: &str| {
        Ok(json!({"EvaluationResults": [{"EvalResourceName": resource, "EvalDecision": said}]}))
    };
    assert_eq!(decision(&answer("*", "allowed"), "ecs:RunTask", "*"), SimulatedDecision::Allowed);
    assert_eq!(decision(&answer("*", "implicitDeny"), "ecs:RunTask", "*"), SimulatedDecision::Implicit);
    assert_eq!(decision(&answer("*", "explicitDeny"), "ecs:RunTask", "*"), SimulatedDecision::Explicit);
    for odd in [answer("arn", "allowed"), answer("*", "perhaps"), Ok(json!({})), Err(super::super::testing::denied())] {
        assert!(matches!(decision(&odd, "ecs:RunTask", "*"), SimulatedDecision::Unknown(_)), "{odd:?}");
    }
    let nested = Ok(
        json!({"EvaluationResults": [{"EvalResourceName": "a", "EvalDecision": "allowed", "ResourceSpecificResults": [
        {"EvalResourceName": "a", "EvalResourceDecision": "allowed"},
        {"EvalResourceName": "b", "EvalResourceDecision": "implicitDeny", "MissingContextValues": ["ecs:CreateAction"]},
        {"EvalResourceName": "c", "EvalResourceDecision": "explicitDeny", "MissingContextValues": ["aws:SourceVpc"]}]}]}),
    );
    assert_eq!(decision(&nested, "ecs:RunTask", "a"), SimulatedDecision::Allowed);
    assert_eq!(
        decision(&nested, "ecs:RunTask", "b"),
        SimulatedDecision::Implicit,
        "keys of other statements change nothing"
    );
    assert!(
        matches!(decision(&nested, "ecs:RunTask", "c"), SimulatedDecision::Unknown(why) if why.contains("aws:SourceVpc"))
    );
}

/// Parameter Store goes to KMS with more than the key's user says of itself.
#[test]
fn what_kms_is_told_besides_decides_nothing_here() {
    let answer = Ok(json!({"EvaluationResults": [{"EvalResourceName": "key", "EvalDecision": "implicitDeny",
        "MissingContextValues": ["kms:EncryptionContext:PARAMETER_ARN"]}]}));
    assert!(matches!(decision(&answer, "kms:Decrypt", "key"), SimulatedDecision::Unknown(why) if why.contains("kms:")));
    assert_eq!(decision(&answer, "ecs:RunTask", "key"), SimulatedDecision::Implicit);
}

#[test]
fn a_long_list_is_short() {
    assert_eq!(listed(["a"].into_iter()), "a");
    assert_eq!(listed(["a", "b", "c", "d"].into_iter()), "a, b and 2 more");
}

/// A line that is deployed as it stands must not allow what nobody asked for.
#[test]
fn what_would_allow_more_than_one_thing_is_in_no_line_to_deploy() {
    let resources = [("PollRole", "psa-PollRole-1")];
    let stack = stack(&[("PassableRoleArns", "arn:aws:iam::123456789012:role/a")], &resources);
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let wanted = |name: &str| Wanted {
        function: Function::Poll,
        action: "iam:PassRole",
        resource: role(name),
        context: None,
        remedy: Remedy::Parameter("PassableRoleArns", role(name)),
    };
    let wanted = [wanted("fine"), wanted("*"), wanted("b,arn:aws:iam::123456789012:role/Admin")];
    let all = vec![SimulatedDecision::Implicit; wanted.len()];
    let looked = judge(&stack, &home(), &wanted, &all);
    let mends: Vec<&str> = looked.findings.iter().map(|finding| finding.mend.as_str()).collect();
    let lines = mends.iter().filter(|mend| mend.contains("PassableRoleArns="));
    let ends: Vec<_> = lines.filter_map(|line| line.split_once("PassableRoleArns=")).map(|(_, arns)| arns).collect();
    assert_eq!(ends, [format!("{},{}", role("a"), role("fine"))], "{mends:?}");
    assert_eq!(mends.iter().filter(|mend| mend.contains("name one that exists")).count(), 2, "{mends:?}");
}
