//! Requests that we sign ourselves (Signature Version 4), and where they go: the few calls for which a whole SDK crate
//! would be too much.

use super::credentials::Cached;
use super::http::AwsHttp;
use super::{AwsError, answers};
use crate::config::Environment;
use crate::http::{Answer, chain};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ecs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use futures_util::FutureExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod endpoints_tests;
#[cfg(test)]
mod tests;

/// How often a read is tried, and the pauses between: throttling and lost answers pass.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// What signed calls need: one region, one set of credentials.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Region that is signed for.
    pub region: String,
    /// Where the services are.
    pub endpoints: Endpoints,
    pub(super) http: AwsHttp,
    credentials: Cached,
}

/// A call before it is signed.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service it is signed for.
    pub service: Service,
    /// HTTP method.
    pub method: http::Method,
    /// Complete URL, percent-encoded.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body, may be empty.
    pub body: Bytes,
}

/// In the values of a form all but the unreserved characters are encoded.
const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Call {
    /// An operation of a service that speaks JSON. `target`: e.g. `AWSEvents.DescribeRule`.
    pub(super) fn json(signed: &Signed, service: Service, target: &str, body: &Value) -> Result<Self, AwsError> {
        let version = if service == Service::Sqs { "1.0" } else { "1.1" };
        Ok(Self {
            service,
            method: http::Method::POST,
            url: format!("{}/", signed.endpoint(service)?),
            headers: vec![
                ("content-type", format!("application/x-amz-json-{version}")),
                ("x-amz-target", target.to_owned()),
            ],
            body: body.to_string().into(),
        })
    }

    /// A call of the query protocol: a form with these fields.
    pub(super) fn query<T: AsRef<str>>(signed: &Signed, service: Service, fields: &[(T, T)]) -> Result<Self, AwsError> {
        let field =
            |(name, value): &(T, T)| format!("{}={}", name.as_ref(), utf8_percent_encode(value.as_ref(), IN_FORM));
        Ok(Self {
            service,
            method: http::Method::POST,
            url: format!("{}/", signed.endpoint(service)?),
            headers: vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".into())],
            body: fields.iter().map(field).collect::<Vec<_>>().join("&").into(),
        })
    }
}

impl Service {
    /// What an answer that is no success says, in the language of the service.
    fn error_of(self, answer: &Answer) -> AwsError {
        match self {
            Self::Ec2 | Self::S3 | Self::Sts | Self::Iam | Self::CloudFormation | Self::CloudWatch => {
                answers::xml_error(answer)
            }
            Self::Ecs
            | Self::Ssm
            | Self::Lambda
            | Self::Logs
            | Self::Scheduler
            | Self::Events
            | Self::Sqs
            | Self::Ecr
            | Self::Quotas => answers::answer_error(answer),
        }
    }
}

impl Signed {
    /// Signs with these credentials.
    pub fn new(region: &str, endpoints: Endpoints, http: AwsHttp, credentials: Cached) -> Self {
        Self { region: region.to_owned(), endpoints, http, credentials }
    }

    /// The same, signing for another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self.clone() }
    }

    /// The same, signing with other credentials.
    #[must_use]
    pub(super) fn with(&self, credentials: Cached) -> Self {
        Self { credentials, ..self.clone() }
    }

    /// Opens a connection to a service ahead of its first use. Best effort; nothing is signed.
    pub(super) async fn warm_up(&self, service: Service) {
        if let Ok(url) = self.endpoint(service) {
            self.http.warm_up(&url).await;
        }
    }

    /// What is signed with.
    pub(super) fn credentials(&self) -> &Cached {
        &self.credentials
    }

    /// The endpoint of a service, without a trailing slash.
    pub fn endpoint(&self, service: Service) -> Result<String, AwsError> {
        self.endpoints.url(service, &self.region)
    }

    /// The same with another limit of one attempt.
    #[must_use]
    pub fn within(&self, attempt: Duration) -> Self {
        Self { http: self.http.within(attempt), ..self.clone() }
    }

    /// Signs and sends, once. Any HTTP status is an answer.
    pub async fn send(&self, call: &Call) -> Result<Answer, AwsError> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| AwsError::Credentials(chain(&error)))?;
        let request = signed(call, credentials, &self.region, SystemTime::now()).map_err(AwsError::NotSent)?;
        Ok(self.http.send(request).await?)
    }

    /// Sends what can be repeated without harm, a few times while there is no answer or one that asks for patience.
    pub async fn read(&self, call: &Call) -> Result<Answer, AwsError> {
        for pause in PAUSES {
            match self.send(call).await {
                Ok(answer) if answer.status >= 500 => {}
                Ok(answer) if answer.status >= 400 && call.service.error_of(&answer).is_throttled() => {}
                Err(AwsError::NotSent(_) | AwsError::NoAnswer(_)) => {}
                settled => return settled,
            }
            tokio::time::sleep(pause).await;
        }
        self.send(call).await
    }
}

/// The signed request: a pure function of call, credentials, region and time.
fn signed(
    call: &Call,
    credentials: Credentials,
    region: &str,
    now: SystemTime,
) -> Result<http::Request<Bytes>, String> {
    let mut request = http::Request::builder().method(call.method.clone()).uri(&call.url);
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let mut request = request.body(call.body.clone()).map_err(|error| format!("{}: {error}", call.url))?;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(call.service.name())
        .time(now)
        .settings(settings(call.service))
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let instructions =
        SignableRequest::new(call.method.as_str(), call.url.as_str(), headers, SignableBody::Bytes(&call.body))
            .and_then(|request| sign(request, &params))
            .map_err(|error| format!("cannot sign the request to {}: {error}", call.url))?;
    instructions.into_parts().0.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// S3 alone takes the path as it is, and wants to know the body's hash.
fn settings(service: Service) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == Service::S3 {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

// Where the AWS services are: the public endpoints of a region, or what the environment says instead.

/// The services we talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Elastic Container Service.
    Ecs,
    /// Systems Manager: Parameter Store.
    Ssm,
    /// Elastic Compute Cloud: the default network.
    Ec2,
    /// Simple Storage Service.
    S3,
    /// Lambda.
    Lambda,
    /// Security Token Service.
    Sts,
    /// `CloudWatch` Logs.
    Logs,
    /// Identity and Access Management, which is the same in all regions of a partition.
    Iam,
    /// `CloudFormation`.
    CloudFormation,
    /// `EventBridge` Scheduler.
    Scheduler,
    /// `EventBridge`.
    Events,
    /// Simple Queue Service.
    Sqs,
    /// Elastic Container Registry.
    Ecr,
    /// Service Quotas.
    Quotas,
    /// `CloudWatch`: what of a quota is used.
    CloudWatch,
}

impl Service {
    /// All of them.
    pub(super) const ALL: [Self; 15] = [
        Self::Ecs,
        Self::Ssm,
        Self::Ec2,
        Self::S3,
        Self::Lambda,
        Self::Sts,
        Self::Logs,
        Self::Iam,
        Self::CloudFormation,
        Self::Scheduler,
        Self::Events,
        Self::Sqs,
        Self::Ecr,
        Self::Quotas,
        Self::CloudWatch,
    ];

    /// The service's name in `AWS_ENDPOINT_URL_<SERVICE>`.
    fn variable(self) -> &'static str {
        match self {
            Self::Ecs => "AWS_ENDPOINT_URL_ECS",
            Self::Ssm => "AWS_ENDPOINT_URL_SSM",
            Self::Ec2 => "AWS_ENDPOINT_URL_EC2",
            Self::S3 => "AWS_ENDPOINT_URL_S3",
            Self::Lambda => "AWS_ENDPOINT_URL_LAMBDA",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
            // The service's id is of two words.
            Self::Logs => "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
            Self::Iam => "AWS_ENDPOINT_URL_IAM",
            Self::CloudFormation => "AWS_ENDPOINT_URL_CLOUDFORMATION",
            Self::Scheduler => "AWS_ENDPOINT_URL_SCHEDULER",
            Self::Events => "AWS_ENDPOINT_URL_EVENTBRIDGE",
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
            Self::Ecr => "AWS_ENDPOINT_URL_ECR",
            Self::Quotas => "AWS_ENDPOINT_URL_SERVICE_QUOTAS",
            Self::CloudWatch => "AWS_ENDPOINT_URL_CLOUDWATCH",
        }
    }

    /// The service's name in host names and signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ssm => "ssm",
            Self::Ec2 => "ec2",
            Self::S3 => "s3",
            Self::Lambda => "lambda",
            Self::Sts => "sts",
            Self::Logs => "logs",
            Self::Iam => "iam",
            Self::CloudFormation => "cloudformation",
            Self::Scheduler => "scheduler",
            Self::Events => "events",
            Self::Sqs => "sqs",
            Self::Ecr => "ecr",
            Self::Quotas => "servicequotas",
            Self::CloudWatch => "monitoring",
        }
    }
}

/// The endpoints that the environment overrides: `AWS_ENDPOINT_URL_<SERVICE>` before `AWS_ENDPOINT_URL`;
/// none of them with `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true`. And which of the public ones are meant:
/// `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    everywhere: Option<String>,
    by_service: HashMap<&'static str, String>,
    /// Those validated for FIPS 140; `None` = nobody said.
    pub fips: Option<bool>,
    /// Those that are reached by IPv6 too; `None` = nobody said.
    pub dual_stack: Option<bool>,
}

impl Endpoints {
    /// Reads the environment; or says which variable cannot be understood.
    pub fn from_env(environment: &Environment) -> Result<Self, String> {
        let get = |name: &str| {
            let value = environment.get(name).map(|url| url.trim().trim_end_matches('/'));
            value.filter(|url| !url.is_empty()).map(ToOwned::to_owned)
        };
        let switch = |name: &str| match get(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => Err(format!("{name} is \"{value}\": allowed are true and false")),
        };
        let public = Self {
            fips: switch("AWS_USE_FIPS_ENDPOINT")?,
            dual_stack: switch("AWS_USE_DUALSTACK_ENDPOINT")?,
            ..Self::default()
        };
        if get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(public);
        }
        let services = Service::ALL.map(Service::variable);
        Ok(Self {
            everywhere: get("AWS_ENDPOINT_URL"),
            by_service: services.into_iter().filter_map(|variable| Some((variable, get(variable)?))).collect(),
            ..public
        })
    }

    /// One address for every service.
    pub fn everywhere(url: &str) -> Self {
        Self { everywhere: Some(url.trim().trim_end_matches('/').to_owned()), ..Self::default() }
    }

    /// The overridden endpoint of a service, without a trailing slash.
    pub fn overridden(&self, service: Service) -> Option<&str> {
        self.by_service.get(service.variable()).or(self.everywhere.as_ref()).map(String::as_str)
    }

    /// The endpoint of a regional service, without a trailing slash. An error where the region's partition has none of
    /// the wanted kind.
    pub fn url(&self, service: Service, region: &str) -> Result<String, AwsError> {
        if let Some(url) = self.overridden(service) {
            return Ok(url.to_owned());
        }
        Ok(format!("https://{}", self.host(service, region).map_err(AwsError::NotSent)?))
    }

    /// The host of a regional service, which for S3 is what stands behind the name of a bucket. As the AWS SDK resolves
    /// it for ECS, which knows the partitions; what other services do differently are the exceptions in their endpoint
    /// rules (botocore's `endpoint-rule-set-1.json`).
    pub(super) fn host(&self, service: Service, region: &str) -> Result<String, String> {
        let (fips, dual_stack) = (self.fips.unwrap_or_default(), self.dual_stack.unwrap_or_default());
        if service == Service::Iam {
            return Ok(iam(region, fips).to_owned());
        }
        let is_named_by_itself = service == Service::S3 && dual_stack;
        let of_ecs = resolved_for_ecs(region, fips, dual_stack && !is_named_by_itself)?;
        // `ecs.<region>.…` or `ecs-fips.<region>.…`
        let (_, region_and_domain) = of_ecs.split_once('.').ok_or_else(|| format!("{of_ecs} is no endpoint of ECS"))?;
        let is_gov = region.starts_with("us-gov-");
        let name = service.name();
        let label = match service {
            Service::Ecr => format!("{}ecr{}", if dual_stack { "" } else { "api." }, if fips { "-fips" } else { "" }),
            // Which has that name by IPv6, too.
            Service::Events | Service::CloudWatch if fips && is_gov => name.into(),
            // All of these are validated in GovCloud, without a name of their own.
            Service::Ssm
            | Service::Ec2
            | Service::Sts
            | Service::Logs
            | Service::CloudFormation
            | Service::Sqs
            | Service::Quotas
                if fips && is_gov && !dual_stack =>
            {
                name.into()
            }
            Service::S3 if fips && region.starts_with("cn-") => {
                return Err("S3 has no FIPS endpoints in China".into());
            }
            _ if fips => format!("{name}-fips"),
            _ => name.to_owned(),
        };
        let dual = if is_named_by_itself { "dualstack." } else { "" };
        Ok(format!("{label}.{dual}{region_and_domain}"))
    }
}

/// The host of IAM, of which a partition has one.
fn iam(region: &str, fips: bool) -> &'static str {
    match (region, fips) {
        (region, _) if region.starts_with("cn-") => "iam.cn-north-1.amazonaws.com.cn",
        (region, _) if region.starts_with("us-gov-") => "iam.us-gov.amazonaws.com",
        (_, true) => "iam-fips.amazonaws.com",
        _ => "iam.amazonaws.com",
    }
}

/// The region that requests to IAM are signed for.
pub(super) fn region_of_iam(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "cn-north-1",
        region if region.starts_with("us-gov-") => "us-gov-west-1",
        _ => "us-east-1",
    }
}

/// The host of ECS, which the AWS SDK computes without any traffic.
fn resolved_for_ecs(region: &str, fips: bool, dual_stack: bool) -> Result<String, String> {
    let params = Params::builder().region(region).use_fips(fips).use_dual_stack(dual_stack).build();
    let params = params.map_err(|error| error.to_string())?;
    let resolver = DefaultResolver::new();
    let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params).now_or_never();
    let endpoint = endpoint.ok_or("the endpoint is not known at once")?.map_err(|error| error.to_string())?;
    Ok(endpoint.url().trim_start_matches("https://").trim_end_matches('/').to_owned())
}
