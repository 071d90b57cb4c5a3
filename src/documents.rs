//! Documents that a configuration points to: task definitions and keyword arguments kept elsewhere.

use crate::aws::{AwsClients, AwsError};
use crate::config::read_yaml;
use crate::http::hosts::RunHttp;
use crate::http::{Http, Request, SendError};
use crate::model::{ErrorKind, SetupError};
use http::{HeaderMap, Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The largest document, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// The longest a document may take to come over HTTP.
const HTTP_LIMIT: Duration = Duration::from_secs(10);

/// Whether paths may name files of this machine: only on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFiles {
    /// They may: without a scheme, or `file://`, `local://`, `agent://`.
    Allowed,
    /// They may not.
    Refused,
}

/// Why there is no document. The sentence names the path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not there, or not what it should be: reading it again does not help.
    #[error("{0}")]
    Wrong(String),
    /// It cannot be read at the moment.
    #[error("{0}")]
    Unavailable(String),
}

impl DocumentError {
    /// What it means for the agent whose key names the document.
    pub fn about(&self, key: &str) -> SetupError {
        let kind = match self {
            Self::Wrong(_) => ErrorKind::Configuration,
            Self::Unavailable(_) => ErrorKind::Aws,
        };
        SetupError { kind, message: format!("{key}: {self}") }
    }
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DocumentPlace<'a> {
    S3 { bucket: &'a str, key: &'a str },
    Ssm(String),
    Http,
    Local(&'a str),
}

/// Loads a YAML or JSON mapping from `s3://bucket/key`, `https://…` (or `http://…`), `ssm://name` or, where allowed, a
/// local file. Parameters and objects are read as the function itself. Errors are sentences that name the path.
pub async fn load_document(
    path: &str,
    aws: &AwsClients,
    http: &Http,
    local_files: LocalFiles,
) -> Result<Map<String, Value>, DocumentError> {
    let bytes = match document_place(path, local_files).map_err(DocumentError::Wrong)? {
        DocumentPlace::S3 { bucket, key } => object(path, aws.s3.get_object(bucket, key).await)?,
        DocumentPlace::Ssm(name) => parameter(&name, aws).await?.into_bytes(),
        DocumentPlace::Http => get(path, http).await?,
        DocumentPlace::Local(file) => read_file(path, file).map_err(DocumentError::Wrong)?,
    };
    read(path, &bytes)
}

/// The documents that runs name. Whoever may create a run would else read by it whatever the functions may read, other agents'
/// keys among that, and ask what only they reach.
#[derive(Debug)]
pub struct RunDocuments {
    /// For parameters and objects.
    pub aws: Arc<AwsClients>,
    /// For addresses.
    pub http: Arc<RunHttp>,
    /// What the names of parameters begin with; `None` = there is no deployment that has some.
    pub files: Option<String>,
    /// Whether paths may name files of this machine.
    pub local_files: LocalFiles,
}

impl RunDocuments {
    /// Loads a document, as [`load_document`] does, if a run may name it.
    pub async fn load(&self, path: &str) -> Result<Map<String, Value>, DocumentError> {
        let bytes = match document_place(path, self.local_files).map_err(DocumentError::Wrong)? {
            DocumentPlace::Http => match self.http.way_to(path) {
                Ok(http) => get(path, http).await?,
                Err(refusal) => return Err(not_for_runs(path, refusal)),
            },
            DocumentPlace::Ssm(name) => match &self.files {
                Some(files) if name.starts_with(files.as_str()) => parameter(&name, &self.aws).await?.into_bytes(),
                Some(files) => {
                    return Err(not_for_runs(path, format!("of Parameter Store, only what is below {files}")));
                }
                None => return Err(not_for_runs(path, "without a deployment, nothing of Parameter Store")),
            },
            // The functions' role says which objects.
            DocumentPlace::S3 { bucket, key } => object(path, self.aws.s3.get_object(bucket, key).await)?,
            DocumentPlace::Local(file) => read_file(path, file).map_err(DocumentError::Wrong)?,
        };
        read(path, &bytes)
    }
}

fn not_for_runs(path: &str, why: impl std::fmt::Display) -> DocumentError {
    DocumentError::Wrong(format!("a run may not name {}: {why}", without_query(path)))
}

fn read(path: &str, bytes: &[u8]) -> Result<Map<String, Value>, DocumentError> {
    if bytes.len() > MAX_BYTES {
        return Err(DocumentError::Wrong(too_large(path)));
    }
    mapping(path, bytes).map_err(DocumentError::Wrong)
}

fn object(path: &str, answer: Result<bytes::Bytes, AwsError>) -> Result<Vec<u8>, DocumentError> {
    match answer {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error @ AwsError::Answer { status: 404, .. }) => Err(DocumentError::Wrong(cannot_read(path, error))),
        Err(error) => {
            let remedy = if error.is_denied() { what_to_allow(&error.to_string()) } else { "" };
            Err(DocumentError::Unavailable(format!("{}{remedy}", cannot_read(path, error))))
        }
    }
}

/// What S3 refused is the object, or the key that it is encrypted with: its text names the permission that is wanting.
fn what_to_allow(said: &str) -> &'static str {
    if said.contains("kms:") {
        ". The object is encrypted with a customer key: name it in the template's parameter `S3KeyArns`, and let the poll \
         function's role decrypt with it (kms:Decrypt) in the key's policy"
    } else {
        ". Name the object in the template's parameter `S3ObjectArns`"
    }
}

/// A text that is given itself or lies at `ssm://name` (a certificate bundle).
pub async fn resolve_text(text: &str, aws: &AwsClients) -> Result<String, DocumentError> {
    match text.trim().strip_prefix("ssm://") {
        Some(name) => parameter(&parameter_name(name), aws).await,
        None => Ok(text.to_owned()),
    }
}

/// Where a document lies; what is wrong with its path.
pub(crate) fn document_place(path: &str, local_files: LocalFiles) -> Result<DocumentPlace<'_>, String> {
    let (scheme, rest) = path.split_once("://").unwrap_or(("", path));
    match scheme.to_ascii_lowercase().as_str() {
        "s3" => match rest.split_once('/').filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty()) {
            Some((bucket, key)) => Ok(DocumentPlace::S3 { bucket, key }),
            None => Err(format!("{path} is not of the form s3://bucket/key")),
        },
        "ssm" if rest.trim_matches('/').is_empty() => Err(format!("{path} names no parameter: write ssm://name")),
        "ssm" => Ok(DocumentPlace::Ssm(parameter_name(rest))),
        "http" | "https" => Ok(DocumentPlace::Http),
        "" | "file" | "local" | "agent" => match local_files {
            LocalFiles::Allowed => Ok(DocumentPlace::Local(rest)),
            LocalFiles::Refused => Err(format!(
                "{path} is a local file, which a function does not have: use s3://bucket/key, https://… or ssm://name"
            )),
        },
        _ => Err(format!("Unsupported file scheme {path}")),
    }
}

/// Names with slashes are absolute in Parameter Store.
fn parameter_name(name: &str) -> String {
    if name.contains('/') && !name.starts_with('/') { format!("/{name}") } else { name.to_owned() }
}

async fn parameter(name: &str, aws: &AwsClients) -> Result<String, DocumentError> {
    match aws.ssm.get_parameter(name, true).await {
        Ok(Some(parameter)) => Ok(parameter.value.expose_secret().to_owned()),
        Ok(None) => {
            Err(DocumentError::Wrong(format!("cannot read ssm://{name}: there is no such parameter in {}", aws.region)))
        }
        Err(error) => Err(DocumentError::Unavailable(cannot_read(&format!("ssm://{name}"), error))),
    }
}

async fn get(path: &str, http: &Http) -> Result<Vec<u8>, DocumentError> {
    let shown = without_query(path);
    let (method, url, headers) = (Method::GET, path.to_owned(), HeaderMap::new());
    let answer = match http.send(Request { method, url, headers, body: None, timeout: HTTP_LIMIT }).await {
        Ok(answer) => answer,
        Err(SendError::TooLong(_)) => return Err(DocumentError::Wrong(too_large(shown))),
        Err(error @ SendError::Impossible(_)) => return Err(DocumentError::Wrong(cannot_read(shown, error))),
        Err(error) => return Err(DocumentError::Unavailable(cannot_read(shown, error))),
    };
    match answer.status {
        200..300 => Ok(answer.body.to_vec()),
        status @ (408 | 429 | 500..) => Err(DocumentError::Unavailable(cannot_read(shown, said(status)))),
        status => Err(DocumentError::Wrong(cannot_read(shown, said(status)))),
    }
}

/// `HTTP 404 Not Found`
fn said(status: u16) -> String {
    match StatusCode::from_u16(status) {
        Ok(known) => format!("HTTP {known}"),
        Err(_) => format!("HTTP {status}"),
    }
}

/// The query of a signed URL is a secret.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn read_file(path: &str, file: &str) -> Result<Vec<u8>, String> {
    let open = std::fs::File::open(file).map_err(|error| cannot_read(path, error))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the size check sees it.
    open.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(path, error))?;
    Ok(bytes)
}

/// Reads a mapping, JSON first: its tabs and escapes are not YAML's. Errors do not quote the text, which may hold
/// secrets.
fn mapping(path: &str, bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let shown = without_query(path);
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text"))?;
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => read_yaml(text).map_err(|wrong| format!("{shown} cannot be used: {wrong}"))?,
    };
    match value {
        Value::Object(map) => Ok(map),
        other => Err(format!("{shown} must be a mapping, but is {}", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn cannot_read(path: &str, reason: impl std::fmt::Display) -> String {
    format!("cannot read {path}: {reason}")
}

fn too_large(path: &str) -> String {
    format!("{path} is larger than {MAX_BYTES} bytes")
}
