//! The operations of Parameter Store.

use super::{Put, Ssm, Version, describe};
use crate::{answer::ServiceError, route::Scope, world::State, world::epoch_seconds};
use serde_json::{Map, Value, json};

/// How many results a page holds at most.
const PAGE: usize = 10;

/// Performs one operation.
pub(super) fn perform(state: &mut State, scope: &Scope, operation: &str, input: &Value) -> Result<Value, ServiceError> {
    match operation {
        "GetParameter" => get_parameter(&state.ssm, scope, input),
        "GetParameters" => get_parameters(&state.ssm, scope, input),
        "GetParametersByPath" => by_path(&state.ssm, scope, input),
        "GetParameterHistory" => history(&state.ssm, scope, input),
        "PutParameter" => put(state, scope, input),
        "DeleteParameter" => {
            if state.ssm.delete(scope, &name_of(scope, text(input, "Name"))?) {
                Ok(json!({}))
            } else {
                Err(not_found(""))
            }
        }
        _ => Err(ServiceError::new("UnknownOperationException", "")),
    }
}

fn text<'a>(input: &'a Value, key: &str) -> &'a str {
    input[key].as_str().unwrap_or_default()
}

fn not_found(name: &str) -> ServiceError {
    let message = if name.is_empty() { String::new() } else { format!("Parameter {name} not found.") };
    ServiceError::new("ParameterNotFound", message)
}

/// The name in a name or an ARN. An ARN of another account or region finds nothing here.
fn name_of(scope: &Scope, name: &str) -> Result<String, ServiceError> {
    if !name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let prefix = scope.arn("ssm", "parameter/");
    // A name with slashes begins with one, which the ARN does not repeat.
    let rest = name.strip_prefix(&prefix).ok_or_else(|| not_found(name))?;
    Ok(if rest.contains('/') { format!("/{rest}") } else { rest.to_owned() })
}

/// Finds `name` or `name:version`.
pub(super) fn find<'a>(ssm: &'a Ssm, scope: &Scope, selector: &str) -> Result<(String, &'a Version), ServiceError> {
    let name = name_of(scope, selector)?;
    let (name, wanted) = match name.rsplit_once(':') {
        Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        None => (name, None),
    };
    let Some(latest) = ssm.latest(scope, &name) else { return Err(not_found("")) };
    let Some(wanted) = wanted else { return Ok((name, latest)) };
    let found = ssm.versions(scope, &name).iter().find(|version| version.version.to_string() == wanted);
    let missing = || {
        ServiceError::new(
            "ParameterVersionNotFound",
            format!("Systems Manager could not find version {wanted} of {name}. Verify the version and try again."),
        )
    };
    found.map(|version| (name.clone(), version)).ok_or_else(missing)
}

fn decrypt(input: &Value) -> bool {
    input["WithDecryption"].as_bool().unwrap_or(false)
}

fn get_parameter(ssm: &Ssm, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
    let (name, version) = find(ssm, scope, text(input, "Name"))?;
    Ok(json!({"Parameter": describe(scope, &name, version, decrypt(input))}))
}

fn get_parameters(ssm: &Ssm, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
    let names: Vec<&str> = input["Names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() || names.len() > PAGE {
        let message = "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10 and greater than or equal to 1.";
        return Err(ServiceError::new("ValidationException", message));
    }
    let mut found = Vec::new();
    let mut invalid = Vec::new();
    for selector in names {
        match find(ssm, scope, selector) {
            Ok((name, version)) => found.push(describe(scope, &name, version, decrypt(input))),
            Err(_) => invalid.push(selector),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
}

fn by_path(ssm: &Ssm, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
    let path = text(input, "Path");
    if !path.starts_with('/') {
        let message = "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\".";
        return Err(ServiceError::new("ValidationException", message));
    }
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let recursive = input["Recursive"].as_bool().unwrap_or(false);
    let below = |name: &str| name.strip_prefix(&prefix).is_some_and(|rest| recursive || !rest.contains('/'));
    let all: Vec<Value> = ssm
        .all()
        .filter(|(owner, name, _)| owner == scope && below(name))
        .map(|(_, name, version)| describe(scope, name, version, decrypt(input)))
        .collect();
    page("Parameters", &all, input, PAGE)
}

fn history(ssm: &Ssm, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
    let name = name_of(scope, text(input, "Name"))?;
    let versions = ssm.versions(scope, &name);
    if versions.is_empty() {
        return Err(not_found(""));
    }
    let entries = versions.iter().map(|version| {
        let mut entry = describe(scope, &name, version, decrypt(input));
        if let Some(fields) = entry.as_object_mut() {
            fields.remove("ARN");
            fields.insert("Labels".to_owned(), json!([]));
            fields.insert("Tier".to_owned(), json!(version.tier));
            fields.insert("LastModifiedDate".to_owned(), json!(epoch_seconds(version.modified)));
        }
        entry
    });
    page("Parameters", &entries.collect::<Vec<_>>(), input, 50)
}

/// One page of `all`; the token of the next is the number of its first entry.
fn page(key: &str, all: &[Value], input: &Value, limit: usize) -> Result<Value, ServiceError> {
    let most = match input["MaxResults"].as_u64() {
        None => limit,
        Some(wanted) => usize::try_from(wanted).ok().filter(|wanted| (1..=limit).contains(wanted)).ok_or_else(|| {
            let message = format!("1 validation error detected: Value '{wanted}' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to {limit}");
            ServiceError::new("ValidationException", message)
        })?,
    };
    let start = match input["NextToken"].as_str() {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|number| number.parse::<usize>().ok())
            .ok_or_else(|| ServiceError::new("InvalidNextToken", "The specified token isn't valid."))?,
    };
    let end = all.len().min(start + most);
    let mut output = Map::new();
    output.insert(key.to_owned(), json!(all.get(start..end).unwrap_or_default()));
    if end < all.len() {
        output.insert("NextToken".to_owned(), json!(format!("page-{end}")));
    }
    Ok(Value::Object(output))
}

fn put(state: &mut State, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
    let now = state.now();
    let put = Put {
        name: text(input, "Name"),
        value: text(input, "Value"),
        kind: input["Type"].as_str(),
        tier: input["Tier"].as_str(),
        overwrite: input["Overwrite"].as_bool().unwrap_or(false),
    };
    let version = state.ssm.put(scope, &put, now)?;
    Ok(json!({"Version": version.version, "Tier": version.tier}))
}
