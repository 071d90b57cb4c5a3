#![allow(clippy::needless_pass_by_value)]

use super::{good, one, paths, problems, read};
use crate::config::{Document, DocumentKind, check_document};
use crate::ecs_model::UnknownMembers;
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
        "run_task_kwargs: {count: 2, overrides: {containerOverrides: [{memory: 5}]}, tags: []}\ntask_definition_path: s3://bucket/a/b.yaml",
    );
    let kwargs = json!({"count": 2, "overrides": {"containerOverrides": [{"memory": 5}]}, "tags": []});
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
            "run_task_kwargs.networkConfiguration",
            "run_task_kwargs.capacityProviderStrategy",
        ]
    );
    assert_eq!(paths("run_task_kwargs: {overrides: [{}]}"), ["run_task_kwargs.overrides"]);
}

#[test]
fn documents_that_lie_elsewhere_are_read_and_checked_alike() {
    let check = |which, document: serde_json::Value| {
        check_document(which, "s3://b/k", document.as_object().unwrap(), UnknownMembers::Refuse)
    };
    check(DocumentKind::TaskDefinition, json!({"cpu": 256, "containerDefinitions": []})).unwrap();
    let errors = check(DocumentKind::RunTaskKwargs, json!({"overrides": 5})).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "the configuration s3://b/k is wrong: `overrides`: found a number; allowed: a mapping"
    );
}

/// Where a document is wrong, what was found there and what is allowed.
fn wrong(which: DocumentKind, document: serde_json::Value) -> Vec<(String, String, String)> {
    let document = document.as_object().unwrap().clone();
    let errors = check_document(which, "d", &document, UnknownMembers::Refuse).err();
    let problems = errors.into_iter().flat_map(|errors| errors.problems);
    problems.map(|problem| (problem.path, problem.found, problem.allowed)).collect()
}

/// One wrong place, as people read it.
fn only(which: DocumentKind, document: serde_json::Value) -> String {
    let [(path, found, allowed)] = wrong(which, document).try_into().unwrap();
    format!("{path}: {found}; {allowed}")
}

#[test]
fn what_is_wrong_at_every_depth_is_named_with_what_is_allowed() {
    use DocumentKind::{RunTaskKwargs, TaskDefinition};
    let network = json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"], "assignPublicIp": true}}});
    let expected = "networkConfiguration.awsvpcConfiguration.assignPublicIp: a truth value; text (numbers and truth values in quotes)";
    assert_eq!(only(RunTaskKwargs, network), expected);
    let missing = json!({"networkConfiguration": {"awsvpcConfiguration": {}}});
    assert_eq!(only(RunTaskKwargs, missing), "networkConfiguration.awsvpcConfiguration.subnets: nothing; a list");
    let of_container = |container| only(TaskDefinition, json!({"containerDefinitions": [container]}));
    let near = of_container(json!({"Name": "flow"}));
    assert!(
        near.starts_with("containerDefinitions[0].Name: an unknown member (did you mean `name`?); name, image, "),
        "{near}"
    );
    assert!(near.contains("botocore ") && near.contains("`unknown_members: send`"), "{near}");
    assert_eq!(
        of_container(json!({"portMappings": [{"containerPort": "8080"}]})),
        "containerDefinitions[0].portMappings[0].containerPort: a text; a whole number, not in quotes"
    );
    assert_eq!(
        of_container(json!({"mountPoints": [{"readOnly": "false"}]})),
        "containerDefinitions[0].mountPoints[0].readOnly: a text; true or false, not in quotes"
    );
    let strategy = json!({"capacityProviderStrategy": [{"capacityProvider": "c", "weight": -1}]});
    assert_eq!(only(RunTaskKwargs, strategy), "capacityProviderStrategy[0].weight: the number -1; at least 0");
    assert_eq!(
        only(TaskDefinition, json!({"tags": [{"key": ""}]})),
        "tags[0].key: a length of 0; a length of at least 1"
    );
    let union = json!({"resourceRequirements": [{"type": "GPU", "sharingStrategy": {}}]});
    assert!(of_container(union).ends_with("sharingStrategy: 0 members; exactly one of nvidiaMps"));
    let described = wrong(TaskDefinition, json!({"taskDefinition": {"family": "f"}, "tags": []}));
    assert!(described[0].1.contains("describe-task-definition"), "{described:?}");
    assert!(only(TaskDefinition, json!({"revision": 3})).contains("leave it out"));
    assert!(only(RunTaskKwargs, json!({"taskDefinition": "f:1"})).contains("`task_definition`"));
}

#[test]
fn what_prefects_agent_mends_is_not_wrong() {
    use DocumentKind::{RunTaskKwargs, TaskDefinition};
    let containers = json!([{"name": "side"}, {"name": "flow", "environment": {}}]);
    let definition = json!({"cpu": 256, "memory": 512.0, "containerDefinitions": containers});
    assert_eq!(wrong(TaskDefinition, definition).len(), 0);
    let flow = json!({"name": "flow", "command": "replaced anyway", "environment": ""});
    let kwargs = json!({"networkConfiguration": null, "startedBy": 5,
        "overrides": {"cpu": 256, "memory": 512, "containerOverrides": [flow, {"name": "side"}]}});
    assert_eq!(wrong(RunTaskKwargs, kwargs).len(), 0);
    let side = json!({"overrides": {"containerOverrides": [{"name": "side", "command": "x", "environment": {}}]}});
    assert_eq!(wrong(RunTaskKwargs, side).len(), 2);
    let nameless = json!({"containerDefinitions": [{"name": "flow", "environment": [{"value": "x"}]}]});
    assert_eq!(only(TaskDefinition, nameless), "containerDefinitions[0].environment[0].name: nothing; text");
}

#[test]
fn unknown_members_pass_where_the_agent_says_so() {
    let text = |policy: &str| format!("{policy}\nrun_task_kwargs: {{newThing: 1, count: '2'}}");
    assert_eq!(paths(&text("")), ["run_task_kwargs.newThing", "run_task_kwargs.count"]);
    assert_eq!(paths(&text("unknown_members: refuse")), ["run_task_kwargs.newThing", "run_task_kwargs.count"]);
    assert_eq!(paths(&text("unknown_members: send")), ["run_task_kwargs.count"]);
    assert_eq!(good("run_task_kwargs: {newThing: 1}\nunknown_members: send").unknown_members, UnknownMembers::Send);
    assert_eq!(paths("unknown_members: drop"), ["unknown_members"]);
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
