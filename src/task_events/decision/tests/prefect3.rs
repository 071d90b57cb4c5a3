//! Prefect 2 and 3. What becomes of a worker's tasks is compared with the golden cases; here are our own.

use crate::model::Generation::{One, TwoOrThree};
use crate::model::{Phase, Run};
use crate::task_events::decision::{Action, Decision, Look, Observation, decide, needs_run};
use crate::task_events::task_owner::{LaunchedBy, Tags};
use crate::task_events::testing::{
    NOW, end_message, event, first_look, look, owner, rules, run, state_change, stopped,
};
use serde_json::json;
use std::time::Duration;

fn second_look(event: &crate::task_events::event::TaskEvent, run: &Run) -> Decision {
    look(event, run, TwoOrThree, LaunchedBy::Here, Look::Second)
}

#[test]
fn our_own_dead_task_ends_its_run_with_a_sentence_and_a_remedy() {
    let event = stopped("EssentialContainerExited", "", &[("prefect", Some(137), "OutOfMemoryError: killed")]);
    let decision = first_look(&event, &run(Phase::Running), TwoOrThree);
    let message = end_message(&decision);
    assert!(message.contains("ran out of memory") && message.contains("Give the run more memory"), "{message}");
    let [Action::PostEvent(body), Action::End { .. }, Action::Log { message, .. }] = decision.actions.as_slice() else {
        panic!("{decision:?}")
    };
    assert_eq!(body["event"], "prefect.ecs.task.stopped");
    assert!(message.starts_with("Essential container exited: Container 'prefect' exited with code 137."), "{message}");
}

#[test]
fn a_task_whose_host_was_taken_away_is_not_said_to_want_memory() {
    let killed = [("prefect", Some(137), "")];
    for (code, reason) in [
        ("SpotInterruption", "Your Spot Task was interrupted."),
        ("TerminationNotice", "Host termination"),
        ("InfrastructureHealth", "unhealthy"),
    ] {
        let event = stopped(code, reason, &killed);
        for launched in [LaunchedBy::Here, LaunchedBy::ByWorker] {
            let decision = look(&event, &run(Phase::Running), TwoOrThree, launched, Look::First);
            let logged = decision.actions.iter().find_map(|action| match action {
                Action::Log { message, .. } => Some(message.as_str()),
                _ => None,
            });
            let told = format!("{} {}", end_message(&decision), logged.unwrap());
            assert!(!told.to_lowercase().contains("memory") && told.contains(reason), "{launched:?}: {told}");
        }
    }
    let other = first_look(&stopped("EssentialContainerExited", "", &killed), &run(Phase::Running), TwoOrThree);
    assert!(end_message(&other).contains("memory"), "{other:?}");
}

#[test]
fn only_our_own_claims_are_given_back() {
    let capacity = stopped("TaskFailedToStart", "Timeout waiting for capacity", &[]);
    let ours = look(&capacity, &run(Phase::Claimed), TwoOrThree, LaunchedBy::Here, Look::First);
    assert!(matches!(state_change(&ours), Some(Action::GiveBack { for_capacity: true, .. })), "{ours:?}");
    let theirs = look(&capacity, &run(Phase::Claimed), TwoOrThree, LaunchedBy::ByWorker, Look::First);
    assert!(end_message(&theirs).starts_with("ECS task failed to start: Timeout waiting for capacity."), "{theirs:?}");
}

#[test]
fn a_container_that_ended_well_is_looked_at_twice() {
    let event = stopped("EssentialContainerExited", "", &[("prefect", Some(0), "")]);
    for phase in [Phase::Claimed, Phase::Running] {
        let first = first_look(&event, &run(phase), TwoOrThree);
        assert!(
            matches!(first.actions.as_slice(), [Action::PostEvent(_), Action::LookAgain(after)] if *after == Duration::from_secs(10)),
            "{first:?}"
        );
        let second = second_look(&event, &run(phase));
        assert!(end_message(&second).contains("exited with code 0"), "{second:?}");
        assert!(!second.actions.iter().any(|action| matches!(action, Action::PostEvent(_))), "told once is enough");
    }
    // Meanwhile its last words have arrived.
    assert_eq!(second_look(&event, &run(Phase::Ended)).actions, []);
}

#[test]
fn an_interruption_that_ended_well_before_the_flow_began_gives_the_run_back() {
    let event = stopped("SpotInterruption", "Your Spot Task was interrupted.", &[("prefect", Some(0), "")]);
    let second = second_look(&event, &run(Phase::Claimed));
    assert!(matches!(state_change(&second), Some(Action::GiveBack { .. })), "{second:?}");
}

#[test]
fn where_the_flows_container_is_not_known_mixed_ends_are_looked_at_twice() {
    let event = stopped("EssentialContainerExited", "", &[("main", Some(0), ""), ("otel", Some(1), "")]);
    let first = first_look(&event, &run(Phase::Running), TwoOrThree);
    assert!(matches!(first.actions.as_slice(), [Action::PostEvent(_), Action::LookAgain(_)]), "{first:?}");
    end_message(&second_look(&event, &run(Phase::Running)));
    let all_failed = stopped("EssentialContainerExited", "", &[("main", Some(2), ""), ("otel", Some(1), "")]);
    end_message(&first_look(&all_failed, &run(Phase::Running), TwoOrThree));
}

#[test]
fn the_container_that_is_told_its_run_is_the_flows() {
    let event = event(
        "STOPPED",
        &json!({
            "containers": [{"name": "main", "exitCode": 3}, {"name": "prefect", "exitCode": 0}],
            "overrides": {"containerOverrides": [{"name": "main", "environment": [{"name": "PREFECT__FLOW_RUN_ID"}]}]},
        }),
    );
    let decision = first_look(&event, &run(Phase::Claimed), TwoOrThree);
    assert!(end_message(&decision).starts_with("Container 'main' exited with code 3."), "{decision:?}");
    assert!(decision.actions.contains(&Action::ForwardLogs { container: Some("main".into()), max_lines: 50 }));
}

#[test]
fn a_cancelled_run_whose_task_stopped_is_cancelled() {
    let event = stopped("UserInitiated", "cancelled", &[("prefect", Some(143), "")]);
    let ours = first_look(&event, &run(Phase::Cancelling), TwoOrThree);
    assert!(matches!(ours.actions.as_slice(), [Action::PostEvent(_), Action::Cancelled { .. }]), "{ours:?}");
    let began = Run { has_run: true, ..run(Phase::Cancelling) };
    let theirs = look(&event, &began, TwoOrThree, LaunchedBy::ByWorker, Look::First);
    let kinds = [Action::ForwardLogs { container: Some("prefect".into()), max_lines: 50 }];
    assert!(!theirs.actions.contains(&kinds[0]), "its logs are in Prefect already: {theirs:?}");
}

#[test]
fn a_task_that_waits_is_shown_on_its_claimed_run_only() {
    for (status, message) in [("PENDING", "ECS task is pending."), ("PROVISIONING", "ECS task is provisioning.")] {
        let event = event(status, &json!({}));
        let decision = first_look(&event, &run(Phase::Claimed), TwoOrThree);
        assert_eq!(state_change(&decision), Some(&Action::ProposePending { message: message.into() }));
        for phase in [Phase::Waiting, Phase::Running, Phase::Cancelling, Phase::Ended] {
            let decision = first_look(&event, &run(phase), TwoOrThree);
            assert!(matches!(decision.actions.as_slice(), [Action::PostEvent(_)]), "{phase:?}: {decision:?}");
        }
    }
}

#[test]
fn an_event_that_arrives_after_a_later_one_is_told_and_no_more() {
    let (event, tags, run) = (event("PENDING", &json!({"version": 2})), Tags::new(), run(Phase::Claimed));
    let decided = |task_version| {
        let seen = Observation { now: NOW, tags: &tags, run: Some(&run), task_version, look: Look::First };
        decide(&event, &owner(LaunchedBy::Here), &seen, &rules(TwoOrThree))
    };
    assert!(matches!(decided(Some(3)).actions.as_slice(), [Action::PostEvent(_)]));
    for version in [None, Some(2), Some(1)] {
        assert!(state_change(&decided(version)).is_some(), "{version:?}");
    }
}

#[test]
fn a_run_that_prefect_does_not_know_is_left_alone() {
    let (tags, event) = (Tags::new(), stopped("UserInitiated", "", &[]));
    let seen = Observation { now: NOW, tags: &tags, run: None, task_version: None, look: Look::First };
    let decision = decide(&event, &owner(LaunchedBy::ByWorker), &seen, &rules(TwoOrThree));
    assert!(matches!(decision.actions.as_slice(), [Action::PostEvent(_)]), "{decision:?}");
}

#[test]
fn no_lines_are_forwarded_where_none_are_wanted() {
    let (tags, event, run) = (Tags::new(), stopped("UserInitiated", "", &[]), run(Phase::Claimed));
    let seen = Observation { now: NOW, tags: &tags, run: Some(&run), task_version: None, look: Look::First };
    let rules = crate::task_events::decision::DecisionRules { forward_log_lines: 0, ..rules(TwoOrThree) };
    let decision = decide(&event, &owner(LaunchedBy::ByWorker), &seen, &rules);
    assert!(!decision.actions.iter().any(|action| matches!(action, Action::ForwardLogs { .. })), "{decision:?}");
}

#[test]
fn the_run_is_read_only_where_it_matters() {
    for (status, three, one) in
        [("STOPPED", true, true), ("PENDING", true, false), ("PROVISIONING", true, false), ("RUNNING", false, false)]
    {
        let event = event(status, &json!({}));
        assert_eq!((needs_run(&event, TwoOrThree), needs_run(&event, One)), (three, one), "{status}");
    }
}
