//! From the credentials of a job configuration to the account they lead to, or why they cannot be used here. Pure.

use crate::aws::Account;
use crate::model::RunRefusal;
use crate::platform::ecs::target::AwsCredentials;
use aws_credential_types::Credentials;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

/// Options of botocore's `Config` that tune how Python's clients work, not what they ask of whom: of no concern here.
const TUNING: [&str; 18] = [
    "connect_timeout",
    "read_timeout",
    "parameter_validation",
    "max_pool_connections",
    "retries",
    "defaults_mode",
    "tcp_keepalive",
    "user_agent",
    "user_agent_extra",
    "user_agent_appid",
    "s3",
    "inject_host_prefix",
    "endpoint_discovery_enabled",
    "disable_request_compression",
    "request_min_compression_size_bytes",
    "request_checksum_calculation",
    "response_checksum_validation",
    "client_context_params",
];

/// The account that these credentials lead to. What cannot be honoured is refused, rather than done otherwise.
pub(super) fn account(credentials: &AwsCredentials) -> Result<Account, RunRefusal> {
    if credentials.profile_name.is_some() {
        return refuse("profile_name", "there are no AWS profiles here. Give keys, or a role in `assume_role_arn`");
    }
    let endpoint_url = endpoint_url(&credentials.client_parameters)?;
    transport(&credentials.client_parameters, endpoint_url.as_deref())?;
    config(credentials.client_parameters.get("config"))?;
    Ok(Account {
        region: region(credentials)?,
        keys: keys(credentials)?,
        // The same session name for the same credentials.
        role: credentials.assume_role(credentials.fingerprint().get(..8).unwrap_or_default()),
        endpoint_url,
    })
}

fn refuse<T>(field: &str, why: &str) -> Result<T, RunRefusal> {
    Err(RunRefusal(format!("`{field}` of `aws_credentials` cannot be used: {why}.")))
}

fn region(credentials: &AwsCredentials) -> Result<Option<String>, RunRefusal> {
    let Some(region) = &credentials.region_name else { return Ok(None) };
    // It becomes part of a host name.
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if region.split('-').count() >= 3 && region.split('-').all(is_name) {
        Ok(Some(region.clone()))
    } else {
        refuse("region_name", "it is not the name of an AWS region (such as eu-west-1)")
    }
}

fn keys(credentials: &AwsCredentials) -> Result<Option<Credentials>, RunRefusal> {
    let secret = credentials.secret_access_key.as_ref().map(ExposeSecret::expose_secret);
    let token = credentials.session_token.as_ref().map(|token| token.expose_secret().to_owned());
    match (&credentials.access_key_id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Credentials::new(id, secret, token, None, "aws_credentials"))),
        (None, None) if token.is_none() => Ok(None),
        (Some(_), None) => refuse("aws_access_key_id", "`aws_secret_access_key` is missing"),
        (None, Some(_)) => refuse("aws_secret_access_key", "`aws_access_key_id` is missing"),
        (None, None) => refuse("aws_session_token", "`aws_access_key_id` and `aws_secret_access_key` are missing"),
    }
}

fn endpoint_url(parameters: &Map<String, Value>) -> Result<Option<String>, RunRefusal> {
    const FIELD: &str = "aws_client_parameters.endpoint_url";
    match parameters.get("endpoint_url") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(url)) if url.is_empty() => Ok(None),
        Some(Value::String(url)) if is_address(url) => Ok(Some(url.clone())),
        Some(_) => refuse(FIELD, "it is not an http:// or https:// address"),
    }
}

fn is_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
}

/// `use_ssl` and the two ways to say whose certificates are good.
fn transport(parameters: &Map<String, Value>, endpoint_url: Option<&str>) -> Result<(), RunRefusal> {
    let said = |field: &str| parameters.get(field).filter(|value| !value.is_null());
    if endpoint_url.is_none() && said("use_ssl").is_some_and(|value| *value != Value::Bool(true)) {
        let why = "AWS is only asked over TLS. Another address may be named in `endpoint_url`";
        return refuse("aws_client_parameters.use_ssl", why);
    }
    if endpoint_url.is_some_and(|url| url.starts_with("http:")) {
        return Ok(());
    }
    let authority = "For a private certificate authority, set AWS_CA_BUNDLE in the agent's own environment";
    if said("verify").is_some_and(|value| *value != Value::Bool(true)) {
        let why = format!("certificates are always verified, against the public authorities. {authority}");
        return refuse("aws_client_parameters.verify", &why);
    }
    if said("verify_cert_path").is_some() {
        return refuse("aws_client_parameters.verify_cert_path", &format!("there is no such file here. {authority}"));
    }
    Ok(())
}

fn config(config: Option<&Value>) -> Result<(), RunRefusal> {
    const FIELD: &str = "aws_client_parameters.config";
    let options = match config {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(options)) => options,
        Some(_) => return refuse(FIELD, "it is not a mapping"),
    };
    for (option, value) in options {
        let is_default = match option.as_str() {
            "signature_version" => value == "v4",
            "use_dualstack_endpoint" | "use_fips_endpoint" | "ignore_configured_endpoint_urls" => value == false,
            option => TUNING.contains(&option),
        };
        if !value.is_null() && !is_default {
            let why = match option.as_str() {
                "region_name" => "write the region to `region_name` of `aws_credentials`",
                "use_dualstack_endpoint" | "use_fips_endpoint" => "write the endpoint's address to `endpoint_url`",
                _ => {
                    "only options that tune a client's retries, time limits and connections are accepted (and ignored)"
                }
            };
            return refuse(&format!("{FIELD}.{option}"), why);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
