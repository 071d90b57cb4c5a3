//! Whose fault a refusal is: the run's, when it complains about what the run itself configured, else the agent's.

use crate::aws::answers::is_denial;
use crate::platform::ecs::Words;
use crate::platform::ecs::target::{CHOSEN_ACCOUNT, CHOSEN_KEYS};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// What a refused request was made of.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The flow run.
    pub flow_run_id: &'a str,
    /// What the run's own configuration decided; see [`LaunchSpec::run_sets`](crate::platform::ecs::LaunchSpec::run_sets).
    pub run_sets: &'a [String],
    /// The body of `RunTask`.
    pub run_task: &'a Map<String, Value>,
    /// Whose words its users know.
    pub words: Words,
}

impl Origin<'static> {
    /// Of a request that contains nothing of anybody's configuration.
    pub(in crate::platform::ecs) fn nobodys() -> Self {
        static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        Self { flow_run_id: "", run_sets: &[], run_task: &NOTHING, words: Words::default() }
    }
}

/// Who has to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It would hit every run.
    Agent,
    /// It hits this run.
    Run,
}

/// Errors of who asks and where, whatever is asked.
const CREDENTIALS: [&str; 17] = [
    "UnknownOperationException",
    "InvalidAction",
    "UnrecognizedClient",
    "UnrecognizedClientException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "AuthFailure",
    "OptInRequired",
    "BlockedException",
];

impl Origin<'_> {
    /// Whether the run's own configuration decided this. One that chose its account or region decided everything: what
    /// is not as it should be there is so for this run.
    pub(in crate::platform::ecs) fn sets(&self, key: &str) -> bool {
        self.run_sets.iter().any(|set| set == key || set == CHOSEN_ACCOUNT)
    }

    /// Whether the run brought the access keys that are complained about.
    pub(super) fn brings_keys(&self) -> bool {
        self.run_sets.iter().any(|set| set == CHOSEN_KEYS)
    }

    fn sets_any(&self, keys: &[&str]) -> Fault {
        if keys.iter().any(|key| self.sets(key)) { Fault::Run } else { Fault::Agent }
    }

    /// Whose fault it is that AWS will not do this, now or later.
    pub(super) fn fault(&self, status: u16, code: &str, message: &str) -> Fault {
        let lower = message.to_lowercase();
        let denied = is_denial(code);
        if is_about_caller(code) {
            if self.brings_keys() { Fault::Run } else { Fault::Agent }
        } else if is_about_arn_format(&lower) {
            // A setting of the account, which whoever brings tags along can do without.
            self.sets_any(&["tags"])
        } else if is_about_role(denied, &lower) {
            self.role_fault(message)
        } else if denied && self.sets("taskDefinition") && is_about_foreign_definition(message) {
            // No permission of the agent's account helps: the run names what belongs to another one.
            Fault::Run
        } else if denied {
            // Permissions may be limited to some clusters, and to launches without tags.
            let keys: &[&str] = if lower.contains("ecs:tagresource") { &["tags"] } else { &["cluster"] };
            self.sets_any(keys)
        } else if code == "ClusterNotFoundException" || lower.contains("cluster not found") {
            self.sets_any(&["cluster"])
        } else if is_about_capacity_provider(&lower) {
            self.sets_any(&["capacityProviderStrategy", "launchType", "cluster"])
        } else if is_about_network(code, &lower) {
            self.network_fault(&lower)
        } else if status == 400 && !code.is_empty() {
            Fault::Run
        } else {
            // No access, no such address: ECS answers 400 and a code to whatever a run could cause. What has no code
            // does not come from ECS but from a proxy before it.
            Fault::Agent
        }
    }

    fn network_fault(&self, lower: &str) -> Fault {
        // A network that is missing or unwanted may also be the definition's doing (its network mode).
        if lower.contains("must be provided") || lower.contains("not valid for") || lower.contains("not supported") {
            return self.sets_any(&[
                "networkConfiguration",
                "taskDefinition",
                "launchType",
                "capacityProviderStrategy",
            ]);
        }
        self.sets_any(&["networkConfiguration"])
    }

    /// A role is the run's when the run set the override that names it, or brought the definition that must name it
    /// because no override does.
    fn role_fault(&self, message: &str) -> Fault {
        const KEYS: [(&str, &str); 2] =
            [("taskRoleArn", "overrides.taskRoleArn"), ("executionRoleArn", "overrides.executionRoleArn")];
        let Some(role) = role_in(message) else {
            return self.sets_any(&["overrides.taskRoleArn", "overrides.executionRoleArn", "taskDefinition"]);
        };
        let overrides = self.run_task.get("overrides");
        let names_it = |key: &str| {
            let named = overrides.and_then(|all| all.get(key)).and_then(Value::as_str);
            named.is_some_and(|named| last_segment(named) == last_segment(role))
        };
        let mut overriding = KEYS.iter().filter(|(key, _)| names_it(key)).peekable();
        if overriding.peek().is_none() {
            return self.sets_any(&["taskDefinition", "overrides.taskRoleArn", "overrides.executionRoleArn"]);
        }
        if overriding.any(|(_, set)| self.sets(set)) { Fault::Run } else { Fault::Agent }
    }
}

/// Tags need the account's setting for long ARNs.
fn is_about_arn_format(lower: &str) -> bool {
    (lower.contains("new arn") && lower.contains("enabled")) || lower.contains("long arn format")
}

/// Whether AWS does not know, or does not trust, whoever asks.
pub(super) fn is_about_caller(code: &str) -> bool {
    CREDENTIALS.contains(&code)
}

fn is_about_role(denied: bool, lower: &str) -> bool {
    const TEXTS: [&str; 4] =
        ["role is not valid", "unable to assume the role", "unable to assume role", "invalid role"];
    (denied && lower.contains("iam:passrole")) || TEXTS.iter().any(|text| lower.contains(text))
}

fn is_about_capacity_provider(lower: &str) -> bool {
    lower.contains("capacity provider") || lower.contains("capacityprovider")
}

fn is_about_network(code: &str, lower: &str) -> bool {
    const CODES: [&str; 5] = [
        "InvalidSubnet",
        "InvalidSubnetID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidSecurityGroup",
        "InvalidVpcID.NotFound",
    ];
    const TEXTS: [&str; 7] = [
        "subnet",
        "security group",
        "securitygroup",
        "invalidgroup.notfound",
        "networkconfiguration",
        "network configuration",
        " vpc",
    ];
    CODES.contains(&code) || TEXTS.iter().any(|text| lower.contains(text))
}

/// Whether a refusal is about a task definition in another account than the caller's.
fn is_about_foreign_definition(message: &str) -> bool {
    let account = |part: &str| words(message).find(|word| word.contains(part))?.split(':').nth(4);
    match (account(":assumed-role/").or_else(|| account(":user/")), account(":task-definition/")) {
        (Some(caller), Some(definition)) => caller != definition,
        _ => false,
    }
}

/// The words of AWS's text, ARNs in one piece.
fn words(message: &str) -> impl DoubleEndedIterator<Item = &str> {
    message.split(|c: char| c.is_whitespace() || "'\"()[],".contains(c))
}

/// The ARN of an IAM role in AWS's text.
fn role_in(message: &str) -> Option<&str> {
    // The caller is named too, as the ARN of an assumed role at STS.
    let mut roles =
        words(message).filter(|word| word.starts_with("arn:") && word.contains(":iam:") && word.contains(":role/"));
    roles.next_back().map(|role| role.trim_end_matches('.'))
}

fn last_segment(role: &str) -> &str {
    role.rsplit('/').next().unwrap_or(role)
}

#[cfg(test)]
mod tests;
