//! Checks of a rendered configuration, with the messages of the library (pydantic) that Prefect's worker checks it with.

use crate::model::RunRefusal;
use crate::python_text::{repr, type_name};
use serde_json::{Map, Value};

/// Longest text of a value in a message, in bytes.
const LONGEST_INPUT: usize = 50;

/// Where the messages are explained; the version is that of Prefect 3.8's pydantic.
const EXPLANATIONS: &str = "https://errors.pydantic.dev/2.14/v";

/// Reads the fields of an object and collects what is wrong with them.
#[derive(Debug)]
pub(crate) struct Validator<'a> {
    given: &'a Map<String, Value>,
    /// The same object as messages may show it: without the values of blocks.
    shown: &'a Map<String, Value>,
    /// Place of the object, e.g. `aws_credentials.`; empty = the configuration itself.
    place: String,
    /// One message per wrong field.
    problems: Vec<String>,
}

impl<'a> Validator<'a> {
    pub(crate) fn new(given: &'a Map<String, Value>, shown: &'a Map<String, Value>) -> Self {
        Self { given, shown, place: String::new(), problems: Vec::new() }
    }

    /// A reader of an object in this one's field; [`Self::take`] its problems afterwards.
    pub(crate) fn inside(&self, field: &str, given: &'a Map<String, Value>, shown: &'a Map<String, Value>) -> Self {
        Self { given, shown, place: format!("{}{field}.", self.place), problems: Vec::new() }
    }

    pub(crate) fn take(&mut self, inner: Validator<'_>) {
        self.problems.extend(inner.problems);
    }

    /// The refusal that names every wrong field.
    pub(crate) fn finish(self) -> Result<(), RunRefusal> {
        match self.problems.len() {
            0 => Ok(()),
            1 => Err(refusal("1 validation error", &self.problems)),
            count => Err(refusal(&format!("{count} validation errors"), &self.problems)),
        }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.given.get(field)
    }

    pub(crate) fn shown(&self, field: &str) -> Option<&'a Value> {
        self.shown.get(field)
    }

    /// A text, or nothing.
    pub(crate) fn text(&mut self, field: &str) -> Option<String> {
        match self.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.wrong(field, "string_type", "Input should be a valid string");
                None
            }
        }
    }

    /// A boolean, or nothing. Also 0 and 1, and the usual words for yes and no.
    pub(crate) fn optional_flag(&mut self, field: &str) -> Option<bool> {
        match self.get(field) {
            None | Some(Value::Null) => None,
            Some(value) => self.parse_flag(field, value),
        }
    }

    /// As [`Self::optional_flag`]; false where it is not given, and `null` is wrong.
    pub(crate) fn flag(&mut self, field: &str) -> bool {
        self.get(field).and_then(|value| self.parse_flag(field, value)).unwrap_or(false)
    }

    fn parse_flag(&mut self, field: &str, value: &Value) -> Option<bool> {
        const PARSING: (&str, &str) = ("bool_parsing", "Input should be a valid boolean, unable to interpret input");
        const TYPE: (&str, &str) = ("bool_type", "Input should be a valid boolean");
        let (kind, message) = match value {
            Value::Bool(flag) => return Some(*flag),
            Value::Number(number) => match number.as_f64() {
                Some(0.0) => return Some(false),
                Some(1.0) => return Some(true),
                // Whole numbers are tried as integers of 64 bits.
                Some(other) if other.fract() != 0.0 || other.abs() >= 9.3e18 => TYPE,
                _ => PARSING,
            },
            Value::String(word) => match word.to_ascii_lowercase().as_str() {
                "0" | "off" | "f" | "false" | "n" | "no" => return Some(false),
                "1" | "on" | "t" | "true" | "y" | "yes" => return Some(true),
                _ => PARSING,
            },
            _ => TYPE,
        };
        self.wrong(field, kind, message);
        None
    }

    /// An object; empty where it is not given.
    pub(crate) fn object(&mut self, field: &str) -> Map<String, Value> {
        match self.get(field) {
            None => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => {
                self.wrong(field, "dict_type", "Input should be a valid dictionary");
                Map::new()
            }
        }
    }

    /// An object of texts.
    pub(crate) fn texts(&mut self, field: &str) -> Map<String, Value> {
        let map = self.object(field);
        for (key, value) in map.iter().filter(|(_, value)| !value.is_string()) {
            let shown = self.shown.get(field).and_then(|shown| shown.get(key));
            // As pydantic writes a place whose name has dots of its own.
            let key = if key.contains('.') { format!("`{key}`") } else { key.clone() };
            self.problem(&format!("{field}.{key}"), "string_type", "Input should be a valid string", value, shown);
        }
        map
    }

    pub(crate) fn wrong(&mut self, field: &str, kind: &str, message: &str) {
        let value = self.get(field).unwrap_or(&Value::Null);
        let shown = self.shown.get(field);
        self.problem(field, kind, message, value, shown);
    }

    fn problem(&mut self, field: &str, kind: &str, message: &str, value: &Value, shown: Option<&Value>) {
        let text = match shown {
            Some(shown) if shown == value => input(value),
            _ => "'**********'".into(),
        };
        let place = &self.place;
        let input_type = type_name(value);
        self.problems.push(format!(
            "{place}{field}\n  {message} [type={kind}, input_value={text}, input_type={input_type}]\n    \
             For further information visit {EXPLANATIONS}/{kind}"
        ));
    }
}

/// The refusal of a configuration as a whole; `shown` is the configuration as messages may show it, its known fields in
/// the order of its fields.
pub(crate) fn whole(message: &str, shown: &Map<String, Value>) -> RunRefusal {
    let text = input(&Value::Object(shown.clone()));
    let problem = format!(
        "  Value error, {message} [type=value_error, input_value={text}, input_type=dict]\n    \
         For further information visit {EXPLANATIONS}/value_error"
    );
    refusal("1 validation error", &[problem])
}

fn refusal(count: &str, problems: &[String]) -> RunRefusal {
    RunRefusal(format!("ValidationError: {count} for ECSJobConfiguration\n{}", problems.join("\n")))
}

/// `repr(value)`, its middle left out where it is long.
fn input(value: &Value) -> String {
    let text = repr(value);
    if text.len() <= LONGEST_INPUT {
        return text;
    }
    let head = text.floor_char_boundary(LONGEST_INPUT.div_ceil(2));
    let tail = text.ceil_char_boundary(text.len() - (LONGEST_INPUT.div_ceil(2) - 1));
    format!("{}...{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests;
