//! From what an agent's runs need to the parameters of the stack, and the commands that deploy it. Pure.

use crate::config::Root;
use crate::survey::place::account_of;
use crate::survey::{Home, Needs};
use std::collections::{BTreeMap, BTreeSet};

/// The root that `template.yaml` has by default.
pub(super) const DEFAULT_ROOT: &str = "/prefect-serverless-agent/prod";

/// The longest value of a parameter that `CloudFormation` takes.
pub(super) const LONGEST_PARAMETER: usize = 4096;

/// Regions that have no Lambda function URLs; all of China and of `GovCloud` have none either.
const WITHOUT_FUNCTION_URLS: [&str; 12] = [
    "mx-central-1",
    "ap-south-2",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ap-east-2",
    "ca-west-1",
    "eu-south-2",
    "eu-central-2",
    "il-central-1",
    "me-central-1",
];

/// Parameters of the stack, by their names in `template.yaml`, in its order.
pub(super) type StackParameters = Vec<(&'static str, String)>;

/// What a deployment is like beyond what its runs need.
#[derive(Debug, Clone)]
pub(super) struct StackChoices<'a> {
    /// The root of its parameters.
    pub(super) root: &'a Root,
    /// Minutes between two polls.
    pub(super) every: u32,
    /// The customer key of its secrets.
    pub(super) secrets_key_arn: Option<&'a str>,
    /// Level of the functions' log, if it is another than `INFO`.
    pub(super) log_level: Option<&'static str>,
}

/// Whether the region has Lambda function URLs.
pub(super) fn has_function_urls(region: &str) -> bool {
    !WITHOUT_FUNCTION_URLS.contains(&region)
        && !["cn-", "us-gov-", "us-iso"].iter().any(|prefix| region.starts_with(prefix))
}

/// The parameters that differ from their defaults: each says exactly what is needed.
pub(super) fn parameters(needs: &Needs, home: &Home, deployment: &StackChoices<'_>) -> StackParameters {
    let StackChoices { root, every, secrets_key_arn, log_level } = deployment;
    let own = || needs.own().map(|(_, needs)| needs);
    let arns = |all: BTreeSet<String>| {
        // Names without an account are no ARNs; a finding says so.
        all.into_iter().filter(|arn| arn.starts_with("arn:")).collect::<Vec<_>>().join(",")
    };
    let clusters = own().flat_map(|needs| needs.clusters.keys().cloned()).collect();
    let roles = own().flat_map(|needs| needs.task_roles.keys().chain(needs.execution_roles.keys()));
    let logs =
        own().flat_map(|needs| needs.read_log_groups.keys().map(|group| format!("{group}:log-stream:*"))).collect();
    let object = |object: &String| format!("arn:{}:s3:::{object}", home.partition);
    let every = match every {
        1 => "rate(1 minute)".to_owned(),
        minutes => format!("rate({minutes} minutes)"),
    };
    let all = [
        ("ParameterRoot", root.as_str().to_owned(), DEFAULT_ROOT),
        ("PollSchedule", every, "rate(1 minute)"),
        ("LogLevel", log_level.unwrap_or("INFO").to_owned(), "INFO"),
        ("ClusterArns", arns(clusters), ""),
        ("PassableRoleArns", arns(roles.cloned().collect()), ""),
        ("SecretsKeyArn", secrets_key_arn.unwrap_or_default().to_owned(), ""),
        ("ExtraParameterArns", arns(extra_parameters(needs, home, root)), ""),
        ("S3ObjectArns", arns(needs.s3_objects.keys().map(object).collect()), ""),
        ("AssumableRoleArns", arns(needs.assumed_roles().into_keys().collect()), ""),
        ("TaskLogArns", arns(logs), ""),
        ("ForwardingAccountIds", other_accounts(needs, home).into_iter().collect::<Vec<_>>().join(","), ""),
        ("HealthUrl", if has_function_urls(&home.region) { "ENABLED" } else { "DISABLED" }.to_owned(), "ENABLED"),
    ];
    all.into_iter().filter(|(_, value, default)| value != default).map(|(name, value, _)| (name, value)).collect()
}

/// Accounts other than the functions' own in which tasks run.
pub(super) fn other_accounts(needs: &Needs, home: &Home) -> BTreeSet<String> {
    let is_other = |account: &&str| home.account.as_deref() != Ok(*account);
    needs.accounts().into_iter().filter(is_other).map(str::to_owned).collect()
}

/// ARNs of the parameters outside of what the functions read anyway.
fn extra_parameters(needs: &Needs, home: &Home, root: &Root) -> BTreeSet<String> {
    let files = format!("{}/files/", root.as_str());
    let outside = needs.parameters.keys().filter(|name| !name.starts_with(&files));
    let arn = |name: &String| match &home.account {
        _ if name.starts_with("arn:") => name.clone(),
        Ok(account) => {
            let Home { partition, region, .. } = home;
            format!("arn:{partition}:ssm:{region}:{account}:parameter/{}", name.trim_start_matches('/'))
        }
        Err(_) => name.clone(),
    };
    outside.map(arn).collect()
}

/// Roles of other accounts than that of the place where tasks would be given them: no policy can allow that.
pub(super) fn foreign_roles(needs: &Needs) -> BTreeMap<String, BTreeSet<String>> {
    let mut foreign: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (place, needs) in &needs.places {
        for (role, askers) in needs.task_roles.iter().chain(&needs.execution_roles) {
            if let (Some(of_role), Some(account)) = (account_of(role), &place.account)
                && of_role != account
            {
                foreign.entry(role.clone()).or_default().extend(askers.iter().cloned());
            }
        }
    }
    foreign
}

/// `sam deploy` with these parameters, for a shell.
pub(super) fn sam_deploy(stack: &str, region: &str, parameters: &StackParameters) -> String {
    let mut words = ["sam", "deploy", "--stack-name", stack, "--region", region].map(str::to_owned).to_vec();
    words.extend(["--capabilities", "CAPABILITY_IAM", "--resolve-s3"].map(str::to_owned));
    if !parameters.is_empty() {
        words.push("--parameter-overrides".into());
        // SAM splits each at blanks once more, unless they stand in double quotes.
        let for_sam = |value: &str| {
            let is_plain = !value.is_empty() && !value.contains([' ', '"', '\\']);
            if is_plain {
                value.to_owned()
            } else {
                format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
            }
        };
        words.extend(parameters.iter().map(|(name, value)| format!("{name}={}", for_sam(value))));
    }
    shell_line(&words)
}

/// The same without SAM: two commands. The bucket is the reader's own.
pub(super) fn cloudformation_deploy(stack: &str, region: &str, parameters: &StackParameters) -> [String; 2] {
    let package = ["aws", "cloudformation", "package", "--region", region, "--template-file", "template.yaml"];
    let package = package.into_iter().chain(["--s3-bucket", "BUCKET", "--output-template-file", "packaged.yaml"]);
    let deploy = ["aws", "cloudformation", "deploy", "--region", region, "--template-file", "packaged.yaml"];
    let deploy = deploy.into_iter().chain(["--stack-name", stack, "--capabilities", "CAPABILITY_IAM"]);
    let mut deploy: Vec<String> = deploy.map(str::to_owned).collect();
    if !parameters.is_empty() {
        deploy.push("--parameter-overrides".into());
        deploy.extend(parameters.iter().map(|(name, value)| format!("{name}={value}")));
    }
    [shell_line(&package.map(str::to_owned).collect::<Vec<_>>()), shell_line(&deploy)]
}

/// Words as a POSIX shell reads them back.
pub(super) fn shell_line(words: &[String]) -> String {
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// One word as a POSIX shell reads it back.
pub(super) fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    // zsh expands a `=` at the beginning.
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
