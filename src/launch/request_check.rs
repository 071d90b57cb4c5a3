//! Values of the wrong type in a launch's requests: ECS would refuse them, with less to say about where.

mod shapes;

use super::{Definition, LaunchSpec};
use crate::python_text::{text, type_name};
use serde_json::{Map, Value};
use shapes::{REGISTER_TASK_DEFINITION, RUN_TASK, Shape};

/// What ECS would refuse in the requests of `spec` because of its type or name, one sentence each in the words of
/// botocore (`Invalid type for parameter overrides.cpu, value: 5, type: <class 'int'>, valid types: <class 'str'>`);
/// empty if nothing is wrong.
///
/// Only what users' input can break is checked: the whole of `RunTask`, and the basics of `RegisterTaskDefinition`.
pub fn request_problems(spec: &LaunchSpec) -> Vec<String> {
    let mut problems = definition_problems(spec);
    check_object(&mut problems, "", &spec.run_task, &RUN_TASK);
    problems
}

/// As [`request_problems`], of `RegisterTaskDefinition` alone.
pub fn definition_problems(spec: &LaunchSpec) -> Vec<String> {
    let mut problems = Vec::new();
    if let Definition::Own(body) = &spec.definition {
        check_object(&mut problems, "", body, &REGISTER_TASK_DEFINITION);
    }
    problems
}

fn check(problems: &mut Vec<String>, path: &str, value: &Value, shape: &Shape) {
    match (shape, value) {
        (Shape::Object(object), Value::Object(map)) => check_object(problems, path, map, object),
        (Shape::List(item), Value::Array(values)) => {
            for (index, value) in values.iter().enumerate() {
                check(problems, &format!("{path}[{index}]"), value, item);
            }
        }
        (Shape::TextMap, Value::Object(map)) => {
            for (key, value) in map {
                check(problems, &format!("{path}.{key}"), value, &Shape::Text);
            }
        }
        (Shape::Name, Value::String(text)) if text.is_empty() => problems.push(format!(
            "Invalid length for parameter {}, value: 0, valid min length: 1",
            path.trim_start_matches('.'),
        )),
        (Shape::Text | Shape::Name, Value::String(_)) | (Shape::Boolean, Value::Bool(_)) => {}
        (Shape::Integer, Value::Number(number)) if !number.is_f64() => {}
        _ => problems.push(format!(
            "Invalid type for parameter {}, value: {}, type: <class '{}'>, valid types: {}",
            path.trim_start_matches('.'),
            text(value),
            type_name(value),
            shape.valid_types(),
        )),
    }
}

fn check_object(problems: &mut Vec<String>, path: &str, map: &Map<String, Value>, object: &shapes::Object) {
    let place = if path.is_empty() { "input" } else { path.trim_start_matches('.') };
    for key in object.required.iter().filter(|key| !map.contains_key(**key)) {
        problems.push(format!("Missing required parameter in {place}: \"{key}\""));
    }
    if object.closed {
        let known: Vec<_> = object.members.iter().map(|(key, _)| *key).collect();
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let known = known.join(", ");
            problems.push(format!("Unknown parameter in {place}: \"{key}\", must be one of: {known}"));
        }
    }
    for (key, value) in map {
        if let Some((_, shape)) = object.members.iter().find(|(member, _)| member == key) {
            check(problems, &format!("{path}.{key}"), value, shape);
        }
    }
}
