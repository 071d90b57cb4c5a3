#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::platform::ecs::target::CHOSEN_ACCOUNT;
use crate::platform::ecs::testing::{no_answer, refused as answer};

const ONLY_FILTER: &str = "startedBy must be the only filter that is specified.";

fn invalid(message: &str) -> AwsError {
    answer(400, "InvalidParameterException", message)
}

#[test]
fn a_refused_list_of_stopped_tasks_is_a_warning_and_all_other_trouble_stays() {
    let arns = vec!["arn:t".to_owned()];
    assert_eq!(stopping_tasks(Ok(arns.clone())), Ok((arns, None)));
    for code in ["InvalidParameterException", "ClientException", "ValidationException", "UnsupportedFeatureException"] {
        let (tasks, warning) = stopping_tasks(Err(answer(400, code, ONLY_FILTER))).unwrap();
        let warning = warning.unwrap();
        assert!(tasks.is_empty() && warning.contains(ONLY_FILTER), "{code}: {warning}");
    }
    let others = [
        invalid("Rate exceeded"),
        answer(400, "ThrottlingException", "Rate exceeded"),
        answer(400, "AccessDeniedException", "not authorized to perform: ecs:ListTasks"),
        answer(400, "ExpiredTokenException", ""),
        answer(500, "ServerException", ""),
        AwsError::Malformed("ListTasks answered without taskArns".into()),
        no_answer(),
    ];
    for error in others {
        assert_eq!(stopping_tasks(Err(error.clone())), Err(error));
    }
}

#[test]
fn a_refused_list_of_running_tasks_is_the_agents_trouble_in_whatever_account() {
    let mut theirs = LaunchTarget::default();
    theirs.credentials.set_by_run = vec![CHOSEN_ACCOUNT.to_owned()];
    for target in [LaunchTarget::default(), theirs.clone()] {
        let outcome = refused_about_tasks("ListTasks", invalid(ONLY_FILTER), &target);
        assert!(matches!(&outcome, LaunchOutcome::AgentTrouble(text) if text.contains(ONLY_FILTER)), "{outcome:?}");
    }
    let denied = answer(400, "AccessDeniedException", "not authorized to perform: ecs:ListTasks");
    assert!(matches!(
        refused_about_tasks("ListTasks", denied.clone(), &LaunchTarget::default()),
        LaunchOutcome::AgentTrouble(_)
    ));
    assert!(
        matches!(refused_about_tasks("ListTasks", denied, &theirs), LaunchOutcome::Permanent(_)),
        "their account, their policy"
    );
    assert!(matches!(refused_about_tasks("ListTasks", no_answer(), &theirs), LaunchOutcome::Transient { .. }));
}

#[test]
fn a_cluster_that_is_none_is_told_by_the_launch() {
    for error in [
        answer(400, "ClusterNotFoundException", "Cluster not found."),
        invalid("Invalid identifier: Identifier is for eu-west-1. Your endpoint is us-east-1"),
        invalid("Invalid identifier: Unexpected number of separators"),
    ] {
        assert!(is_about_cluster(&error), "{error}");
    }
    for error in [invalid(ONLY_FILTER), no_answer(), answer(400, "AccessDeniedException", "identifier")] {
        assert!(!is_about_cluster(&error), "{error}");
    }
}
