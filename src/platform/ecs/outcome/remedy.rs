//! What to do about a refusal: one sentence per kind of text, in the words of whoever will read it.
//! It depends on whose fault the refusal is: the run's, when it complains about what the run itself configured, else the agent's.

use crate::aws::answers::is_denial;
use crate::platform::ecs::Words;
use crate::platform::ecs::target::{CHOSEN_ACCOUNT, CHOSEN_KEYS};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A sentence in the words of both generations of Prefect.
#[derive(Debug, Clone, Copy)]
struct Advice {
    /// For users of a Prefect 1 agent: run configurations and `run_task_kwargs`.
    agent: &'static str,
    /// For users of a Prefect 2 or 3 work pool: job variables and the base job template.
    worker: &'static str,
}

const fn both(advice: &'static str) -> Advice {
    Advice { agent: advice, worker: advice }
}

const fn each(agent: &'static str, worker: &'static str) -> Advice {
    Advice { agent, worker }
}

impl Advice {
    fn to(self, words: Words) -> &'static str {
        match words {
            Words::Agent => self.agent,
            Words::Worker => self.worker,
        }
    }
}

const FARGATE_SIZES: Advice =
    both("Choose a cpu and memory pair that Fargate offers, e.g. cpu 1024 with memory 2048 to 8192.");

const CONTAINER_CPU: Advice = both(
    "The containers ask for more cpu than the task has: raise `cpu` of the task, or lower that of the containers in the task definition.",
);

const CONTAINER_MEMORY: Advice = both(
    "A container asks for more memory than the task has: raise `memory` of the task, or lower that of the container in the task definition.",
);

const LONG_ARNS: Advice = both(
    "Tags need the account's setting `taskLongArnFormat`: enable it (aws ecs put-account-setting-default --name taskLongArnFormat --value enabled), or launch without tags.",
);

const EXECUTION_ROLE: Advice = each(
    "Set `execution_role_arn` in the run configuration or the agent's configuration.",
    "Set `execution_role_arn` in the job variables or the work pool.",
);

const EITHER: Advice = each(
    "Give either `launchType` or `capacityProviderStrategy` in `run_task_kwargs`, not both.",
    "Give either `launch_type` or `capacity_provider_strategy` in the job variables, not both.",
);

/// Words of AWS's text in lower case (all of an entry must be there), and what to do then. The first entry that fits counts.
const REMEDIES: [(&[&str], Advice); 28] = [
    (
        &["iam:passrole"],
        both(
            "Let the agent's role pass this role to ecs-tasks.amazonaws.com (iam:PassRole): add it to the template's parameter `PassableRoleArns`.",
        ),
    ),
    (
        &["sts:assumerole"],
        both(
            "Allow sts:AssumeRole in the role's trust policy and in the policy of whoever assumes it, or correct `assume_role_arn` (and `ExternalId`) of `aws_credentials`.",
        ),
    ),
    (&["not authorized to perform"], both("Allow the action in the policy of the agent's role.")),
    (&["new arn", "enabled"], LONG_ARNS),
    (&["long arn format"], LONG_ARNS),
    (&["longarn"], LONG_ARNS),
    (&["executionrolearn"], EXECUTION_ROLE),
    (&["execution role arn"], EXECUTION_ROLE),
    (&["role"], both("Check that the role exists and that ecs-tasks.amazonaws.com may assume it.")),
    (&["no fargate configuration"], FARGATE_SIZES),
    (&["container", "cpu", "greater than"], CONTAINER_CPU),
    (&["container", "cpu", "exceed"], CONTAINER_CPU),
    (&["container", "memory", "greater than"], CONTAINER_MEMORY),
    (&["container", "memory", "exceed"], CONTAINER_MEMORY),
    (&["invalid", "cpu"], FARGATE_SIZES),
    (&["invalid", "memory"], FARGATE_SIZES),
    (
        &["image"],
        each(
            "Check the name of the image: storage, `image` of the run configuration or the task definition template.",
            "Check the name of the image: `image` in the job variables or the work pool.",
        ),
    ),
    (
        &["override", "length"],
        both("Shorten the environment of the run: all overrides together may have 8192 characters."),
    ),
    (
        &["override"],
        each(
            "Name only containers of the task definition in `run_task_kwargs.overrides`.",
            "Name only containers of the task definition: `container_name` in the job variables, `task_run_request.overrides` in the work pool's base job template.",
        ),
    ),
    (&["launch type", "capacity provider"], EITHER),
    (
        &["capacity provider"],
        each(
            "Associate the capacity provider with the cluster, or correct `capacityProviderStrategy` in `run_task_kwargs`.",
            "Associate the capacity provider with the cluster, or correct `capacity_provider_strategy` in the job variables or the work pool.",
        ),
    ),
    (&["capacityprovider"], EITHER),
    (&["cluster"], both("Create the cluster or correct `cluster`.")),
    (
        &["subnet"],
        each(
            "Correct the subnets of `networkConfiguration` in `run_task_kwargs`.",
            "Correct the subnets of `network_configuration`, or `vpc_id`, in the job variables or the work pool.",
        ),
    ),
    (
        &["security group"],
        each(
            "Correct the security groups of `networkConfiguration` in `run_task_kwargs`.",
            "Correct the security groups of `network_configuration` in the job variables or the work pool.",
        ),
    ),
    (
        &["network"],
        each(
            "Correct `networkConfiguration` in `run_task_kwargs`; awsvpc needs one, other network modes take none.",
            "Correct `network_configuration` in the job variables or the work pool; awsvpc needs one, other network modes take none.",
        ),
    ),
    (
        &["launch_type"],
        both("Add the launch type to `requiresCompatibilities` of the task definition, or choose another one."),
    ),
    (
        &["launch type"],
        both("Add the launch type to `requiresCompatibilities` of the task definition, or choose another one."),
    ),
];

/// By the error's code, where its text says nothing that is known.
const BY_CODE: [(&[&str], Advice); 4] = [
    (
        &["SerializationException"],
        each(
            "A value has the wrong type: environment values, cpu and memory of the run configuration must be text.",
            "A value has the wrong type: check the job variables and the work pool's base job template.",
        ),
    ),
    (&["ClusterNotFoundException"], both("Create the cluster or correct `cluster`.")),
    (
        &["PlatformUnknownException", "PlatformTaskDefinitionIncompatibilityException"],
        each(
            "Correct `platformVersion` in `run_task_kwargs`.",
            "Correct `task_run_request.platformVersion` in the work pool's base job template.",
        ),
    ),
    (&["LimitExceededException"], both("Ask AWS for a higher limit, or remove what is no longer needed.")),
];

const CALLER: Advice = both("Check the agent's AWS credentials and region.");

const DENIED: Advice =
    both("Allow what the agent asks for in the policy of its role; CloudTrail tells which action was refused.");

const NOT_AWS: Advice =
    both("Check the agent's AWS endpoint and region, and what stands between the agent and AWS (proxy, firewall).");

const CONFIGURATION: Advice = each(
    "Correct the run's configuration (run_config, `run_task_kwargs`, task definition), then run the flow again.",
    "Correct the job variables of the flow run, its deployment or the work pool's base job template, then run the flow again.",
);

const KEYS: Advice = both("Check the access keys and the region in `aws_credentials`.");

/// `text` with what to do about it. `lower`: AWS's own message in lower case.
pub(super) fn with(text: &str, code: &str, lower: &str, fault: Fault, origin: &Origin<'_>) -> String {
    let advice = if is_about_caller(code) {
        if fault == Fault::Run { KEYS } else { CALLER }
    } else {
        by_text(lower).or_else(|| by_code(code)).unwrap_or(match fault {
            Fault::Agent if code.is_empty() => NOT_AWS,
            Fault::Agent | Fault::Run if is_denial(code) => DENIED,
            Fault::Agent | Fault::Run => CONFIGURATION,
        })
    };
    format!("{}. {}", text.trim_end().trim_end_matches('.'), advice.to(origin.words))
}

fn by_text(lower: &str) -> Option<Advice> {
    let fits = |words: &[&str]| words.iter().all(|word| lower.contains(word));
    REMEDIES.iter().find(|(words, _)| fits(words)).map(|(_, advice)| *advice)
}

fn by_code(code: &str) -> Option<Advice> {
    BY_CODE.iter().find(|(codes, _)| codes.contains(&code)).map(|(_, advice)| *advice)
}

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
    fn brings_keys(&self) -> bool {
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
fn is_about_caller(code: &str) -> bool {
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
mod origin_tests;
#[cfg(test)]
mod tests;
