#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::super::testing::{run, worker};
use super::*;

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
fn a_whole_second_has_no_fraction() {
    assert_eq!(date_time(OffsetDateTime::from_unix_timestamp(0).unwrap()), "1970-01-01T00:00:00");
}

#[test]
fn labels_replace_tags_of_the_template_before_both_are_spelled_for_ecs() {
    let labels = json!({"it's": "a b", "x": null, "team": "1,000"});
    let labels = labels.as_object().unwrap();
    let expected =
        json!([{"key": "k", "value": "5"}, {"key": "it-s", "value": "a-b"}, {"key": "team", "value": "1000"}]);
    let list = json!([{"key": "team", "value": "old"}, {"key": "k", "value": 5}]);
    assert_eq!(tags(Some(&list), labels), expected);
    assert_eq!(tags(Some(&json!({"k": "5", "team": "old"})), labels), expected);
}

#[test]
fn what_is_no_tag_does_not_vanish() {
    let labels = json!({"l": "1"});
    let labels = labels.as_object().unwrap();
    let given = json!([{"key": "it's"}, {"Key": "team", "Value": "data"}, {"key": "k", "value": null}, "no tag"]);
    let expected = json!([{"key": "it-s"}, {"Key": "team", "Value": "data"}, {"key": "k", "value": null}, "no tag",
        {"key": "l", "value": "1"}]);
    assert_eq!(tags(Some(&given), labels), expected);
    assert_eq!(tags(Some(&json!("team=data")), labels), json!("team=data"));
    for nothing in [json!(null), json!([]), json!({}), json!("")] {
        assert_eq!(tags(Some(&nothing), labels), json!([{"key": "l", "value": "1"}]));
    }
}
