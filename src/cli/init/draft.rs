//! Flags → a configuration, as text. Pure; what lies in local files is handed in.

use crate::cli::args::AgentFlags;
use crate::redaction::REDACTED;
use crate::redaction::known::{VARIABLES_OF_RUNS, is_secret};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Keys of a configuration, in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Draft(Vec<(&'static str, Value)>);

impl Draft {
    /// Sets a key; one that is set keeps its place.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Sets a key where there is a value.
    pub(super) fn set_some(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Sets all keys of another.
    pub(super) fn extend(&mut self, other: &Self) {
        for (key, value) in &other.0 {
            self.set(key, value.clone());
        }
    }

    /// The value of a key.
    #[cfg(test)]
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The configuration as a value.
    pub(super) fn value(&self) -> Value {
        self.0.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    /// The configuration as it is shown: without variables that are secrets.
    pub(super) fn shown(&self) -> String {
        let mut shown = self.clone();
        let variables = shown.0.iter_mut().filter(|(key, _)| VARIABLES_OF_RUNS.contains(key));
        for (name, value) in variables.filter_map(|(_, value)| value.as_object_mut()).flatten() {
            if value.as_str().is_some_and(|text| is_secret(name, text)) {
                *value = json!(REDACTED);
            }
        }
        shown.text()
    }

    /// The configuration as YAML that says the same to every reader of YAML.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            let _ = writeln!(text, "{key}: {}", flow(value));
        }
        text
    }
}

/// A value on one line. JSON is YAML; plain words are easier to read.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{}: {}", json!(key), inner(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => escaped(other),
    }
}

/// Inside of brackets only the plainest words go without quotes.
fn inner(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) && !text.contains([':', '/']) => text.clone(),
        Value::String(_) => escaped(value),
        other => flow(other),
    }
}

/// JSON, with what YAML would not take as it is escaped. Parameter Store takes two braces for its own syntax.
fn escaped(value: &Value) -> String {
    let needs_escape =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    let json = value.to_string().replace("{{", "{\\u007b");
    json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        if needs_escape(c) {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    })
}

/// Whether a text is a text without quotes too: it begins with a letter, and is none of YAML's own words.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_lowercase().as_str())
}

impl AgentFlags {
    /// Those that `others` leave open.
    pub(super) fn without_overridden(&self, others: &Self) -> Self {
        let mut left = self.clone();
        let overridden = [
            (&mut left.task_definition, &others.task_definition),
            (&mut left.run_task_kwargs, &others.run_task_kwargs),
            (&mut left.log_level, &others.log_level),
        ];
        for (flag, other) in overridden {
            if other.is_some() {
                *flag = None;
            }
        }
        left
    }
}

/// What becomes of the flags of `prefect agent ecs start`, and what a person should know about them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FromFlags {
    /// Level of the functions' log.
    pub(super) log_level: Option<&'static str>,
    /// For people.
    pub(super) notes: Vec<String>,
}

/// What a flag of a path means: where it lies, or what is in it.
pub(super) type ReadDocument<'a> = &'a dyn Fn(&str) -> Result<Map<String, Value>, String>;

/// Puts the flags into the draft. Errors name the flag.
pub(super) fn agent_flags(draft: &mut Draft, flags: &AgentFlags, read: ReadDocument<'_>) -> Result<FromFlags, String> {
    let mut from = FromFlags::default();
    if !flags.labels.is_empty() {
        let mut labels = flags.labels.clone();
        // As the Python agent has them.
        labels.sort();
        labels.dedup();
        draft.set("labels", labels);
    }
    if !flags.env.is_empty() {
        let mut variables = Map::new();
        for written in &flags.env {
            // What has no name may be a value alone, and a secret.
            let pair = written.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = pair.ok_or_else(|| "--env: one of them has no name: write NAME=VALUE".to_owned())?;
            variables.insert(name.to_owned(), json!(value));
        }
        draft.set("env_vars", Value::Object(variables));
    }
    draft.set_some("agent_config_id", flags.agent_config_id.clone());
    draft.set_some("tenant_id", flags.tenant_id.clone());
    draft.set_some("max_polls", flags.max_polls);
    if flags.no_cloud_logs {
        draft.set("no_cloud_logs", true);
    }
    draft.set_some("cluster", flags.cluster.clone());
    draft.set_some("launch_type", flags.launch_type.as_ref().map(|launch_type| launch_type.to_uppercase()));
    draft.set_some("task_role_arn", flags.task_role_arn.clone());
    draft.set_some("execution_role_arn", flags.execution_role_arn.clone());
    draft.set_some("region_name", flags.region_name.clone());
    let documents = [
        ("--task-definition", &flags.task_definition, "task_definition", "task_definition_path"),
        ("--run-task-kwargs", &flags.run_task_kwargs, "run_task_kwargs", "run_task_kwargs_path"),
    ];
    for (flag, path, key, path_key) in documents {
        let Some(path) = path else { continue };
        if ["s3://", "https://", "http://", "ssm://"].iter().any(|scheme| path.starts_with(scheme)) {
            draft.set(path_key, path.clone());
        } else {
            let document = read(path).map_err(|error| format!("{flag} {path}: {error}"))?;
            draft.set(key, Value::Object(document));
        }
    }
    from.log_level = match flags.log_level.as_deref().map(str::to_uppercase).as_deref() {
        None | Some("INFO") => None,
        Some("DEBUG") => Some("DEBUG"),
        Some(other) => {
            from.notes
                .push(format!("--log-level {other}: the functions log at INFO at the least (the stack's LogLevel)"));
            None
        }
    };
    if flags.agent_address.is_some() {
        let note = "--agent-address: health is asked of the stack's output HealthUrl";
        from.notes.push(note.to_owned());
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::config::{AgentConfig, ConfigSource, Environment, GenerationConfig, read_agent};
    use clap::Parser;
    use proptest::prelude::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: AgentFlags,
    }

    fn draft_of(line: &[&str]) -> Result<(Draft, FromFlags), String> {
        let words = std::iter::once("x").chain(line.iter().copied());
        let flags = Line::try_parse_from(words).map_err(|error| error.to_string())?.flags;
        let mut draft = Draft::default();
        draft.set("prefect", 1);
        let read = |path: &str| match path {
            "def.yaml" => Ok(Map::from_iter([("cpu".to_owned(), json!("512"))])),
            _ => Err("there is no such file".to_owned()),
        };
        let from = agent_flags(&mut draft, &flags, &read)?;
        Ok((draft, from))
    }

    fn read(draft: &Draft) -> AgentConfig {
        let source = ConfigSource { parameter: "x", agent: "agent", local_files: false };
        read_agent(&draft.text(), &source, &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_flag_of_the_python_agent_becomes_its_key() {
        let (draft, from) = draft_of(&[
            "-l",
            "prod",
            "--label",
            "etl",
            "-l",
            "prod",
            "-e",
            "TZ=UTC",
            "--env",
            "A=b=c",
            "--agent-config-id",
            "0a7b6c9e-1f5a-4f7b-8f4c-2d9d1a0b3c55",
            "--max-polls",
            "7",
            "--no-cloud-logs",
            "--cluster",
            "flows",
            "--launch-type",
            "ec2",
            "--task-role-arn",
            "arn:aws:iam::123456789012:role/t",
            "--execution-role-arn",
            "arn:aws:iam::123456789012:role/e",
            "--region-name",
            "eu-west-1",
            "--task-definition",
            "def.yaml",
            "--run-task-kwargs",
            "s3://b/k.yaml",
            "--log-level",
            "debug",
            "--agent-address",
            "http://:8080",
        ])
        .unwrap();
        let config = read(&draft);
        let GenerationConfig::One(one) = &config.generation else { panic!("{config:?}") };
        assert_eq!(one.labels, ["etl", "prod"]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(config.env_vars, [pair("TZ", "UTC"), pair("A", "b=c")]);
        assert_eq!((config.max_polls, one.no_cloud_logs), (Some(7), true));
        assert_eq!(one.agent_config_id.as_deref(), Some("0a7b6c9e-1f5a-4f7b-8f4c-2d9d1a0b3c55"));
        assert_eq!((one.cluster.as_deref(), one.launch_type), (Some("flows"), Some(crate::config::LaunchType::Ec2)));
        assert_eq!(one.task_role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/t"));
        assert_eq!(one.execution_role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/e"));
        assert_eq!(config.region_name.as_deref(), Some("eu-west-1"));
        assert!(draft.get("task_definition").is_some() && draft.get("run_task_kwargs_path").is_some());
        assert_eq!(from.log_level, Some("DEBUG"));
        assert!(from.notes.len() == 1 && from.notes[0].contains("HealthUrl"), "{from:?}");
    }

    #[test]
    fn nothing_is_written_that_was_not_said() {
        assert_eq!(draft_of(&[]).unwrap().0.text(), "prefect: 1\n");
    }

    #[test]
    fn what_is_wrong_names_its_flag_and_shows_no_value() {
        for written in ["geheim", "=geheim", "geheimgeheimgeheimgeheim"] {
            let error = draft_of(&["--env", "A=1", "--env", written]).unwrap_err();
            assert!(error.contains("NAME=VALUE") && !error.contains("geheim"), "{error}");
        }
        let error = draft_of(&["--task-definition", "no.yaml"]).unwrap_err();
        assert!(error.starts_with("--task-definition no.yaml: "), "{error}");
    }

    #[test]
    fn plain_words_are_plain_and_everything_else_is_quoted() {
        let mut draft = Draft::default();
        draft.set("api", "https://api.prefect.io");
        draft.set("work_pool", "no");
        draft.set("labels", json!(["a", "b c", "1"]));
        draft.set("env_vars", json!({"A": "{{ x }}", "B": "yes"}));
        assert_eq!(
            draft.text(),
            "api: https://api.prefect.io\nwork_pool: \"no\"\nlabels: [a, \"b c\", \"1\"]\n\
             env_vars: {\"A\": \"{\\u007b x }}\", \"B\": \"yes\"}\n"
        );
    }

    #[test]
    fn what_is_shown_has_no_secret_variable_and_what_is_written_has() {
        let mut draft = Draft::default();
        draft.set("api", "https://prefect.example/api");
        draft.set("env_vars", json!({"TZ": "UTC", "DB_PASSWORD": "geheim", "github_token": "geheim"}));
        draft.set("worker_env", json!({"PREFECT_X": "redis://:geheim@h/0", "PREFECT_LOGGING_LEVEL": "DEBUG"}));
        assert_eq!(
            draft.shown(),
            "api: https://prefect.example/api\n\
             env_vars: {\"TZ\": UTC, \"DB_PASSWORD\": \"[redacted]\", \"github_token\": \"[redacted]\"}\n\
             worker_env: {\"PREFECT_X\": \"[redacted]\", \"PREFECT_LOGGING_LEVEL\": DEBUG}\n"
        );
        assert_eq!(draft.text().matches("geheim").count(), 3);
        assert_eq!(crate::config::read_yaml(&draft.text()).unwrap(), draft.value());
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            labels in proptest::collection::vec("\\PC{1,12}", 1..4),
            value in any::<String>(),
            name in "[A-Za-z0-9 _.:/#-]{1,16}",
        ) {
            prop_assume!(labels.iter().chain([&name]).all(|text| !text.trim().is_empty()));
            let mut draft = Draft::default();
            draft.set("prefect", 1);
            draft.set("labels", labels.clone());
            draft.set("name", name.clone());
            draft.set("env_vars", json!({"X": value}));
            let text = draft.text();
            prop_assert!(!text.contains("{{"));
            let source = ConfigSource { parameter: "x", agent: "agent", local_files: false };
            let config = read_agent(&text, &source, &Environment::default());
            let config = config.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            let GenerationConfig::One(one) = &config.generation else { return Err(TestCaseError::fail("one")) };
            let mut expected: Vec<String> = Vec::new();
            for label in labels { if !expected.contains(&label) { expected.push(label) } }
            prop_assert_eq!(&one.labels, &expected);
            prop_assert_eq!(&config.name, &name);
            prop_assert_eq!(&config.env_vars, &[("X".to_owned(), value)]);
        }
    }
}
