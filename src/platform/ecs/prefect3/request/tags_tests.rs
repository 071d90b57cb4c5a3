#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

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
