//! What requests are shown without. Pure.

use serde_json::{Map, Value, json};

/// `RunTask` or a task definition with variables by their names only, and so options of logs: a key may be in any of them.
/// Where `awslogs` writes to is kept, which says no more than where logs are.
pub(super) fn without_values(mut body: Map<String, Value>) -> Map<String, Value> {
    fn each<'a>(containers: Option<&'a mut Value>, of: &str) -> impl Iterator<Item = &'a mut Value> {
        let containers = containers.and_then(Value::as_array_mut).into_iter().flatten();
        containers.filter_map(move |container| container.get_mut(of))
    }
    let overridden = body.get_mut("overrides").and_then(|all| all.get_mut("containerOverrides"));
    let hide = |variables: &mut Value| {
        for variable in variables.as_array_mut().into_iter().flatten() {
            if let Some(value) = variable.get_mut("value") {
                *value = json!("");
            }
        }
    };
    each(overridden, "environment").for_each(hide);
    each(body.get_mut("containerDefinitions"), "environment").for_each(hide);
    for logs in each(body.get_mut("containerDefinitions"), "logConfiguration") {
        let options = logs.get_mut("options").and_then(Value::as_object_mut).into_iter().flatten();
        options.filter(|(name, _)| !name.starts_with("awslogs-")).for_each(|(_, value)| *value = json!(""));
    }
    body
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stay_and_values_do_not() {
        let variable = |value: &str| json!([{"name": "A", "value": value}, {"name": "B"}, 7]);
        let logs = |value: &str| json!({"logDriver": "splunk", "options": {"splunk-token": value, "awslogs-group": "/flows"}, "secretOptions": []});
        let container = |value: &str| json!({"name": "c", "image": "i", "environment": variable(value), "logConfiguration": logs(value)});
        let body = |value: &str| {
            json!({
                "family": "f", "containerDefinitions": [container(value), {"environment": 7, "logConfiguration": {"options": 7}}],
                "overrides": {"containerOverrides": [{"name": "c", "environment": variable(value)}], "taskRoleArn": "r"},
            })
        };
        assert_eq!(Value::Object(without_values(body("geheim").as_object().unwrap().clone())), body(""));
    }
}
