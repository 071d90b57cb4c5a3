#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::aws::ecs::Failure;
use crate::platform::ecs::Words;
use crate::platform::ecs::testing::{RUN, no_answer, object, refused, started};
use serde_json::{Map, Value, json};

/// What a row of the table expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Throttled,
    Capacity,
    Server,
    Agent,
    Permanent,
    Inactive,
    Unknown,
}
use Kind::{Agent, Capacity, Inactive, Permanent, Server, Throttled, Unknown};

fn kind(outcome: &LaunchOutcome) -> Kind {
    match outcome {
        LaunchOutcome::Transient { cause: TransientCause::Throttled, .. } => Throttled,
        LaunchOutcome::Transient { cause: TransientCause::Capacity, .. } => Capacity,
        LaunchOutcome::Transient { cause: TransientCause::Server, .. } => Server,
        LaunchOutcome::AgentTrouble(_) => Agent,
        LaunchOutcome::Permanent(_) => Permanent,
        LaunchOutcome::Outdated(_) => Inactive,
        LaunchOutcome::Unknown(_) => Unknown,
        other => panic!("no outcome of a refusal: {other:?}"),
    }
}

fn outcome_of(
    answer: Result<RunTaskAnswer, AwsError>,
    run_sets: &[&str],
    run_task: &Map<String, Value>,
) -> LaunchOutcome {
    let run_sets: Vec<String> = run_sets.iter().map(|key| (*key).to_owned()).collect();
    match classify(answer, &Origin { flow_run_id: RUN, run_sets: &run_sets, run_task, words: Words::default() }) {
        Verdict::NoTask(outcome) => outcome,
        verdict => panic!("there is a task: {verdict:?}"),
    }
}

fn outcome(error: AwsError, run_sets: &[&str]) -> LaunchOutcome {
    outcome_of(Err(error), run_sets, &Map::new())
}

const CLUSTER: &str = "arn:aws:ecs:eu-west-1:1:cluster/c";

fn failed(failures: &[(&str, &str, &str)], run_sets: &[&str]) -> LaunchOutcome {
    let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let failures = failures
        .iter()
        .map(|(arn, reason, detail)| Failure { arn: part(arn), reason: part(reason), detail: part(detail) })
        .collect();
    outcome_of(Ok(RunTaskAnswer { tasks: vec![], failures }), run_sets, &Map::new())
}

fn text(outcome: &LaunchOutcome) -> &str {
    match outcome {
        LaunchOutcome::Permanent(text) | LaunchOutcome::AgentTrouble(text) | LaunchOutcome::Unknown(text) => text,
        LaunchOutcome::Transient { reason, .. } => reason,
        other => panic!("no text: {other:?}"),
    }
}

const DENIED: &str = "User: arn:aws:sts::1:assumed-role/agent/x is not authorized to perform";
const PARAMETER: &str = "InvalidParameterException";

/// Status, code, message, keys the run set, outcome.
type Row = (u16, &'static str, &'static str, &'static [&'static str], Kind);

const REFUSALS: &[Row] = &[
    // Throttling in all its disguises.
    (400, "ThrottlingException", "Rate exceeded", &[], Throttled),
    (400, "Throttling", "", &[], Throttled),
    (400, "TooManyRequestsException", "", &[], Throttled),
    (400, "TooManyRequests", "", &[], Throttled),
    (503, "RequestLimitExceeded", "", &[], Throttled),
    (429, "", "", &[], Throttled),
    (400, PARAMETER, "Rate exceeded", &["cluster"], Throttled),
    (400, "ClientException", "Rate exceeded.", &[], Throttled),
    (500, "ServerException", "Rate exceeded", &[], Throttled),
    (
        400,
        "ClientException",
        "Too many concurrent attempts to create a new revision of the specified family.",
        &[],
        Throttled,
    ),
    // Capacity.
    (
        400,
        "ClientException",
        "Capacity is unavailable at this time. Please try again later or in a different availability zone",
        &[],
        Capacity,
    ),
    (500, "ServerException", "Capacity is unavailable at this time.", &[], Capacity),
    (400, PARAMETER, "No Container Instances were found in your cluster.", &[], Capacity),
    (400, "ClientException", "You've reached the limit on the number of vCPUs you can run concurrently", &[], Capacity),
    // AWS has trouble.
    (500, "ServerException", "Service Unavailable. Please try again later.", &[], Server),
    (503, "ServiceUnavailableException", "", &[], Server),
    (503, "ServiceUnavailable", "", &[], Server),
    (500, "InternalFailure", "", &[], Server),
    (504, "Whatever", "", &["cluster"], Server),
    (400, "ServerException", "", &[], Server),
    (408, "RequestTimeout", "", &[], Server),
    // Who asks.
    (400, "AccessDeniedException", "", &[], Agent),
    (403, "AccessDenied", "", &[], Agent),
    (400, "UnrecognizedClientException", "The security token included in the request is invalid.", &["cluster"], Agent),
    (403, "ExpiredTokenException", "", &["cluster"], Agent),
    (403, "ExpiredToken", "", &["cluster"], Agent),
    (403, "InvalidClientTokenId", "", &["cluster"], Agent),
    (403, "SignatureDoesNotMatch", "", &["cluster"], Agent),
    (403, "", "", &["cluster"], Agent),
    (400, "UnknownOperationException", "", &["cluster"], Agent),
    (404, "", "", &["cluster"], Agent),
    (400, "", "<html>Bad Request</html>", &["cluster"], Agent),
    // Who may not do what: permissions may be limited to some clusters.
    (
        400,
        "AccessDeniedException",
        "… not authorized to perform: ecs:RunTask on resource: arn:aws:ecs:r:1:task-definition/f:1",
        &[],
        Agent,
    ),
    (
        400,
        "AccessDeniedException",
        "… not authorized to perform: ecs:RunTask on resource: arn:aws:ecs:r:1:task-definition/f:1",
        &["cluster"],
        Permanent,
    ),
    // A definition of another account is refused whatever the agent's permissions; one of its own is the agent's matter.
    (
        400,
        "AccessDeniedException",
        "User: arn:aws:sts::1:assumed-role/agent/x is not authorized to perform: ecs:RunTask on resource: arn:aws:ecs:r:2:task-definition/f:1",
        &["taskDefinition"],
        Permanent,
    ),
    (
        400,
        "AccessDeniedException",
        "User: arn:aws:sts::1:assumed-role/agent/x is not authorized to perform: ecs:RunTask on resource: arn:aws:ecs:r:1:task-definition/f:1",
        &["taskDefinition"],
        Agent,
    ),
    (400, "AccessDeniedException", "… not authorized to perform: ecs:TagResource on resource: x", &["cluster"], Agent),
    (400, "AccessDeniedException", "… not authorized to perform: ecs:TagResource on resource: x", &["tags"], Permanent),
    // The cluster.
    (400, "ClusterNotFoundException", "Cluster not found.", &[], Agent),
    (400, "ClusterNotFoundException", "Cluster not found.", &["networkConfiguration"], Agent),
    (400, "ClusterNotFoundException", "Cluster not found.", &["cluster"], Permanent),
    // The network.
    (
        400,
        PARAMETER,
        "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does not exist (ErrorCode: InvalidSubnetID.NotFound)",
        &[],
        Agent,
    ),
    (400, PARAMETER, "The subnet ID 'subnet-1' does not exist", &["cluster"], Agent),
    (400, PARAMETER, "The subnet ID 'subnet-1' does not exist", &["networkConfiguration"], Permanent),
    (400, "InvalidSubnet", "", &[], Agent),
    (400, PARAMETER, "The security group 'sg-1' does not exist", &[], Agent),
    (400, PARAMETER, "The security group 'sg-1' does not exist", &["networkConfiguration"], Permanent),
    (400, PARAMETER, "security groups [sg-1] and subnets do not belong to the same VPC", &[], Agent),
    (400, PARAMETER, "Network Configuration must be provided when networkMode 'awsvpc' is specified.", &[], Agent),
    (
        400,
        PARAMETER,
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        &["taskDefinition"],
        Permanent,
    ),
    (
        400,
        PARAMETER,
        "Network Configuration is not valid for the given networkMode of this task definition.",
        &["launchType"],
        Permanent,
    ),
    // Capacity providers that are not there are no want of capacity.
    (400, PARAMETER, "The specified capacity provider 'x' was not found.", &[], Agent),
    (400, PARAMETER, "The specified capacity provider 'x' was not found.", &["capacityProviderStrategy"], Permanent),
    (
        400,
        PARAMETER,
        "Specifying both a launch type and capacity provider strategy is not supported.",
        &["launchType"],
        Permanent,
    ),
    // The definition.
    (400, "ClientException", "TaskDefinition is inactive", &["taskDefinition"], Inactive),
    (400, PARAMETER, "TaskDefinition is inactive", &[], Inactive),
    (400, "ClientException", "TaskDefinition not found.", &[], Inactive),
    // Roles that nobody can find in the request.
    (400, "ClientException", "Role is not valid", &[], Agent),
    (400, "ClientException", "Role is not valid", &["overrides.taskRoleArn"], Permanent),
    (400, "ClientException", "Role is not valid", &["taskDefinition"], Permanent),
    // The rest is what the run says.
    (
        400,
        "ClientException",
        "No Fargate configuration exists for given values: 256 CPU, 99999 memory.",
        &[],
        Permanent,
    ),
    (400, PARAMETER, "Override for container named x is not a container in the TaskDefinition.", &[], Permanent),
    (400, "ClientException", "Container.image should not be null or empty.", &[], Permanent),
    (400, "SerializationException", "STRING_VALUE can not be converted", &[], Permanent),
    (400, "UnsupportedFeatureException", "", &[], Permanent),
    (400, "PlatformUnknownException", "", &[], Permanent),
    (400, "ValidationException", "", &[], Permanent),
];

#[test]
fn every_refusal_is_what_the_table_says() {
    let wrong: Vec<String> = REFUSALS
        .iter()
        .filter_map(|(status, code, message, run_sets, expected)| {
            let outcome = outcome(refused(*status, code, message), run_sets);
            (kind(&outcome) != *expected)
                .then(|| format!("{status} {code}: {message} {run_sets:?}\n  wanted {expected:?}, got {outcome:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_sent_and_not_answered_is_unknown() {
    assert_eq!(kind(&outcome(no_answer(), &[])), Unknown);
    assert_eq!(kind(&outcome(AwsError::Malformed("no JSON".into()), &[])), Unknown);
    assert_eq!(kind(&outcome(refused(502, "", "<html>"), &[])), Unknown, "a proxy's word, not that of ECS");
}

#[test]
fn what_was_not_sent_is_known() {
    assert_eq!(kind(&outcome(AwsError::NotSent("refused".into()), &[])), Server);
    assert_eq!(kind(&outcome(AwsError::Credentials("none".into()), &["cluster"])), Agent);
}

#[test]
fn other_calls_start_nothing_so_no_answer_is_transient() {
    let origin = Origin { flow_run_id: RUN, ..Origin::nobodys() };
    for error in [no_answer(), AwsError::Malformed("x".into()), AwsError::NotSent("x".into())] {
        let outcome = refusal("RegisterTaskDefinition", error, &origin);
        assert_eq!(kind(&outcome), Server);
        assert!(text(&outcome).starts_with("RegisterTaskDefinition: "), "{outcome:?}");
    }
}

#[test]
fn a_task_counts_even_beside_failures() {
    let mut answer = started("arn:t1");
    answer.failures = vec![Failure { reason: Some("RESOURCE:CPU".into()), ..Failure::default() }];
    let origin = Origin { flow_run_id: RUN, ..Origin::nobodys() };
    let task = answer.tasks[0].clone();
    assert_eq!(classify(Ok(answer), &origin), Verdict::Task(task));
}

#[test]
fn a_conflict_names_the_tasks_that_the_token_started() {
    let conflict = |resource_ids: Vec<String>| AwsError::Answer {
        status: 400,
        code: "ConflictException".into(),
        message: "The request conflicts with an earlier one".into(),
        resource_ids,
    };
    let origin = Origin { flow_run_id: RUN, ..Origin::nobodys() };
    let arns = vec!["arn:t1".to_owned()];
    assert_eq!(classify(Err(conflict(arns.clone())), &origin), Verdict::AlreadyStarted(arns));
    assert_eq!(kind(&outcome(conflict(vec![]), &[])), Unknown, "a task exists, but which?");
}

#[test]
fn every_failure_is_what_the_table_says() {
    let table: &[(&str, &str, &str, &[&str], Kind)] = &[
        ("arn:x", "RESOURCE:MEMORY", "", &[], Capacity),
        ("arn:x", "RESOURCE:ENI", "", &[], Capacity),
        ("arn:x", "RESOURCE:CPU", "", &[], Capacity),
        ("arn:x", "RESOURCE", "", &[], Capacity),
        ("arn:x", "AGENT", "", &[], Capacity),
        ("", "Capacity is unavailable at this time. Please try again later", "", &[], Capacity),
        ("", "x", "No capacity provider has room", &[], Capacity),
        ("", "You've reached the limit on the number of tasks you can run concurrently", "", &[], Capacity),
        ("", "Rate exceeded", "", &[], Throttled),
        ("arn:x", "ATTRIBUTE", "", &[], Permanent),
        ("arn:aws:ecs:eu-west-1:1:container-instance/c/i", "MISSING", "", &[], Capacity),
        ("arn:aws:ecs:eu-west-1:1:container-instance/c/i", "INACTIVE", "", &[], Capacity),
        ("arn:aws:ecs:eu-west-1:1:task-definition/f:1", "INACTIVE", "", &[], Inactive),
        ("arn:aws:ecs:eu-west-1:1:task-definition/f:1", "MISSING", "", &[], Inactive),
        (CLUSTER, "MISSING", "", &[], Agent),
        (CLUSTER, "INACTIVE", "", &["cluster"], Permanent),
        ("arn:x", "something new", "", &[], Permanent),
        ("", "", "", &[], Permanent),
    ];
    for (arn, reason, detail, run_sets, expected) in table {
        let outcome = failed(&[(arn, reason, detail)], run_sets);
        assert_eq!(kind(&outcome), *expected, "{arn} {reason} {detail} {run_sets:?}: {outcome:?}");
    }
}

#[test]
fn a_failure_for_good_says_what_helps_in_the_words_of_whoever_asked() {
    for (reason, helps) in [
        ("ATTRIBUTE", "relax its placement constraints and attributes"),
        ("MISSING", "Check `cluster` in the run's `run_task_kwargs`."),
        ("INACTIVE", "Check `cluster` in the run's `run_task_kwargs`."),
        ("SOMETHING", "Check the run's configuration against the reason that ECS gives"),
    ] {
        let LaunchOutcome::Permanent(text) = failed(&[(CLUSTER, reason, "")], &["cluster"]) else { panic!("{reason}") };
        assert!(text.contains(helps), "{reason}: {text}");
    }
    let missing = [Failure { reason: Some("MISSING".into()), ..Failure::default() }];
    assert_eq!(remedy_of_failures(&missing, Words::Worker), "Check `cluster` in the job variables.");
}

#[test]
fn several_failures_are_permanent_only_if_none_can_pass() {
    assert_eq!(kind(&failed(&[("a", "ATTRIBUTE", ""), ("b", "RESOURCE:CPU", "")], &[])), Capacity);
    assert_eq!(kind(&failed(&[("a", "ATTRIBUTE", ""), ("b", "ATTRIBUTE", "")], &[])), Permanent);
}

/// Failures (ARN, reason, detail) and Python's text for them.
type Case = (&'static [(&'static str, &'static str, &'static str)], &'static str);

#[test]
fn failures_are_told_in_the_words_of_the_python_agent() {
    let start = "Failed to start task for flow run 9f3d1c8e-7a65-4c43-a0b1-2d3e4f506172. Failures: ";
    let cases: [Case; 3] = [
        (&[("arn:x", "RESOURCE:MEMORY", "")], "[{'arn': 'arn:x', 'reason': 'RESOURCE:MEMORY'}]"),
        (&[("", "a", ""), ("", "b", "c")], "[{'reason': 'a'}, {'reason': 'b', 'detail': 'c'}]"),
        (&[("", "it's", "a \"b\" 'c'\n\\")], r#"[{'reason': "it's", 'detail': 'a "b" \'c\'\n\\'}]"#),
    ];
    for (failures, expected) in cases {
        let outcome = failed(failures, &[]);
        assert!(text(&outcome).starts_with(&format!("{start}{expected}")), "{outcome:?}");
    }
}

#[test]
fn an_answer_without_tasks_and_failures_says_nothing() {
    let outcome = failed(&[], &[]);
    assert_eq!(kind(&outcome), Unknown, "the task may run");
    assert!(text(&outcome).contains("neither a task nor a failure"), "{outcome:?}");
}

#[test]
fn a_role_is_the_runs_fault_when_the_run_named_it() {
    let message =
        format!("{DENIED}: iam:PassRole on resource: arn:aws:iam::1:role/path/mine because no policy allows it");
    let denied = || Err(refused(400, "AccessDeniedException", &message));
    let overrides = |value: Value| object(json!({"overrides": value}));
    let cases: [(Value, &[&str], Kind); 7] = [
        (json!({"taskRoleArn": "arn:aws:iam::1:role/path/mine"}), &["overrides.taskRoleArn"], Permanent),
        (json!({"taskRoleArn": "mine"}), &["overrides.taskRoleArn"], Permanent),
        (json!({"executionRoleArn": "mine"}), &["overrides.executionRoleArn"], Permanent),
        (json!({"executionRoleArn": "mine"}), &["overrides.taskRoleArn", "taskDefinition"], Agent),
        (json!({"taskRoleArn": "mine"}), &[], Agent),
        (json!({}), &["taskDefinition"], Permanent),
        (json!({}), &["cluster"], Agent),
    ];
    for (roles, run_sets, expected) in cases {
        let outcome = outcome_of(denied(), run_sets, &overrides(roles.clone()));
        assert_eq!(kind(&outcome), expected, "{roles} {run_sets:?}: {outcome:?}");
        assert!(text(&outcome).contains("Let the agent's role pass this role"), "{outcome:?}");
    }
    let assume = "ECS was unable to assume the role 'arn:aws:iam::1:role/mine' that was provided for this task.";
    let run_task = overrides(json!({"taskRoleArn": "arn:aws:iam::1:role/mine"}));
    let outcome = outcome_of(Err(refused(400, "ClientException", assume)), &["overrides.taskRoleArn"], &run_task);
    assert_eq!(kind(&outcome), Permanent);
    assert!(text(&outcome).contains("ecs-tasks.amazonaws.com may assume it"), "{outcome:?}");
}

#[test]
fn permanent_failures_say_what_aws_said_and_what_to_do() {
    let cases = [
        ("No Fargate configuration exists for given values: 256 CPU, 9 memory.", "cpu and memory pair"),
        ("Invalid 'memory' setting for task.", "cpu and memory pair"),
        ("Container.image contains invalid characters.", "name of the image"),
        ("Container Overrides length must be at most 8192", "8192 characters"),
        ("Override for container named x is not a container in the TaskDefinition.", "Name only containers"),
        (
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
            "execution_role_arn",
        ),
        ("Task definition does not support launch_type FARGATE.", "requiresCompatibilities"),
        ("The subnet ID 'subnet-1' does not exist", "Correct the subnets"),
        ("Something new", "Correct the run's configuration"),
    ];
    for (message, remedy) in cases {
        let outcome = outcome(refused(400, "ClientException", message), &["networkConfiguration", "taskDefinition"]);
        let text = text(&outcome);
        let said = message.trim_end_matches('.');
        let start = format!("An error occurred (ClientException) when calling the RunTask operation: {said}. ");
        assert_eq!(kind(&outcome), Permanent, "{message}");
        assert!(text.starts_with(&start) && text.contains(remedy), "{text}");
    }
}
