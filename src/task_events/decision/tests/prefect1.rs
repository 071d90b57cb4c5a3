//! Prefect 1: runs are Failed, with a sentence and a remedy.

use crate::model::Generation::One;
use crate::model::{ClaimedBy, Phase, Run};
use crate::orchestrator::LogLevel;
use crate::task_events::decision::Action;
use crate::task_events::testing::{TASK_ARN, end_message, event, first_look, run, state_change, stopped};
use serde_json::json;
use std::time::Duration;

const ESSENTIAL: &str = "EssentialContainerExited";

#[test]
fn a_container_that_failed_fails_its_run_with_a_sentence_and_a_remedy() {
    let decision = first_look(&stopped(ESSENTIAL, "", &[("flow", Some(1), "")]), &run(Phase::Running), One);
    let message = format!("Container 'flow' exited with code 1. The container's log tells why. Task: {TASK_ARN}");
    assert_eq!(
        decision.actions,
        [Action::End { message: message.clone() }, Action::Log { level: LogLevel::Error, message }]
    );
}

#[test]
fn a_run_that_never_began_gets_the_containers_last_words() {
    let decision = first_look(&stopped(ESSENTIAL, "", &[("flow", Some(1), "")]), &run(Phase::Claimed), One);
    end_message(&decision);
    assert!(decision.actions.contains(&Action::ForwardLogs { container: Some("flow".into()), max_lines: 50 }));
}

#[test]
fn what_can_pass_before_the_start_gives_the_run_back_later_with_the_reason() {
    let capacity = stopped("TaskFailedToStart", "Capacity is unavailable at this time.", &[]);
    for (attempt, delay) in [(1, 45), (2, 90), (4, 360)] {
        let run = Run { attempt: Some(attempt), ..run(Phase::Claimed) };
        let decision = first_look(&capacity, &run, One);
        let [
            Action::GiveBack { reason, for_capacity: true, delay: found },
            Action::Log { level: LogLevel::Warning, message },
        ] = decision.actions.as_slice()
        else {
            panic!("{decision:?}")
        };
        assert_eq!(*found, Duration::from_secs(delay));
        assert!(reason.contains(TASK_ARN) && reason.contains("Capacity is unavailable at this time"), "{reason}");
        assert!(message.ends_with(reason), "{message}");
    }
}

#[test]
fn only_want_of_capacity_counts_as_such() {
    let spot = stopped("SpotInterruption", "interrupted", &[("flow", None, "")]);
    let decision = first_look(&spot, &run(Phase::Claimed), One);
    assert!(matches!(state_change(&decision), Some(Action::GiveBack { for_capacity: false, .. })), "{decision:?}");
}

#[test]
fn after_the_last_attempt_it_fails_with_the_story() {
    let run = Run { attempt: Some(5), ..run(Phase::Claimed) };
    let decision = first_look(&stopped("TaskFailedToStart", "Timeout waiting for capacity", &[]), &run, One);
    let message = end_message(&decision);
    assert!(message.starts_with("Not launched after 5 attempts. The last one: Task arn:"), "{message}");
    assert!(message.contains("Timeout waiting for capacity") && message.contains("Run the flow again"), "{message}");
}

#[test]
fn a_claim_without_our_mark_is_not_ours_to_give_back() {
    let run = Run { attempt: None, claimed_by: ClaimedBy::Unknown, ..run(Phase::Claimed) };
    end_message(&first_look(&stopped("TaskFailedToStart", "Timeout waiting for capacity", &[]), &run, One));
}

/// Two deployments may have agents of one name: then each hears of the other's tasks.
#[test]
fn a_run_that_another_agent_has_claimed_is_left_to_that_one() {
    let run = Run { attempt: None, claimed_by: ClaimedBy::AnotherAgent, ..run(Phase::Claimed) };
    let event = stopped("TaskFailedToStart", "Timeout waiting for capacity", &[]);
    assert_eq!(first_look(&event, &run, One).actions, []);
}

#[test]
fn after_the_flow_began_nothing_is_given_back() {
    let spot = stopped("SpotInterruption", "Your Spot Task was interrupted.", &[("flow", None, "")]);
    let decision = first_look(&spot, &run(Phase::Running), One);
    let message = end_message(&decision);
    assert!(message.contains("Spot") && message.contains("FARGATE"), "{message}");
}

#[test]
fn what_does_not_pass_fails_at_the_first_attempt() {
    for (code, reason) in [
        ("TaskFailedToStart", "CannotPullContainerError: pull image manifest has been retried 5 time(s): not found"),
        (
            "TaskFailedToStart",
            "ResourceInitializationError: unable to pull secrets or registry auth: invalid parameters: /x",
        ),
        ("UserInitiated", "Task stopped by user"),
    ] {
        let decision = first_look(&stopped(code, reason, &[("flow", None, "")]), &run(Phase::Claimed), One);
        assert!(end_message(&decision).contains(reason), "{decision:?}");
    }
}

#[test]
fn a_run_that_waits_for_its_task_runs_may_have_its_process_end_well() {
    let ended_well = stopped(ESSENTIAL, "", &[("flow", Some(0), "")]);
    let waits = Run { waits_for_task_runs: true, ..run(Phase::Running) };
    assert_eq!(first_look(&ended_well, &waits, One).actions, []);
    let message = end_message(&first_look(&ended_well, &run(Phase::Running), One)).to_owned();
    assert!(message.starts_with("Container 'flow' exited with code 0, but the flow run has not"), "{message}");
    // A process that did not end well is another matter.
    end_message(&first_look(&stopped(ESSENTIAL, "", &[("flow", Some(1), "")]), &waits, One));
}

#[test]
fn a_sidecar_that_failed_beside_a_flow_that_waits_changes_nothing() {
    let event = stopped(ESSENTIAL, "", &[("flow", Some(0), ""), ("otel", Some(1), "")]);
    let waits = Run { waits_for_task_runs: true, ..run(Phase::Running) };
    assert_eq!(first_look(&event, &waits, One).actions, []);
}

#[test]
fn a_cancelled_run_whose_task_stopped_is_cancelled_and_nothing_else() {
    for code in [Some(0), Some(143), None] {
        let event = stopped("UserInitiated", "cancelled", &[("flow", code, "")]);
        let decision = first_look(&event, &run(Phase::Cancelling), One);
        assert!(matches!(decision.actions.as_slice(), [Action::Cancelled { .. }]), "{decision:?}");
    }
}

#[test]
fn a_task_on_its_way_needs_nothing() {
    for status in ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "STOPPING", "DEPROVISIONING"] {
        let decision = first_look(&event(status, &json!({})), &run(Phase::Claimed), One);
        assert_eq!(decision.actions, [], "{status}");
    }
}

#[test]
fn a_task_of_an_earlier_turn_says_nothing_about_this_one() {
    let old = event("STOPPED", &json!({"createdAt": "2026-01-02T02:00:00Z", "stopCode": "TaskFailedToStart"}));
    for phase in [Phase::Claimed, Phase::Running, Phase::Cancelling] {
        let decision = first_look(&old, &run(phase), One);
        assert_eq!(decision.actions, [], "{phase:?}");
        assert!(decision.why.contains("earlier turn"), "{}", decision.why);
    }
}
