//! Where a flow is stored. Only Docker storage matters for a launch, but a storage that Prefect cannot load fails the
//! run, and better here than in its container.

use super::FieldType::{Flag, Integer, Mapping, Text, TextList, TextMapping, ValueMapping};
use super::{SchemaField, check, optional, required, typed_object, unsupported_type};
use crate::config::Rules;
use crate::model::RunRefusal;
use crate::python_text::accident;
use serde_json::{Map, Value};

/// A storage that Prefect could load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    /// The flow is in an image.
    Docker(DockerStorage),
    /// The flow is loaded by its container.
    Other,
}

/// The image a flow was built into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DockerStorage {
    registry_url: Option<String>,
    image_name: Option<String>,
    image_tag: Option<String>,
}

impl DockerStorage {
    /// `registry/name:tag`. The registry and the name are joined like file paths.
    pub(crate) fn image(&self) -> Result<String, RunRefusal> {
        let (Some(name), Some(tag)) = (&self.image_name, &self.image_tag) else {
            return Err(RunRefusal("Docker storage is missing required fields image_name and image_tag".into()));
        };
        let registry = self.registry_url.as_deref().unwrap_or_default();
        Ok(format!("{}:{tag}", join_paths(registry, name)))
    }
}

/// Loads a serialised storage by its `type`.
pub(crate) fn load(storage: &Value, rules: Rules) -> Result<Storage, RunRefusal> {
    let (object, kind) = typed_object(storage)?;
    let fields = fields(kind, rules).ok_or_else(|| unsupported_type(kind))?;
    let common = [required("flows", TextMapping), optional("secrets", TextList)];
    let all: Vec<SchemaField> = common.iter().chain(fields).copied().collect();
    check(object, &all)?;
    check_complete(kind, object, rules)?;
    Ok(if kind == "Docker" { Storage::Docker(docker(object)) } else { Storage::Other })
}

fn docker(object: &Map<String, Value>) -> DockerStorage {
    let text = |key| object.get(key).and_then(Value::as_str).map(str::to_owned);
    DockerStorage { registry_url: text("registry_url"), image_name: text("image_name"), image_tag: text("image_tag") }
}

const SCRIPT: SchemaField = optional("stored_as_script", Flag);

fn fields(kind: &str, rules: Rules) -> Option<&'static [SchemaField]> {
    Some(match kind {
        "Azure" if rules == Rules::V0_15 => &AZURE[..3],
        "Azure" => &AZURE,
        "Bitbucket" => &BITBUCKET,
        "CodeCommit" => &CODE_COMMIT,
        "Docker" => &DOCKER,
        "GCS" => &GCS,
        "Git" if rules == Rules::V0_15 => &GIT_0_15,
        "Git" => &GIT,
        "GitHub" => &GITHUB,
        "GitLab" => &GITLAB,
        "Local" => &LOCAL,
        "Module" => &MODULE,
        "S3" => &S3,
        "Storage" => &[],
        "Webhook" => &WEBHOOK,
        _ => return None,
    })
}

const AZURE: [SchemaField; 4] =
    [required("container", Text), optional("blob_name", Text), SCRIPT, optional("connection_string_secret", Text)];
const BITBUCKET: [SchemaField; 9] = [
    required("project", Text),
    required("repo", Text),
    optional("workspace", Text),
    optional("host", Text),
    optional("path", Text),
    optional("ref", Text),
    optional("access_token_secret", Text),
    optional("cloud_username_secret", Text),
    optional("cloud_app_password_secret", Text),
];
const CODE_COMMIT: [SchemaField; 4] = [
    required("repo", Text),
    optional("path", Text),
    optional("commit", Text),
    optional("client_options", ValueMapping),
];
const DOCKER: [SchemaField; 6] = [
    optional("registry_url", Text),
    optional("image_name", Text),
    optional("image_tag", Text),
    optional("path", Text),
    SCRIPT,
    required("prefect_version", Text),
];
const GCS: [SchemaField; 4] = [required("bucket", Text), optional("key", Text), optional("project", Text), SCRIPT];
const GIT: [SchemaField; 13] = [
    required("flow_path", Text),
    optional("repo", Text),
    required("repo_host", Text),
    optional("flow_name", Text),
    optional("git_clone_url_secret_name", Text),
    optional("git_token_secret_name", Text),
    optional("git_token_username", Text),
    optional("branch_name", Text),
    optional("tag", Text),
    optional("commit", Text),
    optional("clone_depth", Integer),
    required("use_ssh", Flag),
    required("format_access_token", Flag),
];
const GIT_0_15: [SchemaField; 12] = [
    required("flow_path", Text),
    required("repo", Text),
    required("repo_host", Text),
    optional("flow_name", Text),
    optional("git_token_secret_name", Text),
    optional("git_token_username", Text),
    optional("branch_name", Text),
    optional("tag", Text),
    optional("commit", Text),
    optional("clone_depth", Integer),
    required("use_ssh", Flag),
    required("format_access_token", Flag),
];
const GITHUB: [SchemaField; 5] = [
    required("repo", Text),
    optional("ref", Text),
    required("path", Text),
    optional("access_token_secret", Text),
    optional("base_url", Text),
];
const GITLAB: [SchemaField; 5] = [
    required("repo", Text),
    optional("path", Text),
    optional("host", Text),
    optional("ref", Text),
    optional("access_token_secret", Text),
];
const LOCAL: [SchemaField; 3] = [required("directory", Text), optional("path", Text), SCRIPT];
const MODULE: [SchemaField; 1] = [required("module", Text)];
const S3: [SchemaField; 4] =
    [required("bucket", Text), optional("key", Text), SCRIPT, optional("client_options", ValueMapping)];
const WEBHOOK: [SchemaField; 5] = [
    required("build_request_kwargs", Mapping),
    required("build_request_http_method", Text),
    required("get_flow_request_kwargs", Mapping),
    required("get_flow_request_http_method", Text),
    SCRIPT,
];

/// What the storage's constructor checks.
fn check_complete(kind: &str, object: &Map<String, Value>, rules: Rules) -> Result<(), RunRefusal> {
    if kind == "Storage" {
        let python = "Can't instantiate abstract class Storage with abstract method add_flow";
        return Err(accident("`Storage` is not a kind of storage that can hold a flow", python));
    }
    let needed: &[&str] = match (kind, rules) {
        ("Azure", _) => &["container"],
        ("Bitbucket", _) => &["project", "repo"],
        ("CodeCommit" | "GitLab", _) => &["repo"],
        ("GCS" | "S3", _) => &["bucket"],
        ("Git", Rules::V0_15) => &["flow_path", "repo"],
        ("Git", Rules::V1) => &["flow_path"],
        ("GitHub", _) => &["repo", "path"],
        ("Module", _) => &["module"],
        ("Webhook", _) => &[
            "build_request_kwargs",
            "build_request_http_method",
            "get_flow_request_kwargs",
            "get_flow_request_http_method",
        ],
        _ => &[],
    };
    let missing: Vec<_> =
        needed.iter().filter(|key| !object.contains_key(**key)).map(|key| format!("'{key}'")).collect();
    if let Some((last, others)) = missing.split_last() {
        let names = match others {
            [] => last.clone(),
            [one] => format!("{one} and {last}"),
            many => format!("{}, and {last}", many.join(", ")),
        };
        let arguments = if others.is_empty() { "argument" } else { "arguments" };
        let count = missing.len();
        let python = format!("{kind}.__init__() missing {count} required positional {arguments}: {names}");
        return Err(accident(format!("The flow's {kind} storage is incomplete"), python));
    }
    check_combination(kind, object, rules)
}

fn check_combination(kind: &str, object: &Map<String, Value>, rules: Rules) -> Result<(), RunRefusal> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let is_set = |key: &str| text(key).is_some_and(|text| !text.is_empty());
    let refuse = |message: String| Err(RunRefusal(message));
    match kind {
        "Bitbucket" if is_set("workspace") && is_set("access_token_secret") => refuse(
            "`access_token_secret` and `workspace` are both set. Setting `workspace` is only for use with Bitbucket \
             Cloud which uses `cloud_username_secret` and `cloud_app_password_secret` to provide authentication."
                .into(),
        ),
        "Git" if rules == Rules::V1 && text("repo").is_none() && text("git_clone_url_secret_name").is_none() => {
            refuse("Either `repo` or `git_clone_url_secret_name` must be provided".into())
        }
        "Git" if ["branch_name", "tag", "commit"].iter().filter(|key| is_set(key)).count() > 1 => {
            refuse("Please provide only one of the following parameters: `branch_name`, `tag`, `commit`".into())
        }
        "Webhook" => ["build_request_http_method", "get_flow_request_http_method"]
            .iter()
            .filter_map(|key| text(key))
            .find(|method| !["GET", "PATCH", "POST", "PUT"].contains(method))
            .map_or(Ok(()), |method| refuse(format!("HTTP method '{method}' not recognized"))),
        _ => Ok(()),
    }
}

/// `PurePosixPath(first, second)`: an absolute second path stands alone; empty and `.` parts vanish.
fn join_paths(first: &str, second: &str) -> String {
    let joined = if second.starts_with('/') { second.to_owned() } else { format!("{first}/{second}") };
    let joined = if first.is_empty() { second.to_owned() } else { joined };
    let parts: Vec<_> = joined.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let root = match joined.bytes().take_while(|byte| *byte == b'/').count() {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let path = format!("{root}{}", parts.join("/"));
    if path.is_empty() { ".".into() } else { path }
}

#[cfg(test)]
mod tests;
