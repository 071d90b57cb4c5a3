#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::testing::{run, worker};
use super::*;
use crate::python_text::text;
use serde_json::json;

fn of(generation: Generation, own: Value) -> Vec<(String, String)> {
    let worker = WorkerSettings { generation, ..worker() };
    let run = run(json!({}), json!({}));
    let labels = labels(&worker, &run.context(), own.as_object().unwrap());
    labels.into_iter().map(|(key, value)| (key.replace("prefect.io/", ""), text(&value))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn labels_of_prefect_3() {
    let expected = pairs(&[
        ("flow-run-id", "run-1"),
        ("flow-run-name", "mine"),
        ("version", "3.8.8"),
        ("work-pool-name", "pool"),
        ("work-pool-id", "pool-1"),
        ("worker-name", "worker-1"),
        ("flow-id", "flow-1"),
        ("flow-name", "etl"),
        ("deployment-id", "deployment-1"),
        ("deployment-name", "nightly"),
        ("deployment-updated", "2026-03-04T03:06:07.100000+00:00"),
        ("team", "a"),
    ]);
    assert_eq!(of(Generation::Three, json!({"team": "a", "prefect.io/flow-run-name": "mine"})), expected);
}

#[test]
fn labels_of_prefect_2() {
    let expected = pairs(&[
        ("flow-run-id", "run-1"),
        ("flow-run-name", "otter"),
        ("version", "3.8.8"),
        ("deployment-id", "deployment-1"),
        ("deployment-name", "nightly"),
        ("deployment-updated", "2026-03-04T03:06:07.100000Z"),
        ("flow-id", "flow-1"),
        ("flow-name", "etl"),
    ]);
    assert_eq!(of(Generation::Two, json!({})), expected);
}

#[test]
fn a_change_at_a_time_that_utc_does_not_have_is_no_label() {
    let deployment =
        |updated: &str| serde_json::from_value(json!({"id": "d", "name": "n", "updated": updated})).unwrap();
    assert_eq!(updated(&deployment("9999-12-31T23:59:59-01:00")), None);
    assert!(updated(&deployment("9999-12-31T23:59:59+01:00")).is_some());
}

#[test]
fn a_whole_second_has_no_fraction() {
    assert_eq!(date_time(OffsetDateTime::from_unix_timestamp(0).unwrap()), "1970-01-01T00:00:00");
}
