#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use serde_json::json;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn paths_lead_through_objects_lists_and_texts() {
    let values = object(json!({"a": {"b": [1, {"c": "xyz"}], "1": "no"}, "7": 7, "": {"": 0}}));
    for (path, expected) in [
        ("a.b[0]", Some(json!(1))),
        ("a.b.1.c", Some(json!("xyz"))),
        ("a.b[-1].c[-1]", Some(json!("z"))),
        ("a.b[0_1].c[0]", Some(json!("x"))),
        ("a.b[2]", None),
        ("a.b[-3]", None),
        ("a.b[99999999999999999999]", None),
        ("a.b.c", None),
        ("a.1", None),
        ("7", None),
        ("a.b[0].c", None),
        (".", Some(json!(0))),
    ] {
        assert_eq!(value_at(&values, path), expected, "{path}");
    }
}

#[test]
fn dotted_keys_make_objects() {
    let mut values = Map::new();
    set_value_at(&mut values, "a.b[0].c", json!(1)).unwrap();
    set_value_at(&mut values, "a.d", json!(2)).unwrap();
    assert_eq!(Value::Object(values.clone()), json!({"a": {"b": {"0": {"c": 1}}, "d": 2}}));
    let refusal = set_value_at(&mut values, "a.d.e", json!(3)).unwrap_err();
    assert_eq!(refusal.0, "TypeError: Key path exists and contains a non-dict value: ['a', 'd', 'e']");
}

#[test]
fn objects_are_merged_all_the_way_down_and_nothing_else() {
    let base = object(json!({"a": {"b": 1, "l": [1]}, "c": {"d": 1}}));
    let over = object(json!({"a": {"l": [2], "n": 3}, "c": 5}));
    assert_eq!(Value::Object(deep_merge(base, over)), json!({"a": {"b": 1, "l": [2], "n": 3}, "c": 5}));
}
