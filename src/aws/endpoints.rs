//! Where the AWS services are: the public endpoints of a region, or what the environment says instead.

use crate::config::Environment;
use std::collections::HashMap;

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
/// none of them with `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true`.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    everywhere: Option<String>,
    by_service: HashMap<&'static str, String>,
}

impl Endpoints {
    /// Reads the environment.
    pub fn from_env(environment: &Environment) -> Self {
        let get = |name: &str| {
            let value = environment.get(name).map(|url| url.trim().trim_end_matches('/'));
            value.filter(|url| !url.is_empty()).map(ToOwned::to_owned)
        };
        if get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::default();
        }
        let services =
            [Service::Ecs, Service::Ssm, Service::Ec2, Service::S3, Service::Lambda, Service::Sts, Service::Logs]
                .map(Service::variable);
        Self {
            everywhere: get("AWS_ENDPOINT_URL"),
            by_service: services.into_iter().filter_map(|variable| Some((variable, get(variable)?))).collect(),
        }
    }

    /// One address for every service.
    pub fn everywhere(url: &str) -> Self {
        Self { everywhere: Some(url.trim().trim_end_matches('/').to_owned()), by_service: HashMap::new() }
    }

    /// The overridden endpoint of a service, without a trailing slash.
    pub fn overridden(&self, service: Service) -> Option<&str> {
        self.by_service.get(service.variable()).or(self.everywhere.as_ref()).map(String::as_str)
    }

    /// The endpoint of a regional service, without a trailing slash.
    pub fn url(&self, service: Service, region: &str) -> String {
        match self.overridden(service) {
            Some(url) => url.to_owned(),
            None => format!("https://{}.{region}.{}", service.name(), dns_suffix(region)),
        }
    }
}

/// The domain of a region's partition.
pub(super) fn dns_suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("us-isob-") {
        "sc2s.sgov.gov"
    } else if region.starts_with("us-iso-") {
        "c2s.ic.gov"
    } else {
        "amazonaws.com"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(variables: &[(&str, &str)]) -> Endpoints {
        Endpoints::from_env(&variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_services_own_variable_beats_the_general_one() {
        let both = endpoints(&[("AWS_ENDPOINT_URL", "http://all:1/"), ("AWS_ENDPOINT_URL_EC2", "http://ec2:2")]);
        assert_eq!(both.url(Service::Ec2, "eu-west-1"), "http://ec2:2");
        assert_eq!(both.url(Service::S3, "eu-west-1"), "http://all:1");
        let one = endpoints(&[("AWS_ENDPOINT_URL_EC2", "http://ec2:2"), ("AWS_ENDPOINT_URL_S3", "")]);
        assert_eq!(one.overridden(Service::S3), None);
    }

    #[test]
    fn overrides_can_be_ignored() {
        let ignored =
            endpoints(&[("AWS_ENDPOINT_URL", "http://all:1"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]);
        assert_eq!(ignored.url(Service::Lambda, "eu-west-1"), "https://lambda.eu-west-1.amazonaws.com");
    }

    #[test]
    fn partitions_have_their_own_domain() {
        let none = Endpoints::default();
        assert_eq!(none.url(Service::Ec2, "us-gov-west-1"), "https://ec2.us-gov-west-1.amazonaws.com");
        assert_eq!(none.url(Service::Ec2, "cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn");
    }
}
