use super::{good, one, paths, problems, read};
use crate::config::{Document, DocumentKind, read_document};
use serde_json::json;

#[test]
fn json_and_yaml_say_the_same() {
    let yaml = good("prefect: 1\nlabels: [prod, dev]\nenv_vars: {A: x}\ntask_definition:\n  cpu: 256\n");
    let json = good(
        "{\n\t\"prefect\": 1, \"labels\": [\"prod\", \"dev\"],\r\n\t\"env_vars\": {\"A\": \"x\"}, \"task_definition\": {\"cpu\": 256}}",
    );
    assert_eq!(yaml, json);
}

#[test]
fn a_text_that_is_no_yaml_names_the_line_and_nothing_of_its_content() {
    let found = problems(read("prefect: 1\nenv_vars: {TOKEN: geheim\nlabels: [a"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("line "), "{found:?}");
    assert!(!found[0].1.contains("geheim"), "{found:?}");
}

#[test]
fn what_is_wrong_with_a_text_is_said_in_words_for_people() {
    let nested = "a: ".to_owned() + &"[".repeat(70) + &"]".repeat(70);
    let many = "a: [".to_owned() + &"1,".repeat(300_000) + "]";
    for (text, said) in [
        ("labels: [a]\nlabels: [b]\n", "the key \"labels\" twice"),
        ("env_vars: {A: 1, A: 2}", "the key \"A\" twice"),
        ("name: *etl", "an alias without its anchor"),
        ("a: 1\n---\nb: 1\n", "a second document"),
        (nested.as_str(), "too deep"),
        (many.as_str(), "too many values"),
        ("prefect: 1\nlabels: [a", "line "),
        ("prefect: [1}", "line "),
        ("a: &x [*x]", "read"),
        ("<<: 5", "`<<` with something that is no mapping"),
    ] {
        let found = problems(read(text));
        let sentence = &found[0].1;
        assert!(sentence.contains(said), "{:?}: {found:?}", &text[..text.len().min(40)]);
        for word in ["Option", "Policy", "budget", "Budget", "breach", "deserialize", "serde", "::"] {
            assert!(!sentence.contains(word), "{word} in {sentence}");
        }
    }
}

#[test]
fn a_message_is_bounded_whatever_is_wrong() {
    let keys = |count: usize| (0..count).map(|number| format!("labelz_{number}: 1")).collect::<Vec<_>>().join("\n");
    for text in
        [keys(50_000), format!("max_polls: {}", "9".repeat(1_000_000)), format!("name: [{}]", "x".repeat(500_000))]
    {
        let message = read(&text).unwrap_err().to_string();
        assert!(message.len() < 5_000, "{} bytes: {}", message.len(), &message[..200]);
    }
    let message = read(&keys(30)).unwrap_err().to_string();
    assert!(message.contains("in 30 places") && message.ends_with(". And 10 more"), "{message}");
}

#[test]
fn a_key_written_twice_is_refused() {
    let found = problems(read("labels: [a]\nlabels: [b]\n"));
    assert!(found[0].1.contains("labels") && found[0].1.contains("line 2"), "{found:?}");
}

#[test]
fn a_document_that_is_no_mapping_is_refused() {
    for text in ["", "# nothing\n", "[]", "prod", "5", "null", "--- {}\n--- {}\n"] {
        assert_eq!(paths(text), [""], "{text:?}");
    }
}

#[test]
fn numbers_and_words_in_env_vars_stay_as_written() {
    let config = good(
        "env_vars:\n  A: 1.10\n  B: 0x10\n  C: 007\n  D: true\n  E: True\n  F: yes\n  G: 1_000\n  H: 1e3\n  I: text\n  J: '5'\n  K: 123456789012345678901234567890\n  L: -0.0\n",
    );
    let expected = [
        ("A", "1.10"),
        ("B", "0x10"),
        ("C", "007"),
        ("D", "true"),
        ("E", "True"),
        ("F", "yes"),
        ("G", "1_000"),
        ("H", "1e3"),
        ("I", "text"),
        ("J", "5"),
        ("K", "123456789012345678901234567890"),
        ("L", "-0.0"),
    ];
    assert_eq!(config.env_vars, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn deep_nesting_is_refused_and_does_no_harm() {
    for text in
        ["[".repeat(100_000), "- ".repeat(100_000), "a: ".to_owned() + &"{b: ".repeat(50_000), "{\"a\":".repeat(9_000)]
    {
        assert_eq!(paths(&text), [""], "{}", &text[..20]);
    }
}

#[test]
fn documents_keep_what_is_in_them() {
    let config = good(
        "run_task_kwargs: {count: 2, overrides: {containerOverrides: [{memory: 5}]}, tags: null}\ntask_definition_path: s3://bucket/a/b.yaml",
    );
    let kwargs = json!({"count": 2, "overrides": {"containerOverrides": [{"memory": 5}]}, "tags": null});
    assert_eq!(one(&config).run_task_kwargs, Some(Document::Inline(kwargs.as_object().unwrap().clone())));
    assert_eq!(one(&config).task_definition, Some(Document::Path("s3://bucket/a/b.yaml".to_owned())));
}

#[test]
fn the_shape_that_launches_merge_into_is_checked() {
    let text = "
run_task_kwargs:
  overrides: {containerOverrides: [{name: flow}, flow, {environment: [A, {name: B}]}, {name: 5}]}
  networkConfiguration: [subnet-1]
  capacityProviderStrategy: FARGATE_SPOT
task_definition:
  containerDefinitions: [{name: flow, environment: {A: b}}]
";
    assert_eq!(
        paths(text),
        [
            "task_definition.containerDefinitions[0].environment",
            "run_task_kwargs.overrides.containerOverrides[1]",
            "run_task_kwargs.overrides.containerOverrides[2].environment[0]",
            "run_task_kwargs.overrides.containerOverrides[3].name",
            "run_task_kwargs.capacityProviderStrategy",
            "run_task_kwargs.networkConfiguration",
        ]
    );
    assert_eq!(paths("run_task_kwargs: {overrides: [{}]}"), ["run_task_kwargs.overrides"]);
}

#[test]
fn documents_that_lie_elsewhere_are_read_and_checked_alike() {
    let definition =
        read_document(DocumentKind::TaskDefinition, "s3://b/k", "cpu: 256\ncontainerDefinitions: []").unwrap();
    assert_eq!(json!(definition), json!({"cpu": 256, "containerDefinitions": []}));
    let errors = read_document(DocumentKind::RunTaskKwargs, "s3://b/k", "overrides: 5").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "the configuration s3://b/k is wrong: `overrides`: found a number; allowed: a mapping"
    );
}

/// What the Python agents were run with is accepted here.
#[test]
fn the_golden_cases_agents_are_valid() {
    let mut seen = 0;
    for version in ["v1-0.15.0", "v1-1.4.1"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let case: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let mut agent = case["agent"].as_object().cloned().unwrap_or_default();
            for of_the_test in ["config", "ec2"] {
                agent.remove(of_the_test);
            }
            read(&json!(agent).to_string()).unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
            seen += 1;
        }
    }
    assert!(seen > 150, "only {seen} cases");
}
