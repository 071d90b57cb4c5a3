//! What to do about a refusal: one sentence per kind of text, in the words of whoever will read it.

use super::origin::{Fault, Origin, is_about_caller};
use crate::aws::answers::is_denial;
use crate::platform::ecs::Words;

/// A sentence in the words of both generations of Prefect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
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
    pub(super) fn to(self, words: Words) -> &'static str {
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
pub(super) const REMEDIES: [(&[&str], Advice); 28] = [
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
pub(super) const BY_CODE: [(&[&str], Advice); 4] = [
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

pub(super) const CALLER: Advice = both("Check the agent's AWS credentials and region.");

pub(super) const DENIED: Advice =
    both("Allow what the agent asks for in the policy of its role; CloudTrail tells which action was refused.");

pub(super) const NOT_AWS: Advice =
    both("Check the agent's AWS endpoint and region, and what stands between the agent and AWS (proxy, firewall).");

pub(super) const CONFIGURATION: Advice = each(
    "Correct the run's configuration (run_config, `run_task_kwargs`, task definition), then run the flow again.",
    "Correct the job variables of the flow run, its deployment or the work pool's base job template, then run the flow again.",
);

pub(super) const KEYS: Advice = both("Check the access keys and the region in `aws_credentials`.");

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

#[cfg(test)]
mod tests;
