//! Parsers of values that say where something is: the API, documents, certificate authorities.

use super::errors::{Parsed, refuse};
use super::values::{describe, quoted, text};
use reqwest::Url;
use serde_json::Value;

/// Base URL of a Prefect API, without a trailing slash.
pub(super) fn api(value: &Value) -> Parsed<String> {
    const ALLOWED: &str = "an http:// or https:// address without user, password, query and fragment";
    let written = text(value)?;
    let Ok(url) = Url::parse(written.trim()) else { return refuse(shown(value), ALLOWED) };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("an address with a user or password in it", ALLOWED);
    }
    let fits = matches!(url.scheme(), "http" | "https")
        && written.contains("://")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.query().is_none()
        && url.fragment().is_none();
    if fits { Ok(written.trim().trim_end_matches('/').to_owned()) } else { refuse(shown(value), ALLOWED) }
}

/// An address as a message may show it: what can carry credentials is left out.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('@') => "an address that cannot be read".to_owned(),
        Value::String(text) => format!("the text {}", quoted(text.split(['?', '#']).next().unwrap_or_default())),
        _ => describe(value),
    }
}

/// Where a document lies: `s3://bucket/key`, `https://…` (`http://` only on this machine), `ssm://name`; a local file
/// only where `local_files` says so.
pub(super) fn document(local_files: bool) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let path = text(value)?;
        let fits = match path.split_once("://") {
            Some(("s3", rest)) => {
                rest.split_once('/').is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            }
            Some(("ssm", name)) => !name.is_empty(),
            Some(("https", _)) => Url::parse(&path).is_ok(),
            Some(("http", _)) => Url::parse(&path).is_ok_and(|url| is_loopback(&url)),
            Some(("file", rest)) => local_files && !rest.is_empty(),
            Some(_) => false,
            None => local_files,
        };
        if fits {
            Ok(path.strip_prefix("file://").map_or(path.clone(), str::to_owned))
        } else {
            refuse(shown(value), schemes(local_files))
        }
    }
}

fn schemes(local_files: bool) -> &'static str {
    if local_files {
        "a local file, s3://bucket/key, https://… or ssm://name"
    } else {
        "s3://bucket/key, https://… or ssm://name (a local file only on the command line)"
    }
}

/// Whether an address names this very machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A certificate authority: certificates in PEM, or the parameter that holds them. The text is never shown.
pub(super) fn certificate_authority(value: &Value) -> Parsed<String> {
    const ALLOWED: &str = "certificates in PEM, or ssm://name";
    let written = text(value)?;
    if written.contains("PRIVATE KEY-----") {
        return refuse("a private key", ALLOWED);
    }
    let is_parameter = written.strip_prefix("ssm://").is_some_and(|name| !name.is_empty());
    if is_parameter || written.contains("-----BEGIN CERTIFICATE-----") {
        Ok(written)
    } else {
        refuse("a text that is neither", ALLOWED)
    }
}
