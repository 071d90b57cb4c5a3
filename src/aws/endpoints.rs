//! Where the AWS services are: the public endpoints of a region, or what the environment says instead.

use super::AwsError;
use crate::config::Environment;
use aws_sdk_ecs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use futures_util::FutureExt;
use std::collections::HashMap;

#[cfg(test)]
mod tests;

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
}

impl Service {
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
        let services =
            [Service::Ecs, Service::Ssm, Service::Ec2, Service::S3, Service::Lambda, Service::Sts, Service::Logs]
                .map(Service::variable);
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
        let is_named_by_itself = service == Service::S3 && dual_stack;
        let of_ecs = resolved_for_ecs(region, fips, dual_stack && !is_named_by_itself)?;
        // `ecs.<region>.…` or `ecs-fips.<region>.…`
        let (_, region_and_domain) = of_ecs.split_once('.').ok_or_else(|| format!("{of_ecs} is no endpoint of ECS"))?;
        let is_gov = region.starts_with("us-gov-");
        let name = service.name();
        let label = match service {
            // All of these are validated in GovCloud, without a name of their own.
            Service::Ssm | Service::Ec2 | Service::Sts | Service::Logs if fips && is_gov && !dual_stack => name.into(),
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

/// The host of ECS, which the AWS SDK computes without any traffic.
fn resolved_for_ecs(region: &str, fips: bool, dual_stack: bool) -> Result<String, String> {
    let params = Params::builder().region(region).use_fips(fips).use_dual_stack(dual_stack).build();
    let params = params.map_err(|error| error.to_string())?;
    let resolver = DefaultResolver::new();
    let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params).now_or_never();
    let endpoint = endpoint.ok_or("the endpoint is not known at once")?.map_err(|error| error.to_string())?;
    Ok(endpoint.url().trim_start_matches("https://").trim_end_matches('/').to_owned())
}
