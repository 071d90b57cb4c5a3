//! What a JSON answer is made of, read so that nothing of another shape can end the process. What is odd is told by what
//! it is and never quoted: it may hold a secret, and may be endless.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// A text, also an empty one.
    Text,
    /// An object.
    Object,
}

/// A field that is read from a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowField {
    name: &'static str,
    kind: FieldKind,
    required: bool,
}

impl RowField {
    /// It must be there.
    pub(crate) const fn required(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, required: true }
    }

    /// It may be missing or null.
    pub(crate) const fn optional(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, required: false }
    }

    /// What is wrong with it in this row.
    fn check(self, row: &Map<String, Value>) -> Result<(), String> {
        let is_well = match (row.get(self.name), self.kind) {
            (None | Some(Value::Null), _) => !self.required,
            (Some(Value::String(_)), FieldKind::Text) | (Some(Value::Object(_)), FieldKind::Object) => true,
            _ => false,
        };
        if is_well {
            return Ok(());
        }
        let expected = match self.kind {
            FieldKind::Text => "a text",
            FieldKind::Object => "an object",
        };
        Err(format!("`{}` must be {expected}, but is {}", self.name, described(row.get(self.name))))
    }
}

/// A row as a type, once these fields are what the type takes them for; or what is wrong.
pub(crate) fn row<T: DeserializeOwned>(value: Value, fields: &[RowField]) -> Result<T, String> {
    let row = object(value)?;
    check(&row, fields)?;
    // The words of the library quote what they found.
    serde_json::from_value(Value::Object(row)).map_err(|_| "a field is not what it should be".to_owned())
}

/// Whether these fields of a row are what they should be; or what is wrong.
pub(crate) fn check(row: &Map<String, Value>, fields: &[RowField]) -> Result<(), String> {
    fields.iter().try_for_each(|field| field.check(row))
}

/// An object, or what is there instead.
pub(crate) fn object(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("an object was expected, but it is {}", described(Some(&other)))),
    }
}

/// A list, or what is there instead.
pub(crate) fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(format!("a list was expected, but it is {}", described(Some(&other)))),
    }
}

/// What lies at a place; `None` also where the way there is none.
pub(crate) fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The text at a place, if there is one that is not empty.
pub(crate) fn text_at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(value, path)?.as_str().filter(|text| !text.is_empty())
}

/// The entries of the list at a place; none where there is no list.
pub(crate) fn items_at<'v>(value: &'v Value, path: &[&str]) -> &'v [Value] {
    at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What a value is, for people.
pub(crate) fn described(value: Option<&Value>) -> String {
    let counted = |what: &str, count: usize, one: &str, many: &str| {
        format!("{what} of {count} {}", if count == 1 { one } else { many })
    };
    match value {
        None => "missing".into(),
        Some(Value::Null) => "null".into(),
        Some(Value::Bool(_)) => "true or false".into(),
        Some(Value::Number(_)) => "a number".into(),
        Some(Value::String(text)) => counted("a text", text.chars().count(), "character", "characters"),
        Some(Value::Array(items)) => counted("a list", items.len(), "entry", "entries"),
        Some(Value::Object(fields)) => counted("an object", fields.len(), "field", "fields"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    struct Named {
        name: String,
    }

    const FIELDS: &[RowField] =
        &[RowField::required("name", FieldKind::Text), RowField::optional("data", FieldKind::Object)];

    #[test]
    fn a_row_is_read_when_its_fields_are_what_they_should_be() {
        for value in [json!({"name": "a"}), json!({"name": "a", "data": null}), json!({"name": "a", "data": {}})] {
            assert_eq!(row::<Named>(value, FIELDS).unwrap().name, "a");
        }
    }

    #[test]
    fn what_is_odd_is_named_and_not_quoted() {
        for (value, said) in [
            (json!(["secret"]), "an object was expected, but it is a list of 1 entry"),
            (json!("secret"), "an object was expected, but it is a text of 6 characters"),
            (json!(null), "an object was expected, but it is null"),
            (json!({}), "`name` must be a text, but is missing"),
            (json!({"name": 7}), "`name` must be a text, but is a number"),
            (json!({"name": "a", "data": ["secret", 1]}), "`data` must be an object, but is a list of 2 entries"),
            (json!({"name": "a", "data": false}), "`data` must be an object, but is true or false"),
        ] {
            assert_eq!(row::<Named>(value, FIELDS).unwrap_err(), said);
        }
        // The fields say less than the type: the type's own words are not used.
        let said = row::<Named>(json!({"name": ["secret"]}), &[]).unwrap_err();
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn places_that_are_not_there_are_nothing() {
        let value = json!({"a": {"b": "c", "empty": "", "list": [1]}});
        assert_eq!(text_at(&value, &["a", "b"]), Some("c"));
        for path in [&["a"][..], &["a", "empty"], &["a", "b", "c"], &["x", "y"]] {
            assert_eq!(text_at(&value, path), None, "{path:?}");
        }
        assert_eq!((items_at(&value, &["a", "list"]).len(), items_at(&value, &["a", "b"]).len()), (1, 0));
        for odd in [json!(null), json!([1]), json!(7), json!("x")] {
            assert_eq!(at(&odd, &["a", "b"]), None);
        }
    }
}
