//! From what an agent's runs need to the parameters of the stack, and the commands that deploy it. Pure.

use crate::check::schedule::silence_after;
use crate::config::Root;
use crate::survey::place::{account_of, is_account, names_one_thing};
use crate::survey::{Asked, Home, Needs, PlaceNeeds};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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

/// What runs ask for and what is no parameter all the same: in a policy it would allow more than what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefusedValue {
    /// The parameter that it would stand in.
    pub(super) parameter: &'static str,
    /// As it would stand there.
    pub(super) value: String,
    /// Whose runs ask for it.
    pub(super) askers: BTreeSet<String>,
}

/// The parameters that differ from their defaults: each says exactly what is needed. Beside them what is left out.
pub(super) fn parameters(
    needs: &Needs,
    home: &Home,
    deployment: &StackChoices<'_>,
) -> (StackParameters, Vec<RefusedValue>) {
    let StackChoices { root, every, secrets_key_arn, log_level } = deployment;
    let mut gate = ParameterGate { is_account_known: home.account.is_ok(), refused: Vec::new() };
    let own = |of: fn(&PlaceNeeds) -> Vec<&Asked>| union(needs.own().flat_map(|(_, needs)| of(needs)));
    let silence = silence_after(Duration::from_secs(u64::from(*every) * 60));
    let every = match every {
        1 => "rate(1 minute)".to_owned(),
        minutes => format!("rate({minutes} minutes)"),
    };
    let object = |(object, askers): (&String, &BTreeSet<String>)| {
        (format!("arn:{}:s3:::{object}", home.partition), askers.clone())
    };
    let key = secrets_key_arn.map(|key| (key.to_owned(), BTreeSet::from(["--secrets-key-arn".to_owned()])));
    let roles = own(|needs| vec![&needs.task_roles, &needs.execution_roles]);
    let groups = gate.arns("TaskLogArns", own(|needs| vec![&needs.read_log_groups]));
    let logs = groups.into_iter().map(|group| format!("{group}:log-stream:*"));
    let deregisters = !own(|needs| vec![&needs.deregistered]).is_empty();
    let mut arns = |parameter, asked: Asked| gate.arns(parameter, asked).join(",");
    let all = [
        ("ParameterRoot", root.as_str().to_owned(), DEFAULT_ROOT),
        ("PollSchedule", every, "rate(1 minute)"),
        ("LogLevel", log_level.unwrap_or("INFO").to_owned(), "INFO"),
        ("ClusterArns", arns("ClusterArns", own(|needs| vec![&needs.clusters])), ""),
        ("PassableRoleArns", arns("PassableRoleArns", roles), ""),
        ("SecretsKeyArn", arns("SecretsKeyArn", key.into_iter().collect()), ""),
        ("ExtraParameterArns", arns("ExtraParameterArns", extra_parameters(needs, home, root)), ""),
        ("S3ObjectArns", arns("S3ObjectArns", needs.s3_objects.iter().map(object).collect()), ""),
        ("AssumableRoleArns", arns("AssumableRoleArns", needs.assumed_roles()), ""),
        ("TaskLogArns", logs.collect::<Vec<_>>().join(","), ""),
        ("DeregisterTaskDefinitions", if deregisters { "ENABLED" } else { "DISABLED" }.to_owned(), "DISABLED"),
        ("ForwardingAccountIds", gate.accounts(other_accounts(needs, home)).join(","), ""),
        ("HealthUrl", if has_function_urls(&home.region) { "ENABLED" } else { "DISABLED" }.to_owned(), "ENABLED"),
        ("SilenceAfterMinutes", silence.to_string(), "3"),
    ];
    let differ = all.into_iter().filter(|(_, value, default)| value != default).map(|(name, value, _)| (name, value));
    (differ.collect(), gate.refused)
}

/// What lets a value into a parameter. The template makes policies of them: what stands there allows whatever it matches,
/// and a comma begins another entry.
struct ParameterGate {
    is_account_known: bool,
    refused: Vec<RefusedValue>,
}

impl ParameterGate {
    /// Those that are the ARN of exactly one thing.
    fn arns(&mut self, parameter: &'static str, asked: Asked) -> Vec<String> {
        // Names without an account are no ARNs; a finding says so.
        let is_name = |value: &str| !self.is_account_known && !value.starts_with("arn:");
        let asked: Asked = asked.into_iter().filter(|(value, _)| !is_name(value)).collect();
        self.admitted(parameter, asked, |value| names_one_thing(parameter, value))
    }

    fn accounts(&mut self, asked: Asked) -> Vec<String> {
        self.admitted("ForwardingAccountIds", asked, is_account)
    }

    fn admitted(&mut self, parameter: &'static str, asked: Asked, is_fine: impl Fn(&str) -> bool) -> Vec<String> {
        let (admitted, refused): (Asked, Asked) = asked.into_iter().partition(|(value, _)| is_fine(value));
        let refused = refused.into_iter().map(|(value, askers)| RefusedValue { parameter, value, askers });
        self.refused.extend(refused);
        admitted.into_keys().collect()
    }
}

/// All of them, each with everybody who asks for it.
fn union<'a>(all: impl Iterator<Item = &'a Asked>) -> Asked {
    let mut union = Asked::new();
    for (value, askers) in all.flatten() {
        union.entry(value.clone()).or_default().extend(askers.iter().cloned());
    }
    union
}

/// Accounts other than the functions' own in which tasks run, and whose.
fn other_accounts(needs: &Needs, home: &Home) -> Asked {
    needs.accounts().into_iter().filter(|(account, _)| home.account.as_ref() != Ok(account)).collect()
}

/// ARNs of the parameters outside of what the functions read anyway.
fn extra_parameters(needs: &Needs, home: &Home, root: &Root) -> Asked {
    let files = format!("{}/files/", root.as_str());
    let outside = needs.parameters.iter().filter(|(name, _)| !name.starts_with(&files));
    let arn = |name: &String| match &home.account {
        _ if name.starts_with("arn:") => name.clone(),
        Ok(account) => {
            let Home { partition, region, .. } = home;
            format!("arn:{partition}:ssm:{region}:{account}:parameter/{}", name.trim_start_matches('/'))
        }
        Err(_) => name.clone(),
    };
    outside.map(|(name, askers)| (arn(name), askers.clone())).collect()
}

/// Roles of other accounts than that of the place where tasks would be given them: no policy can allow that.
pub(super) fn foreign_roles(needs: &Needs) -> BTreeMap<String, BTreeSet<String>> {
    let mut foreign: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (place, needs) in &needs.places {
        for (role, askers) in needs.task_roles.iter().chain(&needs.execution_roles) {
            if let (Some(of_role), Some(account)) = (account_of(role), &place.account)
                && of_role != account
                // What is no account is refused as what it is.
                && [of_role, account].into_iter().all(is_account)
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
        // SAM splits each at blanks once more, unless they stand in double quotes. It takes a backslash away before a quote
        // or a blank, and nowhere else.
        let for_sam = |value: &str| {
            let is_plain = !value.is_empty() && !value.contains([' ', '"', '\\']);
            if is_plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\\\"")) }
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
    // Larger than what CloudFormation takes from a request: it goes by the bucket, too.
    let deploy = deploy.into_iter().chain(["--s3-bucket", "BUCKET", "--stack-name", stack]);
    let deploy = deploy.chain(["--capabilities", "CAPABILITY_IAM"]);
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

/// One word as a POSIX shell reads it back, without what a terminal would take for commands.
pub(super) fn shell_word(word: &str) -> String {
    if word.contains(char::is_control) {
        let escaped = word.bytes().map(|byte| match byte {
            b'\'' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            other => format!("\\{other:03o}"),
        });
        return format!("$'{}'", escaped.collect::<String>());
    }
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
