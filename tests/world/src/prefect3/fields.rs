//! Reads request bodies as the server's schemas do: unknown and missing fields and wrong types are refused.

use super::{
    answer::{Outcome, invalid},
    times,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// The fields of an object in a request's body.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What a missing field's error shows as its input.
    whole: Value,
    loc: Vec<Value>,
}

impl<'a> Fields<'a> {
    /// The whole body is one object of the schema.
    pub(super) fn of(body: &'a Value) -> Outcome<Self> {
        Self::at(body, vec!["body".into()])
    }

    /// The body's members are parameters of their own; no body is a body without members.
    pub(super) fn embedded(body: &'a Value) -> Outcome<Self> {
        static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        if body.is_null() {
            return Ok(Self { object: &NOTHING, whole: Value::Null, loc: vec!["body".into()] });
        }
        let mut fields = Self::of(body)?;
        fields.whole = Value::Null;
        Ok(fields)
    }

    /// An object at a place in the body.
    pub(super) fn at(value: &'a Value, loc: Vec<Value>) -> Outcome<Self> {
        let Some(object) = value.as_object() else {
            let message = "Input should be a valid dictionary or object to extract fields from";
            return Err(match value {
                Value::Null => invalid("missing", &loc, "Field required", &Value::Null),
                _ => invalid("model_attributes_type", &loc, message, value),
            });
        };
        Ok(Self { object, whole: value.clone(), loc })
    }

    /// Refuses fields that the schema does not know.
    pub(super) fn only(self, known: &[&str]) -> Outcome<Self> {
        match self.object.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(self),
            Some((key, value)) => {
                Err(invalid("extra_forbidden", &self.loc_of(key), "Extra inputs are not permitted", value))
            }
        }
    }

    fn loc_of(&self, key: &str) -> Vec<Value> {
        let mut loc = self.loc.clone();
        loc.push(key.into());
        loc
    }

    /// A field's value; none for null and when it is absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether the field is there, be it null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Refuses a body without the field.
    pub(super) fn required(&self, key: &str) -> Outcome<&'a Value> {
        self.get(key).ok_or_else(|| invalid("missing", &self.loc_of(key), "Field required", &self.whole))
    }

    /// A member that is an object itself.
    pub(super) fn child(&self, key: &str) -> Outcome<Option<Self>> {
        self.get(key).map(|value| Self::at(value, self.loc_of(key))).transpose()
    }

    /// A member that is an object itself, and may be absent but not null.
    pub(super) fn solid_child(&self, key: &str) -> Outcome<Option<Self>> {
        if self.has(key) && self.get(key).is_none() {
            let message = "Input should be a valid dictionary or object to extract fields from";
            return Err(self.refuse(key, "model_attributes_type", message));
        }
        self.child(key)
    }

    fn typed<T>(
        &self,
        key: &str,
        kind: &str,
        message: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| invalid(kind, &self.loc_of(key), message, value))
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Outcome<Option<String>> {
        self.typed(key, "string_type", "Input should be a valid string", |value| value.as_str().map(str::to_owned))
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, key: &str) -> Outcome<String> {
        self.required(key)?;
        Ok(self.text(key)?.unwrap_or_default())
    }

    /// A UUID.
    pub(super) fn id(&self, key: &str) -> Outcome<Option<String>> {
        self.typed(key, "uuid_parsing", "Input should be a valid UUID", |value| times::uuid(value.as_str()?))
    }

    /// A point in time.
    pub(super) fn time(&self, key: &str) -> Outcome<Option<OffsetDateTime>> {
        let text = self.get(key).map(ToString::to_string).unwrap_or_default();
        let message = format!("Value error, Unable to parse string [{}]", text.trim_matches('"'));
        self.typed(key, "value_error", &message, |value| times::parse(value.as_str()?).map(times::micros))
    }

    /// A truth value.
    pub(super) fn boolean(&self, key: &str) -> Outcome<Option<bool>> {
        self.typed(key, "bool_type", "Input should be a valid boolean", Value::as_bool)
    }

    /// A whole number that is at least `least`.
    pub(super) fn integer(&self, key: &str, least: i64) -> Outcome<Option<i64>> {
        let number = self.typed(key, "int_type", "Input should be a valid integer", Value::as_i64)?;
        match number {
            Some(number) if number < least => {
                let kind = if least == 1 { "greater_than" } else { "greater_than_equal" };
                let message = if least == 1 {
                    "Input should be greater than 0".to_owned()
                } else {
                    format!("Input should be greater than or equal to {least}")
                };
                Err(invalid(kind, &self.loc_of(key), &message, &json!(number)))
            }
            number => Ok(number),
        }
    }

    /// A list of texts; none when it is absent.
    pub(super) fn texts(&self, key: &str) -> Outcome<Option<Vec<String>>> {
        self.list(key, "string_type", "Input should be a valid string", |value| value.as_str().map(str::to_owned))
    }

    /// A list of UUIDs.
    pub(super) fn ids(&self, key: &str) -> Outcome<Option<Vec<String>>> {
        self.list(key, "uuid_parsing", "Input should be a valid UUID", |value| times::uuid(value.as_str()?))
    }

    /// A list of anything.
    pub(super) fn list<T>(
        &self,
        key: &str,
        kind: &str,
        message: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Outcome<Option<Vec<T>>> {
        let Some(list) = self.typed(key, "list_type", "Input should be a valid list", Value::as_array)? else {
            return Ok(None);
        };
        let one = |(index, value)| {
            let mut loc = self.loc_of(key);
            loc.push(json!(index));
            read(value).ok_or_else(|| invalid(kind, &loc, message, value))
        };
        list.iter().enumerate().map(one).collect::<Outcome<Vec<T>>>().map(Some)
    }

    /// An object as it is; none when it is absent.
    pub(super) fn object(&self, key: &str) -> Outcome<Option<Map<String, Value>>> {
        self.typed(key, "dict_type", "Input should be a valid dictionary", |value| value.as_object().cloned())
    }

    /// Where in the body this object is, and `key` in it.
    pub(super) fn refuse(&self, key: &str, kind: &str, message: &str) -> super::answer::Refusal {
        invalid(kind, &self.loc_of(key), message, self.get(key).unwrap_or(&Value::Null))
    }
}
