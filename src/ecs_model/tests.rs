#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use super::{FILE, Model};
use serde_json::{Map, Value, json};
use std::fmt::Write;

fn sentences(operation: Operation, body: &Value) -> Vec<String> {
    check(operation, body.as_object().unwrap(), &[], UnknownMembers::Refuse).sentences()
}

fn definition(container: Value) -> Value {
    json!({"family": "f", "containerDefinitions": [container]})
}

/// `tests/conformance/test_ecs_shapes.py` holds the same cases against botocore itself.
#[test]
fn botocore_says_the_same() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let operation = match case["operation"].as_str().unwrap() {
            "RunTask" => Operation::RunTask,
            "RegisterTaskDefinition" => Operation::RegisterTaskDefinition,
            other => panic!("no operation {other}"),
        };
        assert_eq!(json!(sentences(operation, &case["input"])), case["sentences"], "{}", case["input"]);
    }
}

#[test]
fn every_line_of_the_file_is_understood() {
    let model = Model::read(FILE);
    let mut written = format!("botocore {}\n", model.botocore);
    for name in &model.order {
        let structure = model.structure(name);
        writeln!(written, "{name}{}", if structure.is_union { " |" } else { "" }).unwrap();
        for member in &structure.members {
            let required = if member.is_required { "!" } else { "" };
            writeln!(written, " {}{required} {}", member.name, spelled(&model, &member.shape)).unwrap();
        }
    }
    assert_eq!(written, FILE);
}

fn spelled(model: &Model, shape: &Shape) -> String {
    let at_least = |text: String, least: i64| if least > 0 { format!("{text}>={least}") } else { text };
    match shape {
        Shape::Text { least } => at_least("string".into(), *least),
        Shape::Integer { least } => least.map_or("integer".into(), |least| format!("integer>={least}")),
        Shape::Boolean => "boolean".into(),
        Shape::List { of, least } => at_least(format!("[{}]", spelled(model, of)), *least),
        Shape::Map(of) => format!("{{{}}}", spelled(model, of)),
        Shape::Structure(name) => {
            assert!(!model.structure(name).members.is_empty(), "{name} is nowhere");
            (*name).into()
        }
    }
}

/// Python takes a truth value for a number; ECS does not.
#[test]
fn a_truth_value_is_no_number() {
    let found = sentences(Operation::RunTask, &json!({"taskDefinition": "f", "count": true}));
    let expected =
        "Invalid type for parameter count, value: True, type: <class 'bool'>, valid types: <class 'int'>".to_owned();
    assert_eq!(found, [expected]);
}

#[test]
fn what_is_put_in_later_is_not_missed() {
    let empty = Map::new();
    let problems = check(Operation::RegisterTaskDefinition, &empty, &["family"], UnknownMembers::Refuse);
    assert_eq!(problems.sentences(), ["Missing required parameter in input: \"containerDefinitions\""]);
}

#[test]
fn unknown_members_may_pass_and_nothing_else() {
    let body = json!({"family": "f", "new": {}, "containerDefinitions": [{"newer": 1, "cpu": "1"}]});
    let problems =
        check(Operation::RegisterTaskDefinition, body.as_object().unwrap(), &[], UnknownMembers::Send).sentences();
    let cpu = "Invalid type for parameter containerDefinitions[0].cpu, value: 1, type: <class 'str'>, valid types: <class 'int'>";
    assert_eq!(problems, [cpu]);
}

#[test]
fn messages_stay_short() {
    let keys: Map<String, Value> = (0..50_000).map(|n| (format!("k{n}"), json!(1))).collect();
    let body = definition(json!({"name": "x".repeat(1_000_000), "image": {"x".repeat(1_000_000): [1]},
        "dockerLabels": {"y".repeat(1_000_000): 5}, "z".repeat(1_000_000): 1, "linuxParameters": keys}));
    let found = sentences(Operation::RegisterTaskDefinition, &body);
    assert_eq!(found.last().unwrap(), "(and 49983 more)");
    assert!(found.iter().map(String::len).sum::<usize>() < 20_000, "{}", found.join("\n").len());
}

fn advice(operation: Operation, body: &Value) -> Option<String> {
    check(operation, body.as_object().unwrap(), &[], UnknownMembers::Refuse).advice()
}

#[test]
fn advice_names_the_model_the_way_out_and_what_was_meant() {
    let way_out = format!("botocore {}", botocore());
    let of = |body: &Value| {
        let advice = advice(Operation::RegisterTaskDefinition, body).unwrap();
        assert!(advice.contains(&way_out) && advice.contains("`unknown_members: send`"), "{advice}");
        advice
    };
    let mut body = definition(json!({"name": "flow", "read_only_rootfilesystem": true}));
    assert!(of(&body).starts_with("Write \"readonlyRootFilesystem\" for \"read_only_rootfilesystem\"."));
    body = definition(json!({"name": "flow"}));
    body["Family"] = json!("mine");
    assert!(of(&body).starts_with("Write \"family\" for \"Family\"."));
    body = definition(json!({"name": "flow"}));
    body["taskDefinitionArn"] = json!("arn");
    assert!(of(&body).contains("leave out taskDefinitionArn, revision, "));
    assert!(of(&json!({"taskDefinition": body, "tags": []})).contains("take that part"));
    assert_eq!(advice(Operation::RegisterTaskDefinition, &json!({"family": 5})), None);
}
