//! What a launch asks of ECS otherwise than Prefect's own agent or worker would for the same run. Pure.
//!
//! Theirs is the launch as it is rendered, ours what is sent in the end: with what names the launch, with its key
//! delivered, with our tag of the definition. What is looked up for both, and what a client of AWS adds by itself (a random
//! `clientToken`), is no difference.

use crate::config::AgentConfig;
use crate::platform::ecs::definitions::tagged;
use crate::platform::ecs::request::{Settled, run_task_body};
use crate::platform::ecs::{Definition, LaunchSpec};
use crate::platform::{LaunchIdentity, started_by};
use crate::redaction::REDACTED;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The request that starts the task.
pub const RUN_TASK: &str = "RunTask";

/// The request that registers its definition.
pub const REGISTER: &str = "RegisterTaskDefinition";

/// One member of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// [`RUN_TASK`] or [`REGISTER`].
    pub request: &'static str,
    /// Its place, `overrides.containerOverrides[0].environment.NAME`: variables, secrets and tags by their names.
    pub path: String,
    /// What the agent or worker sends; `None` = nothing. A variable's value is never shown. A token or `startedBy` of a
    /// user's own under the rules of Prefect 1 is not rendered, and so not told.
    pub theirs: Option<Value>,
    /// What we send. What only the run itself will tell stands in square brackets.
    pub ours: Option<Value>,
}

/// All differences of a launch, in the order of its requests. `theirs`: as it is rendered, `ours`: with its key delivered;
/// both complete.
pub fn differences<G>(theirs: &LaunchSpec, ours: &LaunchSpec, config: &AgentConfig<G>) -> Vec<Difference> {
    let identity = LaunchIdentity {
        flow_run_id: String::new(),
        token: "[of the run and its turn]".into(),
        started_by: started_by(&config.agent, "") + "[flow run id]",
    };
    // Definition, network and roles that are looked up are the same for both.
    let (settled, definition) = (Settled::default(), "taskDefinition");
    let mut sent = run_task_body(&ours.run_task, &settled, &identity);
    sent.shift_remove(definition);
    let mut found = Found { request: RUN_TASK, differences: Vec::new() };
    found.objects(&theirs.run_task, &sent);
    if let (Definition::Own(theirs), Definition::Own(ours)) = (&theirs.definition, &ours.definition) {
        found.request = REGISTER;
        found.objects(theirs, &tagged(ours, "[hash of what it says]"));
    }
    found.differences
}

struct Found {
    request: &'static str,
    differences: Vec<Difference>,
}

impl Found {
    fn objects(&mut self, theirs: &Map<String, Value>, ours: &Map<String, Value>) {
        let (theirs, ours) = (Value::Object(theirs.clone()), Value::Object(ours.clone()));
        self.values("", false, Some(&theirs), Some(&ours));
    }

    /// `is_secret`: what stands there may be a key.
    fn values(&mut self, path: &str, is_secret: bool, theirs: Option<&Value>, ours: Option<&Value>) {
        if theirs == ours {
            return;
        }
        let parts_of = |value: Option<&Value>| value.map_or(Some(Vec::new()), parts);
        match (parts_of(theirs), parts_of(ours)) {
            (Some(theirs), Some(ours)) if !(theirs.is_empty() && ours.is_empty()) => {
                let missing = ours.iter().filter(|(step, _)| get(&theirs, step).is_none());
                for (step, _) in theirs.iter().chain(missing) {
                    let path = format!("{path}{step}");
                    let is_secret = is_secret || step == ".environment";
                    let path = path.strip_prefix('.').unwrap_or(&path);
                    self.values(path, is_secret, get(&theirs, step), get(&ours, step));
                }
            }
            _ => {
                let shown =
                    |value: Option<&Value>| value.map(|value| if is_secret { json!(REDACTED) } else { value.clone() });
                let (theirs, ours) = (shown(theirs), shown(ours));
                self.differences.push(Difference { request: self.request, path: path.to_owned(), theirs, ours });
            }
        }
    }
}

fn get<'a>(parts: &'a [(String, Value)], step: &str) -> Option<&'a Value> {
    parts.iter().find(|(known, _)| known == step).map(|(_, value)| value)
}

/// What a value is made of, by the step to it: `.key` of an object, `.NAME` of a list of variables, secrets or tags, `[0]`
/// of any other. `None` = it is no object and no list.
fn parts(value: &Value) -> Option<Vec<(String, Value)>> {
    match value {
        Value::Object(map) => Some(map.iter().map(|(key, value)| (step(key), value.clone())).collect()),
        Value::Array(items) => {
            let pairs: Option<Vec<(&str, &Value)>> = items.iter().map(pair).collect();
            let by_place =
                || items.iter().enumerate().map(|(place, item)| (format!("[{place}]"), item.clone())).collect();
            Some(pairs.map_or_else(by_place, |pairs| by_name(&pairs)))
        }
        _ => None,
    }
}

/// The second of a name is told from the first.
fn by_name(pairs: &[(&str, &Value)]) -> Vec<(String, Value)> {
    let mut parts: Vec<(String, Value)> = Vec::with_capacity(pairs.len());
    for (place, (name, value)) in pairs.iter().enumerate() {
        let before = pairs.iter().take(place).filter(|(known, _)| known == name).count();
        let step = step(name);
        parts.push((if before == 0 { step } else { format!("{step}[{before}]") }, (*value).clone()));
    }
    parts
}

/// Name and value of a variable, a secret or a tag.
fn pair(item: &Value) -> Option<(&str, &Value)> {
    let item = item.as_object().filter(|item| item.len() <= 2)?;
    let name = item.get("name").or_else(|| item.get("key"))?.as_str()?;
    // A tag need not have a value.
    let without = (item.len() == 1).then_some(&Value::Null);
    item.get("value").or_else(|| item.get("valueFrom")).or(without).map(|value| (name, value))
}

fn step(name: &str) -> String {
    let is_plain = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || ".[]\"".contains(c));
    if is_plain { format!(".{name}") } else { format!("[{}]", json!(name)) }
}

#[cfg(test)]
mod tests;
