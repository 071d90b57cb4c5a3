//! Which service and operation a request is for.

use crate::{ACCOUNT, REGION, kept::Kept, prefect3};
use apollo_compiler::ast::{Definition, Document, Selection};
use axum::http::{HeaderMap, Method, Uri};
use serde::Deserialize;

/// Service and operation, as the journal and the faults name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `prefect1`, `prefect3`, `ecs`, `ssm`, `logs`, `sqs`, `ec2`, `sts`, `s3`, `lambda`,
    /// `cloudformation`, `iam`, `events`, `scheduler`, `ecr`, `quotas`, `monitoring`, `_world`, or `unknown`.
    pub service: &'static str,
    /// The operation's name.
    pub operation: String,
}

fn to(service: &'static str, operation: impl Into<String>) -> Route {
    Route { service, operation: operation.into() }
}

/// Finds service and operation.
pub fn route(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Route {
    let path = uri.path();
    if path == "/_world" || path.starts_with("/_world/") {
        return to("_world", path);
    }
    if let Some(rest) = path.strip_prefix("/prefect1")
        && matches!(rest, "" | "/" | "/graphql" | "/graphql/")
    {
        return to("prefect1", root_fields(body));
    }
    if let Some(operation) = prefect3::routes::operation(method, path) {
        return to("prefect3", operation);
    }
    if path.starts_with("/2015-03-31/functions/") && path.ends_with("/invocations") {
        return to("lambda", "Invoke");
    }
    if *method == Method::GET {
        match path.trim_start_matches('/').split('/').next() {
            Some("schedules") => return to("scheduler", "GetSchedule"),
            Some("_layers") => return to("ecr", "GetLayer"),
            Some("2016-08-19") => return to("lambda", "GetAccountSettings"),
            Some("2015-03-31") if path.contains("/event-source-mappings/") => {
                return to("lambda", "GetEventSourceMapping");
            }
            Some("2019-09-30") => return to("lambda", "GetFunctionConcurrency"),
            Some("2021-10-31") if path.ends_with("/url") => return to("lambda", "GetFunctionUrlConfig"),
            _ => {}
        }
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some((service, operation)) = text("x-amz-target").split_once('.') {
        match service {
            "AmazonSSM" => return to("ssm", operation),
            "AmazonEC2ContainerRegistry_V20150921" => return to("ecr", operation),
            "ServiceQuotasV20190624" => return to("quotas", operation),
            "AWSEvents" => return to("events", operation),
            "AmazonSQS" => return to("sqs", operation),
            "Logs_20140328" => return to("logs", operation),
            "AmazonEC2ContainerServiceV20141113" => return to("ecs", operation),
            _ => {}
        }
    }
    if method == Method::POST && path == "/" {
        let form = Form::parse(body);
        match form.get("Version") {
            Some("2016-11-15") => return to("ec2", form.get("Action").unwrap_or_default()),
            Some("2010-05-08") => return to("iam", form.get("Action").unwrap_or_default()),
            Some("2010-08-01") => return to("monitoring", form.get("Action").unwrap_or_default()),
            Some("2010-05-15") => return to("cloudformation", form.get("Action").unwrap_or_default()),
            Some("2011-06-15") => return to("sts", form.get("Action").unwrap_or_default()),
            _ => {}
        }
    }
    if method == Method::GET && text("authorization").starts_with("AWS4-HMAC-SHA256") {
        return to("s3", "GetObject");
    }
    to("unknown", format!("{method} {path}"))
}

/// What a GraphQL document in a request body asks for: the name of its operation if it has one, else its root fields, each
/// once, in order, joined by `,`. `invalid` when body or document cannot be read.
pub fn root_fields(body: &[u8]) -> String {
    let Ok(Asked { query: Some(query) }) = serde_json::from_slice(body) else { return "invalid".to_owned() };
    NAMES.get_or(&query, || names_of(&query))
}

/// The names of the documents of late: clients send the same few again and again.
static NAMES: Kept<String> = Kept::new();

/// What is read of a GraphQL request.
#[derive(Deserialize)]
struct Asked {
    query: Option<String>,
}

fn names_of(query: &str) -> String {
    let Ok(document) = Document::parse(query, "request.graphql") else { return "invalid".to_owned() };
    let mut names: Vec<&str> = Vec::new();
    for definition in &document.definitions {
        if let Definition::OperationDefinition(operation) = definition {
            if let Some(name) = &operation.name {
                return name.to_string();
            }
            for selection in &operation.selection_set {
                if let Selection::Field(field) = selection
                    && !names.contains(&field.name.as_str())
                {
                    names.push(field.name.as_str());
                }
            }
        }
    }
    names.join(",")
}

/// A form body, e.g. of EC2's query protocol.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form body.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The values of a list: `prefix.1`, `prefix.2`, …
    pub fn list(&self, prefix: &str) -> Vec<&str> {
        (1..).map_while(|n| self.get(&format!("{prefix}.{n}"))).collect()
    }
}

/// On whose behalf, and where: the account and region of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The account, twelve digits.
    pub account: String,
    /// The region, e.g. `eu-west-1`.
    pub region: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self { account: ACCOUNT.to_owned(), region: REGION.to_owned() }
    }
}

impl Scope {
    /// The ARN of a resource of this account and region.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }
}

/// The access key and the region that signed a request; none when it is unsigned.
pub fn signer(headers: &HeaderMap) -> Option<(String, String)> {
    let authorization = headers.get("authorization")?.to_str().ok()?;
    let credential = authorization.split("Credential=").nth(1)?.split(',').next()?;
    let mut parts = credential.split('/');
    Some((parts.next()?.to_owned(), parts.nth(1)?.to_owned()))
}
