//! What to do about a refusal: one sentence per kind of text.

/// Words of AWS's text in lower case (all of an entry must be there), and what to do then. The first entry that fits counts.
const REMEDIES: [(&[&str], &str); 18] = [
    (
        &["iam:passrole"],
        "Let the agent's role pass this role to ecs-tasks.amazonaws.com (iam:PassRole; see the PassRole parameter of the template).",
    ),
    (
        &["sts:assumerole"],
        "Allow sts:AssumeRole in the role's trust policy and in the policy of whoever assumes it, or correct `assume_role_arn` (and `ExternalId`) of `aws_credentials`.",
    ),
    (&["not authorized to perform"], "Allow the action in the policy of the agent's role."),
    (&["executionrolearn"], "Set `execution_role_arn` in the run configuration or the agent's configuration."),
    (&["role"], "Check that the role exists and that ecs-tasks.amazonaws.com may assume it."),
    (
        &["no fargate configuration"],
        "Choose a cpu and memory pair that Fargate offers, e.g. cpu 1024 with memory 2048 to 8192.",
    ),
    (&["invalid", "cpu"], "Choose a cpu and memory pair that Fargate offers, e.g. cpu 1024 with memory 2048 to 8192."),
    (
        &["invalid", "memory"],
        "Choose a cpu and memory pair that Fargate offers, e.g. cpu 1024 with memory 2048 to 8192.",
    ),
    (
        &["image"],
        "Check the name of the image: storage, `image` of the run configuration or the task definition template.",
    ),
    (&["override", "length"], "Shorten the environment of the run: all overrides together may have 8192 characters."),
    (&["override"], "Name only containers of the task definition in `run_task_kwargs.overrides`."),
    (
        &["capacity provider"],
        "Associate the capacity provider with the cluster, or correct `capacityProviderStrategy`.",
    ),
    (&["capacityprovider"], "Give either `launchType` or `capacityProviderStrategy`, not both."),
    (&["cluster"], "Create the cluster or correct `cluster`."),
    (&["subnet"], "Correct the subnets of `networkConfiguration`."),
    (&["security group"], "Correct the security groups of `networkConfiguration`."),
    (
        &["network"],
        "Correct `networkConfiguration` in `run_task_kwargs`; awsvpc needs one, other network modes take none.",
    ),
    (
        &["launch_type"],
        "Add the launch type to `requiresCompatibilities` of the task definition, or choose another one.",
    ),
];

/// `text` with what to do about it. `lower`: AWS's own message in lower case.
pub(super) fn with(text: &str, code: &str, lower: &str) -> String {
    let fits = |words: &[&str]| words.iter().all(|word| lower.contains(word));
    let remedy = REMEDIES.iter().find(|(words, _)| fits(words)).map(|(_, remedy)| *remedy);
    let remedy = remedy.unwrap_or_else(|| by_code(code));
    format!("{}. {remedy}", text.trim_end().trim_end_matches('.'))
}

/// `text`, in which AWS refuses keys that the run brought along.
pub(super) fn of_keys(text: &str) -> String {
    format!("{}. Check the access keys and the region in `aws_credentials`.", text.trim_end().trim_end_matches('.'))
}

fn by_code(code: &str) -> &'static str {
    match code {
        "SerializationException" => {
            "A value has the wrong type: environment values, cpu and memory of the run configuration must be text."
        }
        "ClusterNotFoundException" => "Create the cluster or correct `cluster`.",
        "PlatformUnknownException" | "PlatformTaskDefinitionIncompatibilityException" => {
            "Correct `platformVersion` in `run_task_kwargs`."
        }
        "LimitExceededException" => "Ask AWS for a higher limit, or remove what is no longer needed.",
        "UnrecognizedClientException" | "InvalidClientTokenId" | "ExpiredTokenException" | "ExpiredToken" => {
            "Check the agent's AWS credentials and region."
        }
        _ => "Correct the run's configuration (run_config, run_task_kwargs, task definition), then run the flow again.",
    }
}
