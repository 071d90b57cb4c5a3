#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::ambiguity::{self, Reading};
use super::{mapping, read};
use serde_json::{Value, json};

/// What `PyYAML` says: text, kind, value. Made by `scripts/yaml_readings.py`.
fn readings() -> Vec<(String, Reading)> {
    let rows: Vec<(String, String, Value)> = serde_json::from_str(include_str!("readings.json")).unwrap();
    let reading = |kind: &str, value: &Value| match kind {
        "null" => Reading::Null,
        "bool" => Reading::Bool(value.as_bool().unwrap()),
        "int" => Reading::Int(value.as_str().unwrap().parse().ok()),
        "float" => Reading::Float(value.as_str().unwrap().parse().unwrap()),
        "text" => Reading::Text,
        "other" => Reading::Other,
        kind => panic!("{kind}"),
    };
    rows.into_iter().map(|(text, kind, value)| (text, reading(&kind, &value))).collect()
}

fn is_equal(one: Reading, other: Reading) -> bool {
    match (one, other) {
        (Reading::Float(one), Reading::Float(other)) => {
            one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
        }
        (one, other) => one == other,
    }
}

#[test]
fn bare_words_are_known_as_pyyaml_reads_them() {
    for (text, expected) in readings() {
        let found = ambiguity::read_as_yaml_1_1(&text);
        // The fraction of a sexagesimal number is not reckoned.
        let is_base_60 = text.contains(':') && text.contains('.') && matches!(expected, Reading::Float(_));
        let fits = if is_base_60 { matches!(found, Reading::Float(_)) } else { is_equal(found, expected) };
        assert!(fits, "{text:?}: {found:?} instead of {expected:?}");
    }
}

/// The promise: what is accepted means here what it means to Prefect's Python.
#[test]
fn what_is_accepted_is_read_as_pyyaml_reads_it() {
    let (mut accepted, mut refused) = (0, 0);
    for (text, python) in readings() {
        let document = format!("v: {text}\n");
        if text == "<<" {
            continue;
        }
        if !ambiguity::problems(&document, None).is_empty() {
            refused += 1;
            continue;
        }
        // A number too large for any reader here is refused as such.
        let Ok(Value::Object(here)) = read(&document) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let same = match (&here["v"], python) {
            (Value::Null, Reading::Null) => true,
            (Value::String(here), Reading::Text) => *here == text,
            (Value::Bool(here), Reading::Bool(python)) => *here == python,
            (Value::Number(here), Reading::Int(Some(python))) => here.to_string() == python.to_string(),
            (Value::Number(here), Reading::Float(python)) => here.as_f64() == Some(python),
            _ => false,
        };
        assert!(same, "{text:?}: {} here, {python:?} there", here["v"]);
    }
    assert!(accepted > 1000 && refused > 100, "{accepted} accepted, {refused} refused");
}

#[test]
fn ambiguous_words_are_refused_with_their_place_and_both_meanings() {
    for (text, path, said) in [
        ("task_definition: {cpu: 0123}", "task_definition.cpu", "the number 83 in Prefect's YAML 1.1"),
        ("enabled: yes", "enabled", "a text in YAML 1.2, and the truth value true"),
        ("labels: [prod, on]", "labels[1]", "the bare word on"),
        ("max_polls: 1_000", "max_polls", "the number 1000"),
        ("limit: 0o17", "limit", "the number 15 in YAML 1.2, and a text"),
        ("name: 1:30", "name", "the number 90"),
        ("launch_rate: .inf", "launch_rate", "the number inf"),
        ("launch_rate: 1e3", "launch_rate", "a text in Prefect's YAML 1.1"),
        ("a: [{b: 2026-11-30}]", "a[0].b", "a date"),
        ("off: 1", "off", "the truth value false"),
        ("a: {no: 1}", "a.no", "the truth value false"),
        ("name: !Ref Name", "name", "the tag !Ref"),
        ("env_vars: {A: {B: yes}}", "env_vars.A.B", "the bare word yes"),
        ("{[a, b]: 1, c: yes}", "c", "the bare word yes"),
    ] {
        let found = ambiguity::problems(text, Some("env_vars"));
        let [problem] = found.as_slice() else { panic!("{text}: {found:?}") };
        assert_eq!(problem.path, path, "{text}");
        assert!(problem.found.contains(said), "{text}: {problem}");
    }
}

#[test]
fn what_everybody_reads_alike_is_accepted() {
    for text in [
        "env_vars: {A: yes, B: 0123, C: 1:30, D: 2026-11-30}",
        "a: 'yes'\nb: \"0123\"\nc: !!str on\nd: |\n  yes\n",
        "a: y\nb: n\nc: 08\nd: 8080:80\ne: 0x10\nf: 5.5\ng: ~\nh:\ni: null\nj: -5\nk: true\nl: 256\nm: '1e3'\n",
        "base: &base {cpu: 256}\nother: {<<: *base, memory: 512}\n",
        "prefect: 0.15",
        "{\"a\": \"yes\", \"b\": 5, \"c\": [true, null, 1.5]}",
    ] {
        assert_eq!(ambiguity::problems(text, Some("env_vars")), [], "{text}");
    }
}

#[test]
fn json_is_json_whatever_python_makes_of_its_numbers() {
    let value = mapping("{\"a\": 1e3, \"b\": 1E-2}", None).unwrap();
    assert_eq!(json!(value), json!({"a": 1000.0, "b": 0.01}));
}
