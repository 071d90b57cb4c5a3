#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::task_events::testing::{event, stopped};
use serde_json::json;

const NONE: &[(&str, Option<i64>, &str)] = &[];

fn diagnosis(event: &TaskEvent) -> Diagnosis {
    Diagnosis::of(event, Generation::One)
}

/// Stop code, reason of the task, reason of the container that never ran → cause, and whether it can pass.
const BEFORE_START: &[(&str, &str, &str, Cause, bool)] = &[
    (
        "TaskFailedToStart",
        "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref x: not found",
        "",
        Cause::ImagePull,
        false,
    ),
    (
        "TaskFailedToStart",
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref x: failed to do \
         request: Head https://registry: dial tcp 1.2.3.4:443: i/o timeout",
        "",
        Cause::ImagePull,
        true,
    ),
    (
        "TaskFailedToStart",
        "Task failed to start",
        "CannotPullContainerError: toomanyrequests: You have reached your pull rate limit",
        Cause::ImagePull,
        true,
    ),
    (
        "TaskFailedToStart",
        "CannotPullECRContainerError: AccessDeniedException: User is not authorized to perform ecr:BatchGetImage",
        "",
        Cause::ImagePull,
        false,
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable \
         to retrieve secrets from ssm: service call has been retried 1 time(s): invalid parameters: /a/b",
        "",
        Cause::Secret,
        false,
    ),
    (
        "TaskFailedToStart",
        "Task failed to start",
        "Fetching secret data from SSM Parameter Store in eu-west-1: AccessDeniedException: User: x is not authorized to \
         perform: ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:123456789012:parameter/a status code: 400",
        Cause::Secret,
        false,
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: ThrottlingException: Rate exceeded",
        "",
        Cause::Secret,
        true,
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from \
         Amazon ECR: There is a connection issue between the task and Amazon ECR. context deadline exceeded",
        "",
        Cause::Network,
        true,
    ),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: failed to validate logger args: The specified log group does not exist",
        "",
        Cause::Preparation,
        false,
    ),
    ("TaskFailedToStart", "Timeout waiting for network interface provisioning to complete.", "", Cause::Network, true),
    ("TaskFailedToStart", "Capacity is unavailable at this time. Please try again later", "", Cause::Capacity, true),
    ("TaskFailedToStart", "Timeout waiting for capacity", "", Cause::Capacity, true),
    ("TaskFailedToStart", "RESOURCE:ENI", "", Cause::Capacity, true),
    (
        "TaskFailedToStart",
        "Task failed to start",
        "CannotStartContainerError: exec: \"prefect\": executable file not found in $PATH",
        Cause::ContainerStart,
        false,
    ),
    (
        "TaskFailedToStart",
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest does not contain \
         descriptor matching platform 'linux/amd64'",
        "",
        Cause::Architecture,
        false,
    ),
    (
        "TaskFailedToStart",
        "Task failed to start",
        "CannotPullContainerError: no matching manifest for linux/arm64/v8 in the manifest list entries",
        Cause::Architecture,
        false,
    ),
    (
        "TaskFailedToStart",
        "Task failed to start",
        "CannotStartContainerError: failed to create shim task: exec /usr/bin/tini: exec format error: unknown",
        Cause::Architecture,
        false,
    ),
    ("", "Host EC2 (instance i-0123456789abcdef0) terminated.", "", Cause::Host, true),
    ("", "ECS is performing maintenance on the underlying infrastructure hosting the task.", "", Cause::Host, true),
    (
        "TaskFailedToStart",
        "",
        "ContainerRuntimeTimeoutError: Could not transition to started; timed out after waiting 3m0s",
        Cause::ContainerStart,
        true,
    ),
    ("TaskFailedToStart", "Something that nobody has seen yet", "", Cause::FailedToStart, true),
    ("SpotInterruption", "Your Spot Task was interrupted.", "", Cause::SpotInterruption, true),
    ("TerminationNotice", "Host termination", "", Cause::Host, true),
    ("InfrastructureHealth", "unhealthy", "", Cause::Host, true),
    ("ServiceSchedulerInitiated", "Scaling activity", "", Cause::Scheduler, true),
    ("UserInitiated", "Task stopped by user", "", Cause::StoppedByUser, false),
    ("", "", "", Cause::NoExitCode, true),
];

#[test]
fn what_happens_before_the_start() {
    for (code, reason, container, cause, can_pass) in BEFORE_START {
        let event = stopped(code, reason, &[("flow", None, container)]);
        let found = diagnosis(&event);
        assert_eq!((found.cause, found.can_pass), (*cause, *can_pass), "{code} {reason} {container}: {found:?}");
        assert!(!found.had_started);
        let text = if container.len() > reason.len() { container } else { reason };
        assert!(found.sentence.contains(text.trim_end_matches('.')), "{}", found.sentence);
        assert!(found.sentence.ends_with('.') && found.remedy.ends_with('.'), "{found:?}");
    }
}

#[test]
fn what_happens_to_a_process() {
    let essential = "Essential container in task exited";
    for (event, cause, sentence) in [
        (
            stopped("EssentialContainerExited", essential, &[("flow", Some(1), "")]),
            Cause::ExitCode(1),
            "Container 'flow' exited with code 1.",
        ),
        (
            stopped("EssentialContainerExited", essential, &[("flow", Some(137), "OutOfMemoryError: killed")]),
            Cause::OutOfMemory,
            "Container 'flow' ran out of memory and was killed: OutOfMemoryError: killed.",
        ),
        (
            stopped("EssentialContainerExited", essential, &[("flow", Some(0), "")]),
            Cause::ExitedWithZero,
            "Container 'flow' exited with code 0, but the flow run has not come to an end.",
        ),
        (
            stopped("SpotInterruption", "Your Spot Task was interrupted.", &[("flow", Some(143), "")]),
            Cause::SpotInterruption,
            "Fargate Spot took its capacity back and interrupted the task: Your Spot Task was interrupted.",
        ),
    ] {
        let found = diagnosis(&event);
        assert_eq!((found.cause, found.sentence.as_str(), found.had_started), (cause, sentence, true));
    }
}

#[test]
fn memory_may_run_out_in_a_sidecar() {
    let event = stopped("EssentialContainerExited", "", &[("flow", Some(143), ""), ("otel", Some(137), "OutOfMemory")]);
    assert_eq!(diagnosis(&event).sentence, "Container 'otel' ran out of memory and was killed: OutOfMemory.");
    let event = stopped("EssentialContainerExited", "", &[("flow", Some(1), ""), ("otel", Some(137), "OutOfMemory")]);
    assert_eq!(diagnosis(&event).cause, Cause::ExitCode(1), "the flow had ended by itself");
}

#[test]
fn a_sidecar_that_took_the_flow_along_is_named() {
    let end = |containers: &[(&str, Option<i64>, &str)]| {
        stopped("EssentialContainerExited", "Essential container", containers)
    };
    for (flow, otel, names_it, can_pass) in [
        (Some(143), 1, true, false),
        (Some(143), 0, true, false),
        (Some(137), 2, true, false),
        (None, 1, true, true),
        (None, 0, true, true),
        // It may have had its task before the flow's began, and the flow was killed for something else.
        (Some(137), 0, false, false),
        // The flow ended by itself.
        (Some(1), 1, false, false),
        (Some(143), 143, false, false),
    ] {
        let found = diagnosis(&end(&[("flow", flow, ""), ("otel", Some(otel), "it crashed")]));
        let named =
            format!("Container 'otel', beside the flow's, exited with code {otel}, and ECS stopped the task for it");
        assert_eq!(found.sentence.starts_with(&named), names_it, "{flow:?} {otel}: {found:?}");
        assert_eq!(found.can_pass, can_pass, "{flow:?} {otel}: {found:?}");
        assert_eq!(names_it, found.remedy.contains("essential: false"), "{found:?}");
    }
    let worst = diagnosis(&end(&[("flow", Some(143), ""), ("init", Some(0), ""), ("otel", Some(1), "")]));
    assert!(worst.sentence.contains("'otel'") && !worst.sentence.contains("'init'"), "{worst:?}");
    let stopped = diagnosis(&stopped("UserInitiated", "", &[("flow", Some(143), ""), ("otel", Some(1), "")]));
    assert_eq!(stopped.cause, Cause::StoppedByUser);
}

#[test]
fn a_process_that_its_host_took_along_did_not_want_for_memory() {
    for (code, reason) in [
        ("SpotInterruption", "Your Spot Task was interrupted."),
        ("TerminationNotice", "Host termination"),
        ("InfrastructureHealth", "unhealthy"),
        ("", "Host EC2 (instance i-1) terminated."),
    ] {
        let found = diagnosis(&stopped(code, reason, &[("flow", Some(137), "")]));
        assert!(found.knows_better() && !found.remedy.contains("memory"), "{code}: {found:?}");
    }
    let killed = diagnosis(&stopped("EssentialContainerExited", "", &[("flow", Some(137), "")]));
    assert!(killed.remedy.contains("memory"), "{killed:?}");
}

#[test]
fn an_image_of_another_architecture_is_named_also_when_its_process_exited() {
    let event =
        stopped("EssentialContainerExited", "", &[("flow", Some(255), "exec /usr/bin/tini: exec format error")]);
    let found = diagnosis(&event);
    assert_eq!((found.cause, found.can_pass), (Cause::Architecture, false));
    assert!(found.sentence.contains("another processor architecture") && found.remedy.contains("cpuArchitecture"));
}

#[test]
fn a_sidecars_exit_code_is_not_the_flows() {
    let event = stopped("EssentialContainerExited", "", &[("otel", Some(1), ""), ("flow", Some(0), "")]);
    assert_eq!(diagnosis(&event).cause, Cause::ExitedWithZero);
    let event = stopped("EssentialContainerExited", "", &[("otel", Some(0), ""), ("flow", Some(3), "")]);
    assert_eq!(diagnosis(&event).cause, Cause::ExitCode(3));
}

#[test]
fn an_old_reason_for_not_starting_is_none_once_it_has_started() {
    let event = event(
        "STOPPED",
        &json!({
            "startedAt": "2026-01-02T03:05:00Z", "stopCode": "EssentialContainerExited",
            "containers": [{"name": "flow", "reason": "no capacity left on device"}],
        }),
    );
    assert_eq!(diagnosis(&event).cause, Cause::NoExitCode);
}

#[test]
fn a_task_without_containers_ended_before_it_had_any() {
    let found = diagnosis(&stopped("", "", NONE));
    assert_eq!(found.sentence, "The task ended before it had any container.");
    assert!(found.can_pass);
}

#[test]
fn the_flows_container_is_the_one_that_is_told_its_run_or_has_the_usual_name_or_is_alone() {
    let containers = json!([{"name": "prefect"}, {"name": "main"}, {"name": "flow"}]);
    let name = |detail: &serde_json::Value, generation| {
        flow_container(&event("STOPPED", detail), generation).and_then(|container| container.name.clone())
    };
    let told = |names: &[&str], variable: &str| {
        let overrides: Vec<_> =
            names.iter().map(|name| json!({"name": name, "environment": [{"name": variable, "value": "x"}]})).collect();
        json!({"containers": containers, "overrides": {"containerOverrides": overrides}})
    };
    for variable in ["PREFECT__FLOW_RUN_ID", "PREFECT__CONTEXT__FLOW_RUN_ID"] {
        assert_eq!(name(&told(&["main"], variable), Generation::TwoOrThree).as_deref(), Some("main"));
    }
    for detail in [told(&["main"], "TZ"), told(&["main", "flow"], "PREFECT__FLOW_RUN_ID"), told(&[], "")] {
        assert_eq!(name(&detail, Generation::TwoOrThree).as_deref(), Some("prefect"));
        assert_eq!(name(&detail, Generation::One).as_deref(), Some("flow"));
    }
    let others = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(name(&others, Generation::One), None);
    assert_eq!(name(&json!({"containers": [{"name": "a"}]}), Generation::One).as_deref(), Some("a"));
    assert_eq!(name(&json!({"containers": []}), Generation::One), None);
}
