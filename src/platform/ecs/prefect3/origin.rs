//! Where the task definition of a launch comes from: the work pool's template, or a run that puts its own in its place.

use crate::flow_run::prefect3::{FlowRunJob, populate_with};
use crate::guardrails::DefinitionOrigin;
use serde_json::{Map, Value};

/// Members whose lists have entries of names and values: what a template leaves open there is a value.
const LISTS_OF_VALUES: [&str; 3] = ["environment", "secrets", "tags"];

/// A part of the definition: in the template, with the job variables, with the values of its references too, and without job
/// variables.
#[derive(Clone, Copy)]
struct Part<'a> {
    template: Option<&'a Value>,
    populated: Option<&'a Value>,
    resolved: Option<&'a Value>,
    without: Option<&'a Value>,
}

impl<'a> Part<'a> {
    fn member(self, key: &str) -> Self {
        let of = |value: Option<&'a Value>| value?.get(key);
        Self {
            template: of(self.template),
            populated: of(self.populated),
            resolved: of(self.resolved),
            without: of(self.without),
        }
    }

    fn item(self, index: usize) -> Self {
        let of = |value: Option<&'a Value>| value?.get(index);
        Self {
            template: of(self.template),
            populated: of(self.populated),
            resolved: of(self.resolved),
            without: of(self.without),
        }
    }

    /// Whether job variables do more than fill in the values that the template leaves open. `key`: the member that it is.
    fn is_brought(self, key: &str) -> bool {
        if self.populated == self.without {
            return false;
        }
        match (self.template, self.resolved) {
            // Without a value, a place that is left open is left out.
            (_, None) => false,
            (Some(Value::String(_)), Some(value)) => !is_value(value, LISTS_OF_VALUES.contains(&key)),
            (Some(Value::Object(_)), Some(Value::Object(members))) => {
                members.keys().any(|key| self.member(key).is_brought(key))
            }
            (Some(Value::Array(template)), Some(Value::Array(items))) => {
                items.len() != template.len() || (0..items.len()).any(|index| self.item(index).is_brought(key))
            }
            (Some(_) | None, Some(_)) => true,
        }
    }
}

/// A text, a number, or a list of those; `or_entries`: also a list of flat mappings.
fn is_value(value: &Value, or_entries: bool) -> bool {
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    let is_entry = |entry: &Value| entry.as_object().is_some_and(|entry| entry.values().all(is_scalar));
    match value {
        Value::Array(items) => items.iter().all(|item| is_scalar(item) || (or_entries && is_entry(item))),
        Value::Object(map) => or_entries && map.values().all(is_scalar),
        _ => true,
    }
}

/// Of a launch whose definition is registered.
pub(in crate::platform::ecs) fn definition_origin(job: &FlowRunJob) -> DefinitionOrigin {
    const KEY: &str = "task_definition";
    let base = &job.work_pool.base_job_template;
    let without = populate_with(&job.worker, base, Map::new()).unwrap_or_default();
    let template = base.get("job_configuration").and_then(|configuration| configuration.get(KEY));
    let (populated, resolved) = (job.populated.get(KEY), job.resolved.get(KEY));
    let whole = Part { template, populated, resolved, without: without.get(KEY) };
    let family = whole.member("family");
    match family.resolved.filter(|_| family.populated != family.without) {
        _ if whole.is_brought(KEY) => DefinitionOrigin::Brought,
        Some(name) => DefinitionOrigin::OwnInFamily(name.as_str().map_or_else(|| name.to_string(), str::to_owned)),
        None => DefinitionOrigin::Own,
    }
}
