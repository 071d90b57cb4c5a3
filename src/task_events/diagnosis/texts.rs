//! What ECS's words mean, and the words for people: one table per question.

use super::Cause;
use crate::platform::ecs::outcome::is_capacity;

/// Words in ECS's texts about a network that did not answer in time, or a service that was busy: another attempt helps.
const PASSING: [&str; 16] = [
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection reset",
    "connection refused",
    "connection issue",
    "request canceled",
    "requestcanceled",
    "toomanyrequests",
    "too many requests",
    "rate exceeded",
    "rate limit",
    "throttl",
    "internal server error",
    "service unavailable",
    "unexpected eof",
];

/// Words about an image that is not there, or is not given to us: another attempt does not help.
const NO_IMAGE: [&str; 10] = [
    "not found",
    "manifest unknown",
    "does not exist",
    "denied",
    "unauthorized",
    "not authorized",
    "no basic auth",
    "invalid reference",
    "platform",
    "no space left",
];

pub(super) fn is_out_of_memory(reason: &str) -> bool {
    contains_any(&reason.to_lowercase(), &["outofmemory", "out of memory"])
}

/// A host that was taken away. `reason`: what ECS says of the task.
pub(super) fn is_about_host(reason: &str) -> bool {
    let lower = reason.to_lowercase();
    lower.contains("host ec2 (instance") || lower.contains("underlying infrastructure")
}

/// An image for another kind of processor. `text`: all that ECS says, in lower case.
pub(super) fn is_about_architecture(text: &str) -> bool {
    const TEXTS: [&str; 5] = [
        "exec format error",
        "matching platform",
        "does not match the specified platform",
        "does not match the detected host platform",
        "no matching manifest for",
    ];
    contains_any(text, &TEXTS)
}

/// Why a task ended before its containers began. `text`: all that ECS says, in lower case.
pub(super) fn cause_before_start(text: &str) -> Option<Cause> {
    let says = |words: &[&str]| contains_any(text, words);
    Some(if says(&["cannotpull", "pull image"]) {
        Cause::ImagePull
    } else if says(&["resourceinitializationerror"]) {
        if says(&["timeout", "timed out", "deadline exceeded", "connection issue", "requestcanceled"]) {
            Cause::Network
        } else if says(&["secret", "ssm", "parameter", "registry auth"]) {
            Cause::Secret
        } else {
            Cause::Preparation
        }
    } else if says(&["fetching secret data from"]) {
        // As agents of container instances say it.
        Cause::Secret
    } else if is_capacity(text) || says(&["waiting for capacity", "resource:cpu", "resource:memory", "resource:eni"]) {
        Cause::Capacity
    } else if says(&["network interface", " eni"]) {
        Cause::Network
    } else if says(&["cannotstartcontainer", "cannotcreatecontainer", "containerruntime", "dockertimeout"]) {
        Cause::ContainerStart
    } else {
        return None;
    })
}

/// Whether another attempt has a chance as things are. `reason`: what ECS says, in lower case.
pub(super) fn can_pass(cause: Cause, reason: &str) -> bool {
    match cause {
        Cause::SpotInterruption
        | Cause::Host
        | Cause::Scheduler
        | Cause::Capacity
        | Cause::Network
        | Cause::FailedToStart
        | Cause::NoExitCode
        | Cause::Forgotten => true,
        Cause::ImagePull => contains_any(reason, &PASSING) || !contains_any(reason, &NO_IMAGE),
        Cause::Secret | Cause::Preparation | Cause::ContainerStart => contains_any(reason, &PASSING),
        // One that never began may find its sidecar well the next time.
        Cause::Sidecar { flow_ran, .. } => !flow_ran,
        Cause::StoppedByUser
        | Cause::OutOfMemory
        | Cause::Architecture
        | Cause::ExitCode(_)
        | Cause::ExitedWithZero => false,
    }
}

/// What happened. `containers`: their names; `reason`: ECS's own words, empty if it has none.
pub(super) fn sentence(cause: Cause, containers: &str, reason: &str) -> String {
    let what = match cause {
        Cause::StoppedByUser => "The task was stopped by a user or a program".to_owned(),
        Cause::SpotInterruption => "Fargate Spot took its capacity back and interrupted the task".to_owned(),
        Cause::Host => "The host under the task was taken away or failed".to_owned(),
        Cause::Scheduler => "ECS itself stopped the task".to_owned(),
        Cause::OutOfMemory if containers.is_empty() => "The task ran out of memory".to_owned(),
        Cause::OutOfMemory => format!("Container {containers} ran out of memory and was killed"),
        Cause::ImagePull => "The container image could not be pulled".to_owned(),
        Cause::Capacity => "AWS had no capacity for the task".to_owned(),
        Cause::Network => "The network of the task did not come up, or what it needs was not reached".to_owned(),
        Cause::Secret => "A secret of the task could not be read".to_owned(),
        Cause::Preparation => "Something that the task definition asks for could not be prepared".to_owned(),
        Cause::Architecture => {
            format!("The image of container {containers} is for another processor architecture than the task")
        }
        Cause::ContainerStart => format!("Container {containers} could not be started"),
        Cause::FailedToStart => "The task failed to start".to_owned(),
        Cause::Sidecar { code, .. } => format!(
            "Container {containers}, beside the flow's, exited with code {code}, and ECS stopped the task for it"
        ),
        Cause::ExitCode(code) => format!("Container {containers} exited with code {code}"),
        Cause::NoExitCode if containers.is_empty() => "The task ended before it had any container".to_owned(),
        Cause::NoExitCode => format!("Container {containers} ended without an exit code"),
        Cause::ExitedWithZero => {
            format!("Container {containers} exited with code 0, but the flow run has not come to an end")
        }
        Cause::Forgotten => {
            "The task stopped more than an hour ago without a word to anybody, and ECS does not know any more why"
                .to_owned()
        }
    };
    match reason.trim().trim_end_matches('.') {
        "" => format!("{what}."),
        reason => format!("{what}: {reason}."),
    }
}

/// In few words.
pub(super) fn summary(cause: Cause) -> &'static str {
    match cause {
        Cause::StoppedByUser => "Task stopped on request",
        Cause::SpotInterruption => "Spot interruption",
        Cause::Host => "Host lost",
        Cause::Scheduler => "Task stopped by ECS",
        Cause::OutOfMemory => "Out of memory",
        Cause::ImagePull => "Image not pulled",
        Cause::Capacity => "No capacity",
        Cause::Network => "Network trouble",
        Cause::Secret => "Secret not read",
        Cause::Preparation => "Task not prepared",
        Cause::Architecture => "Wrong processor architecture",
        Cause::ContainerStart => "Container not started",
        Cause::FailedToStart => "Task not started",
        Cause::Sidecar { .. } => "Sidecar ended",
        Cause::ExitCode(_) => "Container failed",
        Cause::NoExitCode => "Task ended from outside",
        Cause::ExitedWithZero => "Container ended before its flow run",
        Cause::Forgotten => "Task forgotten by ECS",
    }
}

/// What to do about it.
pub(super) fn remedy(cause: Cause) -> &'static str {
    match cause {
        Cause::StoppedByUser => {
            "CloudTrail's StopTask events tell who stopped it; run the flow again if it was a mistake."
        }
        Cause::SpotInterruption => {
            "Run the flow again; what must not be interrupted belongs on FARGATE rather than FARGATE_SPOT."
        }
        Cause::Host | Cause::Scheduler | Cause::NoExitCode => {
            "Run the flow again; if it happens often, look at the cluster's events and at CloudTrail."
        }
        Cause::OutOfMemory => "Give the run more memory (task and container), or let the flow hold less at a time.",
        Cause::ImagePull => {
            "Check the image's name and tag, that the execution role may pull it, and that the subnets reach the registry \
             (public IP address, NAT gateway or VPC endpoints)."
        }
        Cause::Capacity => {
            "Run the flow again later; more subnets in other availability zones, or another cpu and memory pair, help."
        }
        Cause::Network => {
            "Check that the subnets have free addresses and a way to AWS's APIs (public IP address, NAT gateway or VPC \
             endpoints), and that the security groups let it through."
        }
        Cause::Secret => {
            "Check that the secrets of the task definition exist, and that the execution role may read and decrypt them."
        }
        Cause::Preparation => {
            "Check the log groups, volumes and environment files of the task definition, and that its roles may use them."
        }
        Cause::Architecture => {
            "Build the image for the task's architecture (linux/amd64 unless the task definition says otherwise), or set \
             runtimePlatform.cpuArchitecture (X86_64, ARM64) of the task definition to the image's."
        }
        Cause::ContainerStart => "Check the image's entry point, its processor architecture and the command.",
        Cause::FailedToStart => "Check the task definition, its roles and its network.",
        Cause::Sidecar { .. } => {
            "That container's log tells why. One whose end must not end the flow needs `essential: false` in the task \
             definition."
        }
        Cause::ExitCode(137) => {
            "Code 137 means killed: most often by too little memory. The container's log tells how far it came."
        }
        Cause::ExitCode(_) => "The container's log tells why.",
        Cause::Forgotten => {
            "The container's log, if it has one, tells how far it came; run the flow again. See why no event of the task's \
             end came through: the rules of the stack, and the function task-events."
        }
        Cause::ExitedWithZero => {
            "The container's log tells why; check the command and that the container reaches the Prefect API to its end."
        }
    }
}

fn contains_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}
