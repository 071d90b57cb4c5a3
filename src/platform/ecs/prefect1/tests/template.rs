#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::{TemplatePlace, launch_spec, template_path};
use super::{agent, object, run};
use crate::config::Rules;
use crate::platform::ecs::Definition;
use serde_json::json;

fn place(path: &str, rules: Rules) -> Result<TemplatePlace, String> {
    let found = template_path(&agent(rules), &run(&json!({ "task_definition_path": path })));
    found.map(|found| found.unwrap().place).map_err(|refusal| refusal.0)
}

#[test]
fn schemes_say_where_a_template_lies() {
    let file = |path: &str| Ok(TemplatePlace::AgentFile(path.into()));
    let cases = [
        ("/etc/td.yaml", file("/etc/td.yaml")),
        ("td.yaml", file("td.yaml")),
        ("file:///etc/td.yaml", file("/etc/td.yaml")),
        ("agent:///etc/td.yaml", file("/etc/td.yaml")),
        ("local://host/etc/td.yaml?x#y", file("/etc/td.yaml")),
        ("s3://bucket/td.yaml", Ok(TemplatePlace::Remote)),
        ("HTTPS://host/td.yaml", Ok(TemplatePlace::Remote)),
        ("ssm://name", Ok(TemplatePlace::Remote)),
        ("ftp://x/td.yaml", Err("Unsupported file scheme ftp://x/td.yaml".to_owned())),
        ("C:\\td.yaml", Err("Unsupported file scheme C:\\td.yaml".to_owned())),
    ];
    for (path, expected) in cases {
        assert_eq!(place(path, Rules::V1), expected, "{path}");
    }
    assert_eq!(place("gs://b/td", Rules::V0_15), Err("Unsupported file scheme gs://b/td".to_owned()));
    for (path, rules) in [("gs://b/td", Rules::V1), ("gcs://b/td", Rules::V1), ("gcs://b/td", Rules::V0_15)] {
        let refusal = place(path, rules).unwrap_err();
        assert!(refusal.starts_with("Task definitions on Google Cloud Storage are not supported"), "{refusal}");
    }
}

#[test]
fn a_run_without_a_path_needs_no_template() {
    assert_eq!(template_path(&agent(Rules::V1), &run(&json!({}))), Ok(None));
}

#[test]
fn a_loaded_template_is_used_and_a_missing_one_refused() {
    let run = run(&json!({ "task_definition_path": "s3://bucket/td.yaml" }));
    let template = object(json!({ "cpu": 256, "containerDefinitions": [{ "name": "flow", "image": "i" }] }));
    match launch_spec(&agent(Rules::V1), &run, Some(&template)).unwrap().definition {
        Definition::Own(body) => {
            assert_eq!(body["cpu"], json!("256"));
            assert_eq!(body["containerDefinitions"][0]["image"], json!("i"));
        }
        other @ Definition::Existing { .. } => panic!("{other:?}"),
    }
    let refusal = launch_spec(&agent(Rules::V1), &run, None).unwrap_err();
    assert_eq!(refusal.0, "The task definition at s3://bucket/td.yaml was not loaded");
}
