//! Which tasks are dead.

#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use serde_json::json;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-30 12:00 UTC);
const RUN: &str = "8449522c-244c-499e-8a08-131a70e53c42";
const ARN: &str = "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123456789abcdef";
const ID: &str = "0123456789abcdef";

fn looked(look: TaskLook) -> Vec<(RunningRun, RecordedTask, TaskLook)> {
    let pid = format!("etl::{ARN}");
    let task = RecordedTask::of_pid(&pid).unwrap();
    vec![(RunningRun { flow_run_id: RUN.into(), state_id: "s".into(), pid: Some(pid) }, task, look)]
}

fn stopped(agent: &str, seconds_ago: i64) -> TaskLook {
    let at = (NOW - time::Duration::seconds(seconds_ago)).unix_timestamp();
    let started_by = started_by(agent, RUN);
    let task = json!({"taskArn": ARN, "lastStatus": "STOPPED", "startedBy": started_by, "stoppedAt": at});
    TaskLook::Stopped(Box::new(TaskEvent::of_description(&task).unwrap()))
}

fn sorted(look: TaskLook, before: &TaskLooks) -> Sorted {
    sort(looked(look), "etl", before, NOW)
}

fn seen(seconds_ago: i64) -> TaskLooks {
    TaskLooks { next: 0, missing: [(ID.to_owned(), NOW.unix_timestamp() - seconds_ago)].into() }
}

#[test]
fn a_task_of_ours_that_stopped_minutes_ago_is_dead_and_no_other() {
    let nothing = Sorted::default();
    let none = TaskLooks::default();
    assert_eq!(sorted(stopped("etl", 180), &none).dead.len(), 1);
    assert_eq!(sorted(stopped("etl", 179), &none), nothing, "its event may be on the way");
    assert_eq!(sorted(stopped("other", 3600), &none), nothing);
    for look in [TaskLook::Lives, TaskLook::Unknown("AccessDenied".into())] {
        assert_eq!(sorted(look.clone(), &none), nothing, "{look:?}");
        assert_eq!(sorted(look.clone(), &seen(60)), nothing, "{look:?}: not in a row");
    }
    let timeless = json!({"taskArn": ARN, "lastStatus": "STOPPED", "startedBy": started_by("etl", RUN)});
    let timeless = TaskLook::Stopped(Box::new(TaskEvent::of_description(&timeless).unwrap()));
    assert_eq!(sorted(timeless, &none), nothing, "an answer that does not say when");
}

#[test]
fn a_task_that_is_missing_is_dead_when_it_was_so_before() {
    let first = sorted(TaskLook::Missing, &TaskLooks::default());
    assert_eq!((first.dead.len(), first.missing.len(), first.newly.len()), (0, 0, 1));
    let soon = sorted(TaskLook::Missing, &seen(29));
    assert_eq!((soon.dead.len(), soon.missing.len(), soon.newly.len()), (0, 1, 0), "two polls of one moment");
    let again = sorted(TaskLook::Missing, &seen(30));
    assert_eq!((again.dead.len(), again.newly.len()), (1, 0));
    assert_eq!(again.missing, [(ID.to_owned(), NOW.unix_timestamp() - 30)], "it is tried again until Prefect knows");
    let event = &again.dead[0].event;
    assert!(event.is_forgotten && event.is_stopped());
    assert_eq!((event.region.as_deref(), event.task_arn.as_str()), (Some("eu-west-1"), ARN));
}

#[test]
fn the_next_poll_goes_on_behind_a_full_page_and_begins_anew_after_the_last() {
    let page = |is_full| RunningPage { runs: Vec::new(), rows: 100, is_full };
    assert_eq!(next(&page(true), 200, false), 300);
    assert_eq!(next(&page(true), 200, true), 200, "what is missing is looked at again");
    assert_eq!((next(&page(false), 200, false), next(&page(false), 200, true)), (0, 0));
}

#[test]
fn states_of_others_are_remembered_and_no_more_than_there_is_room_for() {
    let others = OthersRuns::default();
    (0..=MAX_OTHERS).for_each(|state| others.insert(&state.to_string()));
    assert!(others.contains(&MAX_OTHERS.to_string()) && !others.contains("0"));
}
