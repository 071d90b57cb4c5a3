#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn render(template: Value, variables: Value) -> Option<Value> {
    let environment = BTreeMap::from([("TAG".to_owned(), "v5".to_owned())]);
    let variables = variables.as_object().unwrap().clone();
    apply(&template, &Values { variables: &variables, environment: &environment })
}

#[test]
fn a_text_that_is_one_placeholder_becomes_the_value_with_its_type() {
    let variables = json!({"n": 5, "f": 1.5, "t": true, "o": {"a": [1, {"b": null}]}, "nothing": null});
    for (template, expected) in [
        ("{{ n }}", json!(5)),
        ("{{f}}", json!(1.5)),
        ("{{   t\t}}", json!(true)),
        ("{{ o.a[0] }}", json!(1)),
        ("{{ o.a[1] }}", json!({"b": null})),
        ("{{ nothing }}", Value::Null),
    ] {
        assert_eq!(render(json!(template), variables.clone()), Some(expected), "{template}");
    }
}

#[test]
fn what_has_no_value_drops_its_key_or_item() {
    let template = json!({"a": "{{ nope }}", "b": ["{{ nope }}", "x", "{{ o.nope }}"], "{{ o }}": 1});
    assert_eq!(render(template, json!({"o": {}})), Some(json!({"b": ["x"], "{{ o }}": 1})));
    assert_eq!(render(json!("{{ nope }}"), json!({})), None);
}

#[test]
fn inside_other_text_values_are_written_as_python_does() {
    let variables = json!({"n": 5, "t": true, "none": null, "d": {"a": "it's"}, "f": 1e20, "s": "{{ n }}"});
    for (template, expected) in [
        ("p{{ n }}-{{ t }}-{{ none }}", "p5-True-None"),
        ("{{ n }}{{ n }}", "55"),
        ("x{{ d }}", "x{'a': \"it's\"}"),
        ("x{{ f }}", "x1e+20"),
        ("x{{ nope }}y", "xy"),
        ("{{{ n }}}", "{5}"),
        ("{{ n }", "{{ n }"),
        ("{{ a b }} {{}}", "{{ a b }} {{}}"),
        ("x{{ s }}", "x{{ n }}"),
    ] {
        assert_eq!(render(json!(template), variables.clone()), Some(json!(expected)), "{template}");
    }
}

#[test]
fn environment_variables_are_always_text() {
    for (template, expected) in [("{{ $TAG }}", "v5"), ("{{ $NOPE }}", ""), ("i:{{ $$TAG }}", "i:v5")] {
        assert_eq!(render(json!(template), json!({"TAG": 1})), Some(json!(expected)), "{template}");
    }
}

#[test]
fn references_stay_as_they_are_written() {
    let template = json!(["{{ prefect.blocks.a.b }}", "x{{prefect.variables.c}}y{{ n }}"]);
    let expected = json!(["{{ prefect.blocks.a.b }}", "x{{prefect.variables.c}}y5"]);
    assert_eq!(render(template, json!({"n": 5, "prefect": {"blocks": 1}})), Some(expected));
}

fn any_text() -> impl Strategy<Value = String> {
    let pieces = ["{", "}", "{{", "}}", " ", "a", "b.c", "[0]", "[-1]", "$X", "é", "\u{1c}", "prefect.blocks.x.y"];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(template in any_value(), a in any_value(), b in any_value()) {
        let _ = render(template, json!({"a": a, "b": b}));
    }

    #[test]
    fn the_parts_of_a_text_are_the_text(text in prop_oneof![any_text(), ".{0,40}"]) {
        let written = |part: &Part<'_>| match *part {
            Part::Plain(plain) => plain.to_owned(),
            Part::Placeholder(placeholder) => placeholder.written.to_owned(),
        };
        prop_assert_eq!(parts(&text).iter().map(written).collect::<String>(), text);
    }

    #[test]
    fn whole_placeholders_keep_the_type_and_the_value(value in any_value()) {
        prop_assert_eq!(render(json!("{{ a }}"), json!({"a": value.clone()})), Some(value.clone()));
        prop_assert_eq!(render(json!(["{{ b.a }}"]), json!({"b": {"a": value.clone()}})), Some(json!([value])));
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again(value in any_text()) {
        let rendered = render(json!("<{{ a }}>"), json!({"a": value.clone(), "b": {"c": "no"}}));
        prop_assert_eq!(rendered, Some(json!(format!("<{value}>"))));
    }

    #[test]
    fn templates_without_placeholders_are_themselves(value in any_value()) {
        prop_assume!(!value.to_string().contains("{{"));
        prop_assert_eq!(render(value.clone(), json!({})), Some(value));
    }
}

#[test]
fn numbers_keep_every_digit_as_text() {
    for number in ["99.99999999999999", "0.9452706955539223", "1.5", "18446744073709551615"] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert_eq!(crate::python_text::text(&value), number);
    }
}
