#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Whole lines are compared with the golden cases; here is what those do not show.
use super::*;
use crate::task_events::testing::{event, stopped};
use serde_json::json;

fn line_of(event: &TaskEvent) -> (LogLevel, String) {
    log_line(event).unwrap()
}

#[test]
fn all_containers_are_told_of_those_with_codes_first() {
    let (level, line) = line_of(&stopped(
        "EssentialContainerExited",
        "",
        &[("si'de", None, ""), ("a", Some(1), ""), ("b", Some(-2), "")],
    ));
    assert_eq!(level, LogLevel::Error);
    let detail = "Essential container exited: Container 'a' exited with code 1. Container 'b' exited with code -2. \
                  Container(s) \"si'de\" had no exit code, indicating the task was terminated by ECS or the underlying \
                  infrastructure. Resolution: An essential container";
    assert!(line.starts_with(detail), "{line}");
}

#[test]
fn without_any_code_it_is_a_warning_also_when_an_essential_container_exited() {
    let (level, line) = line_of(&stopped("EssentialContainerExited", "", &[("a", None, ""), ("b", Some(0), "")]));
    assert_eq!(level, LogLevel::Warning);
    assert!(line.starts_with("Essential container exited: Container(s) 'a' had no exit code"), "{line}");
}

#[test]
fn a_reason_that_is_missing_is_said_to_be_missing() {
    let event = event("STOPPED", &json!({"stopCode": "TaskFailedToStart"}));
    assert!(
        line_of(&event).1.starts_with("ECS task failed to start: Task failed to start (no additional detail). Resol")
    );
    assert!(crash_message(&event, &[]).starts_with("ECS task failed to start: unknown reason. The capacity provider"));
    let (_, line) = line_of(&stopped("EssentialContainerExited", "", &[("a", Some(0), "")]));
    assert!(
        line.starts_with("Essential container exited: No container exit code details available. Resolution"),
        "{line}"
    );
}

#[test]
fn a_good_end_and_an_end_without_containers_are_worth_no_line() {
    assert_eq!(log_line(&stopped("UserInitiated", "", &[("a", Some(0), "")])), None);
    assert_eq!(log_line(&stopped("UserInitiated", "x", &[])), None);
}

#[test]
fn a_container_without_a_name_is_called_by_its_arn() {
    let event =
        event("STOPPED", &json!({"containers": [{"containerArn": "arn:c", "exitCode": 1}, {"name": "it's"}, {}]}));
    let failed: Vec<&Container> = event.task.containers.iter().collect();
    assert_eq!(
        crash_message(&event, &failed),
        "The following containers stopped with a non-zero exit code: ['arn:c', \"it's\", None]"
    );
}
