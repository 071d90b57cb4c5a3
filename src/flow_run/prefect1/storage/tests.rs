#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::storage::{self, Storage};
use crate::config::Rules;
use serde_json::{Value, json};

fn load(storage: &Value) -> Result<Option<String>, String> {
    match storage::load(storage, Rules::V1).map_err(|refusal| refusal.0)? {
        Storage::Docker(docker) => docker.image().map(Some).map_err(|refusal| refusal.0),
        Storage::Other => Ok(None),
    }
}

#[test]
fn registry_and_name_are_joined_like_paths() {
    let cases = [
        (json!("gcr.io/p/"), "a/b", "gcr.io/p/a/b:t"),
        (json!("https://r/a"), "n", "https:/r/a/n:t"),
        (json!("reg"), "/abs/n", "/abs/n:t"),
        (json!("//r"), "n/", "//r/n:t"),
        (json!("///r"), "./n", "/r/n:t"),
        (Value::Null, "n", "n:t"),
        (json!(""), "", ".:t"),
        (json!("reg"), "//abs", "//abs:t"),
    ];
    for (registry, name, image) in cases {
        let storage = json!({ "type": "Docker", "registry_url": registry, "image_name": name, "image_tag": "t" });
        assert_eq!(load(&storage), Ok(Some(image.to_owned())), "{storage}");
    }
}

#[test]
fn every_kind_of_storage_is_known() {
    let webhook = json!({
        "type": "Webhook", "build_request_kwargs": {}, "build_request_http_method": "POST",
        "get_flow_request_kwargs": {}, "get_flow_request_http_method": "GET",
    });
    let cases = [
        json!({ "type": "Azure", "container": "c" }),
        json!({ "type": "Bitbucket", "project": "p", "repo": "r" }),
        json!({ "type": "CodeCommit", "repo": "r", "client_options": { "a": 1 } }),
        json!({ "type": "GCS", "bucket": "b", "unknown": 1 }),
        json!({ "type": "Git", "flow_path": "f", "repo": "o/r", "use_ssh": "yes", "clone_depth": "1" }),
        json!({ "type": "GitHub", "repo": "o/r", "path": "f.py" }),
        json!({ "type": "GitLab", "repo": "o/r" }),
        json!({ "type": "Local", "flows": { "f": "/f" }, "secrets": ["s"] }),
        json!({ "type": "Module", "module": "m" }),
        json!({ "type": "S3", "bucket": "b", "key": null, "stored_as_script": false }),
        webhook,
    ];
    for storage in cases {
        assert_eq!(load(&storage), Ok(None), "{storage}");
    }
}

#[test]
fn what_prefect_cannot_load_is_refused_in_its_words() {
    let cases = [
        (Value::Null, "{'_schema': 'Invalid data type: None'}"),
        (json!({}), "{'type': ['Missing data for required field.']}"),
        (json!({ "type": "Tape" }), "{'type': ['Unsupported value: Tape']}"),
        (json!({ "type": ["S3"] }), "{'type': [\"Invalid value: ['S3']\"]}"),
        (json!({ "type": "S3", "bucket": null }), "{'bucket': ['Field may not be null.']}"),
        (
            json!({ "type": "S3", "bucket": "b", "stored_as_script": "tRue" }),
            "{'stored_as_script': ['Not a valid boolean.']}",
        ),
        (json!({ "type": "Local", "secrets": ["a", 1] }), "{'secrets': {1: ['Not a valid string.']}}"),
        (
            json!({ "type": "GitHub" }),
            "The flow's GitHub storage is incomplete: GitHub.__init__() missing 2 required positional arguments: 'repo' \
             and 'path'",
        ),
        (json!({ "type": "Git", "flow_path": "f" }), "Either `repo` or `git_clone_url_secret_name` must be provided"),
    ];
    for (storage, expected) in cases {
        assert_eq!(load(&storage), Err(expected.to_owned()), "{storage}");
    }
}
