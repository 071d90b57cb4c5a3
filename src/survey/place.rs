//! Where launches go and whose credentials take them there. Pure.

use crate::config::AgentConfig;
use crate::platform::ecs::LaunchSpec;
use crate::platform::ecs::target::AwsCredentials;

/// Where the functions run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// The account, or why it is not known.
    pub account: Result<String, String>,
    /// The region.
    pub region: String,
}

impl Home {
    /// In this region; its name tells the partition.
    pub fn new(account: Result<String, String>, region: &str) -> Self {
        Self { partition: partition(region).to_owned(), account, region: region.to_owned() }
    }

    /// The place of launches that nothing sends elsewhere.
    pub fn place(&self) -> LaunchPlace {
        LaunchPlace { account: self.account.as_ref().ok().cloned(), region: self.region.clone(), reach: Reach::Own }
    }
}

/// What the stack's parameters list, as the service and the beginning of the name in its ARNs.
const LISTED: [(&str, &str, &str); 7] = [
    ("ClusterArns", "ecs", "cluster/"),
    ("PassableRoleArns", "iam", "role/"),
    ("AssumableRoleArns", "iam", "role/"),
    ("TaskLogArns", "logs", "log-group:"),
    ("ExtraParameterArns", "ssm", "parameter/"),
    ("S3ObjectArns", "s3", ""),
    ("SecretsKeyArn", "kms", "key/"),
];

/// Twelve digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an ARN may stand in a parameter of the stack, which allows whatever it matches: it is of the parameter's kind and
/// matches one thing, without wildcards and variables of IAM, without what ends an entry of a list, and without what SAM
/// would not read back.
pub fn names_one_thing(parameter: &str, arn: &str) -> bool {
    let is_odd = |c: char| matches!(c, '*' | '?' | ',' | '\\' | '"') || c.is_whitespace() || c.is_control();
    let Some((_, service, kind)) = LISTED.iter().find(|(name, ..)| *name == parameter) else { return false };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &[scheme, partition, of, region, account, named] = parts.as_slice() else { return false };
    // Buckets belong to no account and no region.
    let is_owned = if of == "s3" { account.is_empty() && region.is_empty() } else { is_account(account) };
    scheme == "arn"
        && partition.starts_with("aws")
        && of == *service
        && is_owned
        && named.strip_prefix(kind).is_some_and(|name| !name.is_empty())
        && !arn.contains(is_odd)
        && !arn.contains("${")
}

/// The partition of a region.
pub fn partition(region: &str) -> &'static str {
    const BY_PREFIX: [(&str, &str); 6] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eu-isoe-", "aws-iso-e"),
    ];
    BY_PREFIX.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

/// What the names of a region's services end in.
pub fn dns_suffix(region: &str) -> &'static str {
    match partition(region) {
        "aws-cn" => "amazonaws.com.cn",
        "aws-iso" => "c2s.ic.gov",
        "aws-iso-b" => "sc2s.sgov.gov",
        "aws-iso-e" => "cloud.adc-e.uk",
        "aws-iso-f" => "csp.hci.ic.gov",
        _ => "amazonaws.com",
    }
}

/// An account and region, and how a launch gets there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaunchPlace {
    /// The account; `None` = not known.
    pub account: Option<String>,
    /// The region.
    pub region: String,
    /// Whose credentials are used.
    pub reach: Reach,
}

/// With whose credentials a launch is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The functions' own role.
    Own,
    /// A role that the agent's configuration names, assumed by the functions.
    Agent(String),
    /// A role that the run names, assumed by whoever launches for its agent: the functions, unless `Agent` is between.
    Run(Vec<String>),
    /// Keys that the run brings along.
    Keys,
}

impl Reach {
    /// The role that the functions themselves assume.
    pub fn assumed(&self) -> Option<&str> {
        match self {
            Self::Agent(role) => Some(role),
            Self::Run(chain) => chain.first().map(String::as_str),
            Self::Own | Self::Keys => None,
        }
    }
}

impl LaunchPlace {
    /// Where this launch goes.
    pub fn of(launch: &LaunchSpec, config: &AgentConfig, home: &Home) -> Self {
        let AwsCredentials { access_key_id, region_name, assume_role_arn, .. } = &launch.worker.credentials;
        let region = region_name.as_ref().or(config.region_name.as_ref()).unwrap_or(&home.region).clone();
        let of_role = |role: &str| account_of(role).map(str::to_owned);
        match (assume_role_arn, access_key_id, &config.assume_role_arn) {
            (Some(role), Some(_), _) => Self { account: of_role(role), region, reach: Reach::Keys },
            (None, Some(_), _) => Self { account: None, region, reach: Reach::Keys },
            (Some(role), None, agent) => {
                let chain = agent.iter().chain([role]).cloned().collect();
                Self { account: of_role(role), region, reach: Reach::Run(chain) }
            }
            (None, None, Some(role)) => Self { account: of_role(role), region, reach: Reach::Agent(role.clone()) },
            (None, None, None) => Self { region, ..home.place() },
        }
    }

    /// `arn:…:{service}:{region}:{account}:{resource}`; the bare resource where the account is not known.
    pub fn arn(&self, service: &str, region: &str, resource: &str) -> String {
        match &self.account {
            Some(account) => format!("arn:{}:{service}:{region}:{account}:{resource}", partition(&self.region)),
            None => resource.to_owned(),
        }
    }
}

/// The account that an ARN names.
pub fn account_of(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    (parts.next() == Some("arn")).then(|| parts.nth(3)).flatten().filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests;
