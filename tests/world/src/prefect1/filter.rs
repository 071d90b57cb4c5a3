//! Hasura's `where`: nested conditions over rows that are JSON objects, typed by the schema.

use super::{
    compare::{Kind, compare},
    failure::Failure,
};
use apollo_compiler::{Schema, schema::InputObjectType};
use serde_json::{Map, Value};

/// A condition that has been checked.
pub(super) struct Filter<'a> {
    schema: &'a Schema,
    type_name: &'a str,
    condition: &'a Map<String, Value>,
}

impl<'a> Filter<'a> {
    /// Checks the literals of a condition of the input type `type_name`.
    pub(super) fn new(
        schema: &'a Schema,
        type_name: &'a str,
        condition: &'a Map<String, Value>,
    ) -> Result<Self, Failure> {
        check(schema, type_name, condition)?;
        Ok(Self { schema, type_name, condition })
    }

    /// Whether the row is wanted.
    pub(super) fn wants(&self, row: &Value) -> bool {
        holds(self.schema, self.type_name, self.condition, row) == Some(true)
    }
}

fn input_object<'a>(schema: &'a Schema, name: &str) -> Result<&'a InputObjectType, Failure> {
    schema.get_input_object(name).map(|node| &**node).ok_or_else(|| Failure::new(format!("no such type: {name}")))
}

fn field_type<'a>(schema: &'a Schema, type_name: &str, field: &str) -> Option<&'a str> {
    Some(schema.get_input_object(type_name)?.fields.get(field)?.ty.inner_named_type().as_str())
}

fn check(schema: &Schema, type_name: &str, condition: &Map<String, Value>) -> Result<(), Failure> {
    let fields = &input_object(schema, type_name)?.fields;
    for (key, value) in condition {
        let Some(field) = fields.get(key.as_str()) else {
            return Err(Failure::new(format!("field \"{key}\" not found in type: '{type_name}'")));
        };
        let inner = field.ty.inner_named_type().as_str();
        if inner.ends_with("_bool_exp") {
            for condition in conditions(value) {
                check(schema, inner, condition)?;
            }
        } else if let Some(operators) = value.as_object() {
            check_literals(Kind::of(inner), operators)?;
        } else {
            return Err(Failure::new(format!("unexpected null value for type \"{inner}\"")));
        }
    }
    Ok(())
}

fn check_literals(kind: Kind, operators: &Map<String, Value>) -> Result<(), Failure> {
    for (operator, operand) in operators {
        let literals = match operand {
            Value::Null if kind != Kind::Json => {
                return Err(Failure::new(format!("unexpected null value for \"{operator}\"")));
            }
            _ if operator == "_is_null" || operator.starts_with("_has_key") => continue,
            Value::Array(items) if kind != Kind::Json => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        if let Some(complaint) = literals.iter().find_map(|literal| kind.complaint(literal)) {
            return Err(Failure::new(complaint));
        }
    }
    Ok(())
}

/// One condition, or a list of them.
fn conditions(value: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    items.iter().filter_map(Value::as_object)
}

fn and(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => result = None,
            Some(true) => {}
        }
    }
    result
}

fn or(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    and(parts.map(|part| part.map(|truth| !truth))).map(|truth| !truth)
}

fn holds(schema: &Schema, type_name: &str, condition: &Map<String, Value>, row: &Value) -> Option<bool> {
    and(condition.iter().map(|(key, value)| match key.as_str() {
        "_and" => and(conditions(value).map(|part| holds(schema, type_name, part, row))),
        "_or" => or(conditions(value).map(|part| holds(schema, type_name, part, row))),
        "_not" => and(conditions(value).map(|part| holds(schema, type_name, part, row))).map(|truth| !truth),
        column => {
            let field = field_type(schema, type_name, column)?;
            if field.ends_with("_bool_exp") {
                return Some(exists(schema, field, value, &row[column]));
            }
            let kind = Kind::of(field);
            and(value.as_object()?.iter().map(|(operator, operand)| compare(kind, &row[column], operator, operand)))
        }
    }))
}

/// Whether a related row satisfies the condition.
fn exists(schema: &Schema, type_name: &str, condition: &Value, related: &Value) -> bool {
    let rows = match related {
        Value::Null => &[],
        Value::Array(rows) => rows.as_slice(),
        row => std::slice::from_ref(row),
    };
    let wanted = |row| conditions(condition).all(|part| holds(schema, type_name, part, row) == Some(true));
    rows.iter().any(wanted)
}
