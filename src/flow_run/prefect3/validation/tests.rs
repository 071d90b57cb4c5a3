#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use serde_json::json;

#[test]
fn all_wrong_fields_are_named_at_once() {
    let given = json!({"a": 5, "b": {"x": "y", "n": null}, "c": 2, "d": 0.5, "e": "maybe", "f": []});
    let given = given.as_object().unwrap();
    let mut reader = Validator::new(given, given);
    reader.text("a");
    reader.texts("b");
    reader.flag("c");
    reader.flag("d");
    reader.optional_flag("e");
    reader.object("f");
    let refusal = reader.finish().unwrap_err().0;
    let lines: Vec<&str> = refusal.lines().filter(|line| !line.contains("further information")).collect();
    assert_eq!(
        lines,
        [
            "ValidationError: 6 validation errors for ECSJobConfiguration",
            "a",
            "  Input should be a valid string [type=string_type, input_value=5, input_type=int]",
            "b.n",
            "  Input should be a valid string [type=string_type, input_value=None, input_type=NoneType]",
            "c",
            "  Input should be a valid boolean, unable to interpret input [type=bool_parsing, input_value=2, input_type=int]",
            "d",
            "  Input should be a valid boolean [type=bool_type, input_value=0.5, input_type=float]",
            "e",
            "  Input should be a valid boolean, unable to interpret input [type=bool_parsing, input_value='maybe', input_type=str]",
            "f",
            "  Input should be a valid dictionary [type=dict_type, input_value=[], input_type=list]",
        ]
    );
}

#[test]
fn the_usual_words_and_numbers_are_booleans() {
    for (value, expected) in [("YES", true), ("off", false), ("1", true), ("N", false)] {
        let given = json!({"flag": value});
        let given = given.as_object().unwrap();
        assert_eq!(Validator::new(given, given).optional_flag("flag"), Some(expected), "{value}");
    }
    let given = json!({"flag": 1.0});
    assert!(Validator::new(given.as_object().unwrap(), given.as_object().unwrap()).flag("flag"));
}

#[test]
fn values_that_come_from_blocks_are_not_told() {
    let given = json!({"cluster": ["s3cr3t"]});
    let shown = json!({"cluster": "{{ prefect.blocks.secret.token }}"});
    let mut reader = Validator::new(given.as_object().unwrap(), shown.as_object().unwrap());
    reader.text("cluster");
    let refusal = reader.finish().unwrap_err().0;
    assert!(!refusal.contains("s3cr3t") && refusal.contains("input_value='**********', input_type=list"), "{refusal}");
}

#[test]
fn long_values_lose_their_middle_and_no_character_is_cut() {
    let shown = json!({"labels": "é".repeat(60)});
    let refusal = whole("no", shown.as_object().unwrap()).0;
    assert!(refusal.contains("input_value={'labels': 'éééééé...ééééééééééé'}, input_type=dict"), "{refusal}");
}
