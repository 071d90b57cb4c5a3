//! `aws_credentials` of a job configuration: the keys, the region and the role that a launch uses instead of the agent's.

use crate::platform::ecs::target::AwsCredentials;
use crate::prefect3::job_configuration::validation::Validator;
use secrecy::SecretString;
use serde_json::{Map, Value};

/// Texts among the parameters of `AssumeRole`.
const ROLE_TEXTS: [&str; 6] =
    ["RoleSessionName", "Policy", "ExternalId", "SerialNumber", "TokenCode", "SourceIdentity"];
/// Lists among them.
const ROLE_LISTS: [&str; 4] = ["PolicyArns", "Tags", "TransitiveTagKeys", "ProvidedContexts"];

/// Reads the field `aws_credentials`; `null` is as good as nothing.
pub(super) fn read(reader: &mut Validator<'_>) -> AwsCredentials {
    const FIELD: &str = "aws_credentials";
    let given = match reader.get(FIELD) {
        None | Some(Value::Null) => return AwsCredentials::default(),
        Some(Value::Object(given)) => given,
        Some(_) => {
            reader.wrong(FIELD, "model_type", "Input should be a valid dictionary or instance of AwsCredentials");
            return AwsCredentials::default();
        }
    };
    let nothing = Map::new();
    let mut shown = reader.shown(FIELD).and_then(Value::as_object).cloned().unwrap_or_default();
    for secret in ["aws_secret_access_key", "aws_session_token"] {
        shown.shift_remove(secret);
    }
    let mut inner = reader.inside(FIELD, given, &shown);
    let credentials = AwsCredentials {
        access_key_id: filled(inner.text("aws_access_key_id")),
        secret_access_key: filled(inner.text("aws_secret_access_key")).map(SecretString::from),
        session_token: filled(inner.text("aws_session_token")).map(SecretString::from),
        profile_name: filled(inner.text("profile_name")),
        region_name: filled(inner.text("region_name")),
        client_parameters: inner.object("aws_client_parameters"),
        set_by_run: Vec::new(),
        assume_role_arn: filled(inner.text("assume_role_arn")),
        assume_role_kwargs: match given.get("assume_role_kwargs") {
            None => Map::new(),
            Some(Value::Object(kwargs)) => {
                let shown = shown.get("assume_role_kwargs").and_then(Value::as_object).unwrap_or(&nothing);
                let mut role = inner.inside("assume_role_kwargs", kwargs, shown);
                let parameters = role_parameters(&mut role);
                inner.take(role);
                parameters
            }
            Some(_) => {
                let message = "Input should be a valid dictionary or instance of AssumeRoleParameters";
                inner.wrong("assume_role_kwargs", "model_type", message);
                Map::new()
            }
        },
    };
    reader.take(inner);
    credentials
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Known parameters that are not null.
fn role_parameters(reader: &mut Validator<'_>) -> Map<String, Value> {
    let mut parameters = Map::new();
    for key in ROLE_TEXTS {
        if let Some(text) = reader.text(key) {
            parameters.insert(key.into(), text.into());
        }
    }
    match reader.get("DurationSeconds") {
        None | Some(Value::Null) => {}
        Some(value) => match seconds(value) {
            Ok(seconds) => {
                parameters.insert("DurationSeconds".into(), seconds.into());
            }
            Err((kind, message)) => reader.wrong("DurationSeconds", kind, message),
        },
    }
    for key in ROLE_LISTS {
        match reader.get(key) {
            None | Some(Value::Null) => {}
            Some(list @ Value::Array(_)) => {
                parameters.insert(key.into(), list.clone());
            }
            Some(_) => reader.wrong(key, "list_type", "Input should be a valid list"),
        }
    }
    parameters
}

fn seconds(value: &Value) -> Result<i64, (&'static str, &'static str)> {
    let whole = |number: f64| format!("{number:.0}").parse::<i64>().ok().filter(|_| number.fract() == 0.0);
    match value {
        Value::Bool(flag) => Ok(i64::from(*flag)),
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(whole))
            .ok_or(("int_from_float", "Input should be a valid integer, got a number with a fractional part")),
        Value::String(digits) => digits
            .trim()
            .parse()
            .map_err(|_| ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")),
        _ => Err(("int_type", "Input should be a valid integer")),
    }
}

#[cfg(test)]
mod tests;
