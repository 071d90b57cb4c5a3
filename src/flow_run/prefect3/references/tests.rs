#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use serde_json::json;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn named(type_slug: &str, name: &str) -> BlockReference {
    BlockReference::Named { type_slug: type_slug.into(), name: name.into() }
}

fn blocks() -> Blocks {
    Blocks::from([
        (named("secret", "token"), Some(object(json!({"value": "s3cr3t"})))),
        (named("json", "cfg"), Some(object(json!({"value": {"a": [1, 2], "value": 3, "values": 4}})))),
        (named("aws", "creds"), Some(object(json!({"region_name": "eu-west-1", "value": 1})))),
        (BlockReference::Id("id-1".into()), Some(object(json!({"x": "{{ prefect.blocks.secret.token }}"})))),
        (named("secret", "gone"), None),
    ])
}

fn resolved(template: Value) -> Result<Value, String> {
    let configuration = object(json!({"here": template}));
    resolve_blocks(&configuration, &blocks()).map(|map| map["here"].clone()).map_err(|refusal| refusal.0)
}

#[test]
fn references_are_found_wherever_they_stand() {
    let configuration = object(json!({
        "env": {"A": "{{ prefect.blocks.secret.token }}", "B": "x{{ prefect.variables.v }}"},
        "aws_credentials": {"$ref": {"block_document_id": "id-1"}, "ignored": "{{ prefect.blocks.no.no }}"},
        "list": ["{{ prefect.blocks.json.cfg.a[0] }}{{ prefect.variables.w.x }}", 1, null],
        "malformed": "{{ prefect.blocks.secret }}",
    }));
    let expected = [named("json", "cfg"), named("secret", "token"), BlockReference::Id("id-1".into())];
    assert_eq!(block_references(&configuration), BTreeSet::from(expected));
    assert_eq!(variable_names(&configuration), BTreeSet::from(["v".to_owned(), "w.x".to_owned()]));
}

#[test]
fn blocks_are_put_in_with_their_type() {
    for (template, expected) in [
        (json!("{{ prefect.blocks.secret.token }}"), json!("s3cr3t")),
        (json!("https://u:{{ prefect.blocks.secret.token }}@h"), json!("https://u:s3cr3t@h")),
        (json!("{{ prefect.blocks.secret.token.value }}"), json!("s3cr3t")),
        (json!("{{ prefect.blocks.json.cfg }}"), json!({"a": [1, 2], "value": 3, "values": 4})),
        (json!("{{ prefect.blocks.json.cfg.a[1] }}"), json!(2)),
        (json!("{{ prefect.blocks.json.cfg.value }}"), json!({"a": [1, 2], "value": 3, "values": 4})),
        (json!("{{ prefect.blocks.json.cfg.values }}"), json!(4)),
        (json!("n={{ prefect.blocks.json.cfg.a[1] }}"), json!("n=2")),
        (json!("{{ prefect.blocks.aws.creds }}"), json!({"region_name": "eu-west-1", "value": 1})),
        (json!({"$ref": {"block_document_id": "id-1"}}), json!({"x": "{{ prefect.blocks.secret.token }}"})),
        (json!(["{{ prefect.variables.v }}"]), json!(["{{ prefect.variables.v }}"])),
    ] {
        assert_eq!(resolved(template.clone()), Ok(expected), "{template}");
    }
}

#[test]
fn what_cannot_be_put_in_is_refused() {
    for (template, expected) in [
        (
            "{{ prefect.blocks.secret.gone }}",
            "ObjectNotFound: Block not found: 'gone' of type 'secret'. This block was",
        ),
        ("{{ prefect.blocks.secret }}", "ValueError: Invalid block placeholder format: 'prefect.blocks.secret'. Exp"),
        (
            "{{ prefect.blocks.json.cfg.nope }}",
            "ValueError: Invalid template: '{{ prefect.blocks.json.cfg.nope }}'. Could not resolve the keypath in the",
        ),
        (
            "x{{ prefect.blocks.json.cfg }}",
            "ValueError: Invalid template: 'x{{ prefect.blocks.json.cfg }}'. Block placeholder '{{ prefect.blocks.json.cfg }}' resolved to a dict, which cannot be used",
        ),
    ] {
        let refusal = resolved(json!(template)).unwrap_err();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn variables_are_put_in_with_their_type_and_missing_ones_are_empty() {
    let variables = Variables::from([("n".to_owned(), Some(json!(512))), ("gone".to_owned(), None)]);
    let template = object(json!({
        "whole": "{{ prefect.variables.n }}", "part": "a{{ prefect.variables.n }}b{{ prefect.variables.gone }}",
        "missing": "{{ prefect.variables.gone }}", "list": [{"x": "{{ prefect.variables.n }}"}],
    }));
    let expected = json!({"whole": 512, "part": "a512b", "missing": "", "list": [{"x": 512}]});
    assert_eq!(Value::Object(resolve_variables(&template, &variables)), expected);
}
