//! SSM Parameter Store.

mod operations;
#[cfg(test)]
mod tests;

use crate::{
    World,
    answer::{ServiceError, aws_json},
    route::Scope,
    world::epoch_seconds,
};
use axum::{body::Bytes, response::Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// How many versions of a parameter are kept.
const HISTORY: usize = 100;

/// All parameters of all accounts and regions.
#[derive(Default)]
pub struct Ssm {
    /// Versions by scope and name.
    parameters: BTreeMap<(String, String, String), Parameter>,
    /// Answer `TooManyUpdates` to this many of the next updates of existing parameters.
    pub too_many_updates: u32,
}

/// A parameter: its versions, oldest first.
#[derive(Clone, Debug)]
struct Parameter {
    versions: Vec<Version>,
}

/// One version of a parameter.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// From 1, strictly increasing.
    pub version: u64,
    /// The plain value.
    pub value: String,
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// `Standard` or `Advanced`.
    pub tier: String,
    #[serde(skip)]
    modified: OffsetDateTime,
}

/// What a parameter is to become.
#[derive(Clone, Debug)]
pub struct Put<'a> {
    /// The full name.
    pub name: &'a str,
    /// The plain value.
    pub value: &'a str,
    /// The type; none keeps that of an existing parameter.
    pub kind: Option<&'a str>,
    /// The tier; none keeps that of an existing parameter.
    pub tier: Option<&'a str>,
    /// Whether an existing parameter may change.
    pub overwrite: bool,
}

fn key(scope: &Scope, name: &str) -> (String, String, String) {
    (scope.account.clone(), scope.region.clone(), name.to_owned())
}

impl Ssm {
    /// Writes a parameter by the rules of `PutParameter`; its new version.
    pub fn put(&mut self, scope: &Scope, put: &Put<'_>, now: OffsetDateTime) -> Result<Version, ServiceError> {
        validate(put)?;
        let known = self.parameters.get(&key(scope, put.name)).and_then(|parameter| parameter.versions.last());
        if known.is_some() && !put.overwrite {
            let message = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
            return Err(ServiceError::new("ParameterAlreadyExists", message));
        }
        if known.is_some() && self.too_many_updates > 0 {
            self.too_many_updates -= 1;
            return Err(ServiceError::new(
                "TooManyUpdates",
                "There are concurrent updates for a resource that supports one update at a time.",
            ));
        }
        let Some(kind) = put.kind.or(known.map(|version| version.kind.as_str())) else {
            return Err(ServiceError::new(
                "ValidationException",
                "A parameter type is required when you create a parameter.",
            ));
        };
        let tier = put.tier.or(known.map(|version| version.tier.as_str())).unwrap_or("Standard");
        if put.tier == Some("Standard") && known.is_some_and(|version| version.tier == "Advanced") {
            let message = "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier.";
            return Err(ServiceError::new("ValidationException", message));
        }
        let tier = if tier == "Intelligent-Tiering" { tier_for(put.value) } else { tier };
        limit(put.value, tier)?;
        let version = Version {
            version: known.map_or(1, |known| known.version + 1),
            value: put.value.to_owned(),
            kind: kind.to_owned(),
            tier: tier.to_owned(),
            modified: now,
        };
        let parameter =
            self.parameters.entry(key(scope, put.name)).or_insert_with(|| Parameter { versions: Vec::new() });
        parameter.versions.push(version.clone());
        if parameter.versions.len() > HISTORY {
            parameter.versions.remove(0);
        }
        Ok(version)
    }

    /// The newest version of a parameter.
    pub fn latest(&self, scope: &Scope, name: &str) -> Option<&Version> {
        self.parameters.get(&key(scope, name))?.versions.last()
    }

    /// The plain value of a container's secret, by name or ARN, as an ECS task of `scope` resolves it: another region
    /// by ARN, never another account.
    pub fn resolve(&self, scope: &Scope, reference: &str) -> Option<&str> {
        let region = reference.starts_with("arn:").then(|| reference.split(':').nth(3)).flatten();
        let scope = Scope { account: scope.account.clone(), region: region.unwrap_or(&scope.region).to_owned() };
        operations::find(self, &scope, reference).ok().map(|(_, version)| version.value.as_str())
    }

    /// The kept versions of a parameter, oldest first.
    pub fn versions(&self, scope: &Scope, name: &str) -> &[Version] {
        self.parameters.get(&key(scope, name)).map_or(&[], |parameter| &parameter.versions)
    }

    /// Every parameter's name and newest version, in the order of names; accounts and regions one after the other.
    pub fn all(&self) -> impl Iterator<Item = (Scope, &str, &Version)> {
        self.parameters.iter().filter_map(|((account, region, name), parameter)| {
            let scope = Scope { account: account.clone(), region: region.clone() };
            Some((scope, name.as_str(), parameter.versions.last()?))
        })
    }

    /// Removes a parameter; false when there was none.
    pub fn delete(&mut self, scope: &Scope, name: &str) -> bool {
        self.parameters.remove(&key(scope, name)).is_some()
    }
}

impl World {
    /// Writes a plain parameter into the world's own account and region; its version.
    ///
    /// # Panics
    /// When Parameter Store would refuse it.
    #[allow(clippy::panic, reason = "a test that seeds nonsense should stop right there")]
    pub fn put_parameter(&self, name: &str, value: &str) -> u64 {
        self.put_parameter_of("String", name, value)
    }

    /// Writes a `SecureString` into the world's own account and region; its version.
    ///
    /// # Panics
    /// When Parameter Store would refuse it.
    pub fn put_secret(&self, name: &str, value: &str) -> u64 {
        self.put_parameter_of("SecureString", name, value)
    }

    #[allow(clippy::panic, reason = "a test that seeds nonsense should stop right there")]
    fn put_parameter_of(&self, kind: &str, name: &str, value: &str) -> u64 {
        let mut state = self.lock();
        let now = state.now();
        let tier = Some(tier_for(value));
        match state.ssm.put(&Scope::default(), &Put { name, value, kind: Some(kind), tier, overwrite: true }, now) {
            Ok(version) => version.version,
            Err(error) => panic!("the parameter {name} cannot be seeded: {} {}", error.code, error.message),
        }
    }

    /// The newest version of a parameter in the world's own account and region.
    pub fn parameter(&self, name: &str) -> Option<Version> {
        self.lock().ssm.latest(&Scope::default(), name).cloned()
    }
}

fn tier_for(value: &str) -> &'static str {
    if value.len() > 4096 { "Advanced" } else { "Standard" }
}

fn limit(value: &str, tier: &str) -> Result<(), ServiceError> {
    let (limit, other) = match tier {
        "Standard" => {
            (4096, " To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.")
        }
        "Advanced" => (8192, ""),
        _ => {
            return Err(ServiceError::new(
                "ValidationException",
                format!("1 validation error detected: Value '{tier}' at 'tier' failed to satisfy constraint"),
            ));
        }
    };
    if value.len() <= limit {
        return Ok(());
    }
    let tier = tier.to_lowercase();
    let message =
        format!("{} tier parameters support a maximum parameter value of {limit} characters.{other}", capital(&tier));
    Err(ServiceError::new("ValidationException", message))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn validate(put: &Put<'_>) -> Result<(), ServiceError> {
    let invalid = |message: &str| Err(ServiceError::new("ValidationException", message));
    let name = put.name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    if name.is_empty()
        || name.len() > 1011
        || !name.chars().all(allowed)
        || (name.contains('/') && !name.starts_with('/'))
    {
        return invalid(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_",
        );
    }
    let lower = name.to_lowercase();
    if lower.starts_with("/aws") && name.matches('/').count() > 1 {
        return Err(ServiceError::new(
            "AccessDeniedException",
            format!("No access to reserved parameter name: {name}."),
        ));
    }
    if ["aws", "ssm"].iter().any(|reserved| lower.trim_start_matches('/').starts_with(reserved)) {
        return invalid("Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).");
    }
    if name.split('/').count() > 16 {
        return Err(ServiceError::new(
            "HierarchyLevelLimitExceededException",
            "A hierarchy can have a maximum of 15 levels.",
        ));
    }
    if put.value.is_empty() {
        return invalid(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.",
        );
    }
    match put.kind {
        None | Some("String" | "StringList" | "SecureString") => Ok(()),
        Some(_) => Err(ServiceError::new("UnsupportedParameterType", "The parameter type is not supported.")),
    }
}

/// A parameter as the API describes it.
fn describe(scope: &Scope, name: &str, version: &Version, decrypt: bool) -> Value {
    let value =
        if version.kind == "SecureString" && !decrypt { ciphertext(&version.value) } else { version.value.clone() };
    json!({
        "Name": name,
        "Type": version.kind,
        "Value": value,
        "Version": version.version,
        "LastModifiedDate": epoch_seconds(version.modified),
        "ARN": scope.arn("ssm", &format!("parameter/{}", name.trim_start_matches('/'))),
        "DataType": "text",
    })
}

/// Text that looks like what KMS returns and does not contain the value.
fn ciphertext(value: &str) -> String {
    let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, value.as_bytes()).simple().to_string();
    format!("AQICAHh{digest}AAAA{digest}==")
}

/// Answers one request.
pub fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let result = match serde_json::from_slice(body) {
        Ok(input) => operations::perform(&mut world.lock(), scope, operation, &input),
        Err(_) => Err(ServiceError::new("SerializationException", "")),
    };
    aws_json(result)
}
