//! Why a task ended: what ECS says → a cause, whether it can pass by itself, a sentence and a remedy for people.

mod texts;

use super::event::{Container, TaskEvent};
use crate::model::Generation;
use std::borrow::Cow;

/// Names of the variable that tells a container which flow run is its, of all generations of Prefect.
const RUN_VARIABLES: [&str; 2] = ["PREFECT__FLOW_RUN_ID", "PREFECT__CONTEXT__FLOW_RUN_ID"];

/// Exit code of a process that was killed.
const KILLED: i64 = 137;
/// Exit code of a process that was asked to end.
const TERMINATED: i64 = 143;

/// Why a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A person or a program stopped it.
    StoppedByUser,
    /// Fargate Spot took its capacity back.
    SpotInterruption,
    /// The host under it was taken away, or failed.
    Host,
    /// ECS itself stopped it.
    Scheduler,
    /// A container used more memory than it may.
    OutOfMemory,
    /// An image could not be pulled.
    ImagePull,
    /// No room for it.
    Capacity,
    /// Its network interface did not come up, or something could not be reached.
    Network,
    /// A secret of its definition could not be read.
    Secret,
    /// Something else that its definition asks for is not there: a log group, a volume, a file.
    Preparation,
    /// The image is for another processor architecture than the task's.
    Architecture,
    /// A container's process could not be started.
    ContainerStart,
    /// ECS never got it started, for a reason that is not in this table.
    FailedToStart,
    /// A container beside the flow's ended, and ECS stopped the flow for it.
    Sidecar {
        /// What it exited with.
        code: i64,
        /// Whether the flow's own container had begun to run.
        flow_ran: bool,
    },
    /// A container exited with this code, not 0.
    ExitCode(i64),
    /// Containers ended without an exit code.
    NoExitCode,
    /// All that counts exited with 0.
    ExitedWithZero,
    /// Not known any more: ECS has forgotten the task.
    Forgotten,
}

/// What is known about a task's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why.
    pub cause: Cause,
    /// Whether its containers had begun to run.
    pub had_started: bool,
    /// Whether another attempt has a chance without anybody changing anything.
    pub can_pass: bool,
    /// What happened, with ECS's own words.
    pub sentence: String,
    /// What to do about it.
    pub remedy: Cow<'static, str>,
}

impl Diagnosis {
    /// Of a task that has stopped.
    pub fn of(event: &TaskEvent, generation: Generation) -> Self {
        let counting = counting(event, flow_container(event, generation));
        let text = all_said(event, &counting);
        let cause = cause(event, &counting, &text);
        let blamed = blamed(event, &counting, cause);
        let said = said(event, &blamed, cause);
        let of_ours = remedy_for_our_secret(said, event.task.started_by.as_deref()).filter(|_| cause == Cause::Secret);
        Self {
            cause,
            had_started: had_started(event),
            can_pass: texts::can_pass(cause, &text),
            sentence: texts::sentence(cause, &names(&blamed), said),
            remedy: of_ours.map_or(Cow::Borrowed(texts::remedy(cause)), Cow::Owned),
        }
    }

    /// Whether it knows what the exit codes do not say, and what the words of Prefect's observer about them would hide: a
    /// process that was killed with its host did not want for memory.
    pub fn knows_better(&self) -> bool {
        matches!(self.cause, Cause::SpotInterruption | Cause::Host | Cause::Architecture | Cause::Sidecar { .. })
    }

    /// In few words.
    pub fn summary(&self) -> &'static str {
        texts::summary(self.cause)
    }
}

/// The container that runs the flow, as far as the event tells: the one that is told which run is its, else the one with
/// the usual name, else the only one.
pub fn flow_container(event: &TaskEvent, generation: Generation) -> Option<&Container> {
    let containers = &event.task.containers;
    let by_name = |name: &str| containers.iter().find(|container| container.name.as_deref() == Some(name));
    let overrides = event.task.overrides.container_overrides.iter();
    let mut told = overrides.filter(|container| {
        container
            .environment
            .iter()
            .any(|variable| variable.name.as_deref().is_some_and(|n| RUN_VARIABLES.contains(&n)))
    });
    let told = told.next().filter(|_| told.next().is_none()).and_then(|told| told.name.as_deref());
    let only = match containers.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    told.and_then(by_name).or_else(|| by_name(generation.usual_container())).or(only)
}

fn had_started(event: &TaskEvent) -> bool {
    event.task.started_at.is_some() || event.task.containers.iter().any(|container| container.exit_code.is_some())
}

/// The order of the questions is part of the answer: what ECS did to the task comes before what became of its containers.
/// `text`: as [`all_said`].
fn cause(event: &TaskEvent, counting: &[&Container], text: &str) -> Cause {
    if event.is_forgotten {
        return Cause::Forgotten;
    }
    match event.task.stop_code.as_deref() {
        Some("SpotInterruption") => return Cause::SpotInterruption,
        Some("TerminationNotice" | "InfrastructureHealth") => return Cause::Host,
        Some("UserInitiated") => return Cause::StoppedByUser,
        Some("ServiceSchedulerInitiated") => return Cause::Scheduler,
        _ => {}
    }
    // Tasks on container instances say it in words alone.
    if texts::is_about_host(reason_of_task(event)) {
        return Cause::Host;
    }
    if ran_out_of_memory(event, counting) {
        return Cause::OutOfMemory;
    }
    if texts::is_about_architecture(text) {
        return Cause::Architecture;
    }
    if !had_started(event) {
        if let Some(cause) = texts::cause_before_start(text) {
            return cause;
        }
        if event.task.stop_code.as_deref() == Some("TaskFailedToStart") {
            return Cause::FailedToStart;
        }
    }
    if let Some((_, cause)) = sidecar(event, counting) {
        return cause;
    }
    let codes: Vec<_> = counting.iter().map(|container| container.exit_code).collect();
    match codes.iter().flatten().find(|code| **code != 0) {
        Some(code) => Cause::ExitCode(*code),
        None if codes.is_empty() || codes.contains(&None) => Cause::NoExitCode,
        None => Cause::ExitedWithZero,
    }
}

/// The container beside the flow's that took the flow along: an essential one ended, and the flow's did not end by itself.
/// One that was killed may also have been killed for its memory: then only a sidecar that failed is blamed, since one that
/// ended well may have had its task before the flow's began.
fn sidecar<'e>(event: &'e TaskEvent, counting: &[&Container]) -> Option<(&'e Container, Cause)> {
    let [flow] = counting else { return None };
    let ended_well_too = match flow.exit_code {
        None | Some(TERMINATED) => true,
        Some(KILLED) => false,
        Some(_) => return None,
    };
    if event.task.stop_code.as_deref() != Some("EssentialContainerExited") {
        return None;
    }
    let ended_by_itself = |container: &&Container| {
        let code = container.exit_code.filter(|code| !matches!(*code, KILLED | TERMINATED));
        container.name != flow.name && code.is_some_and(|code| code != 0 || ended_well_too)
    };
    let mut others: Vec<_> = event.task.containers.iter().filter(ended_by_itself).collect();
    // A failure says more than a good end.
    others.sort_by_key(|container| container.exit_code == Some(0));
    let blamed = *others.first()?;
    Some((blamed, Cause::Sidecar { code: blamed.exit_code?, flow_ran: flow.exit_code.is_some() }))
}

/// In a container that counts; or in another one, when those that count were ended from outside: it took them along.
fn ran_out_of_memory(event: &TaskEvent, counting: &[&Container]) -> bool {
    let ended_from_outside = |container: &&Container| matches!(container.exit_code, None | Some(KILLED | TERMINATED));
    texts::is_out_of_memory(reason_of_task(event))
        || counting.iter().copied().any(is_out_of_memory)
        || (counting.iter().all(ended_from_outside) && event.task.containers.iter().any(is_out_of_memory))
}

/// The containers whose end counts: the flow's, or all of them where that is not known.
fn counting<'e>(event: &'e TaskEvent, flow: Option<&'e Container>) -> Vec<&'e Container> {
    flow.map_or_else(|| event.task.containers.iter().collect(), |flow| vec![flow])
}

/// The containers that a cause is about. Memory may have run out in a sidecar.
fn blamed<'e>(event: &'e TaskEvent, counting: &[&'e Container], cause: Cause) -> Vec<&'e Container> {
    let of = |blame: &dyn Fn(&Container) -> bool| counting.iter().copied().filter(|c| blame(c)).collect();
    match cause {
        Cause::OutOfMemory => event.task.containers.iter().filter(|container| is_out_of_memory(container)).collect(),
        Cause::Sidecar { .. } => sidecar(event, counting).map(|(container, _)| container).into_iter().collect(),
        Cause::ExitCode(code) => of(&|container| container.exit_code == Some(code)),
        Cause::NoExitCode => of(&|container| container.exit_code.is_none()),
        _ => counting.to_vec(),
    }
}

fn is_out_of_memory(container: &Container) -> bool {
    container.reason.as_deref().is_some_and(texts::is_out_of_memory)
}

fn reason_of_task(event: &TaskEvent) -> &str {
    event.task.stopped_reason.as_deref().unwrap_or_default()
}

/// All that ECS says, in lower case.
fn all_said(event: &TaskEvent, counting: &[&Container]) -> String {
    let reasons = counting.iter().filter_map(|container| container.reason.as_deref());
    reasons.chain([reason_of_task(event)]).collect::<Vec<_>>().join("\n").to_lowercase()
}

/// ECS's own words, for people: those about the container or those about the task, whichever say more. About the end of a
/// process only the container's do.
fn said<'e>(event: &'e TaskEvent, blamed: &[&'e Container], cause: Cause) -> &'e str {
    let about_container = blamed.iter().find_map(|container| container.reason.as_deref()).unwrap_or_default();
    let of_process =
        matches!(cause, Cause::OutOfMemory | Cause::Sidecar { .. } | Cause::ExitCode(_) | Cause::ExitedWithZero);
    let about_task = if of_process { "" } else { reason_of_task(event) };
    if about_container.len() > about_task.len() { about_container } else { about_task }
}

fn names(containers: &[&Container]) -> String {
    let names = containers.iter().map(|container| format!("'{}'", container.name.as_deref().unwrap_or("?")));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;

// A task that died because its execution role may not read a secret of its agent's own.

/// What the last segments of our secrets' parameters are called.
const KINDS: [&str; 4] = ["api-key", "auth-string", "auth-token", "client-headers"];

/// What to do about it, if the text (what ECS says) names a parameter of the agent that the task was started by.
fn remedy_for_our_secret(said: &str, started_by: Option<&str>) -> Option<String> {
    let agent = started_by?.strip_prefix("prefect/")?.split('/').next()?;
    let arn = said.split(|c: char| c.is_whitespace() || "\"'`,;[]()".contains(c)).find_map(|word| ours(word, agent))?;
    Some(format!(
        "Allow the task's execution role ssm:GetParameters on {arn} (and kms:Decrypt on the key, if a customer key \
         encrypts it): the role that infra/cluster.yaml creates for this deployment is allowed to. Or set the agent's \
         api_key_delivery to environment."
    ))
}

/// The ARN, if it is that of a parameter `…/secrets/{agent}/{kind}`.
fn ours<'a>(word: &'a str, agent: &str) -> Option<&'a str> {
    let arn = word.get(word.find("arn:")?..)?.trim_end_matches(['.', ':']);
    let (service, name) = arn.split_once(":parameter/")?;
    let is_ours = |kind: &&str| format!("/{name}").ends_with(&format!("/secrets/{agent}/{kind}"));
    (service.split(':').nth(2) == Some("ssm") && KINDS.iter().any(is_ours)).then_some(arn)
}

#[cfg(test)]
mod our_secret_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STARTED_BY: Option<&str> = Some("prefect/flows/8449522c-244c-499e-8a08-131a70e53c42");

    fn refused(parameter: &str) -> String {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
             unable to retrieve secrets from ssm: service call has been retried 1 time(s): AccessDeniedException: User: \
             arn:aws:sts::123456789012:assumed-role/ecsTaskExecutionRole/f83b93a4dc3442a1 is not authorized to perform: \
             ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:123456789012:parameter{parameter} because no \
             identity-based policy allows the ssm:GetParameters action status code: 400, request id: 1adcb55f"
        )
    }

    #[test]
    fn the_permission_and_the_setting_are_named() {
        for kind in KINDS {
            let parameter = format!("/psa/Prod/secrets/flows/{kind}");
            let remedy = remedy_for_our_secret(&refused(&parameter), STARTED_BY).unwrap();
            let arn = format!("ssm:GetParameters on arn:aws:ssm:eu-west-1:123456789012:parameter{parameter} ");
            for part in [arn.as_str(), "kms:Decrypt", "api_key_delivery", "infra/cluster.yaml"] {
                assert!(remedy.contains(part), "{part}: {remedy}");
            }
        }
        let list = "invalid ssm parameters: [arn:aws-cn:ssm:cn-north-1:1:parameter/r/secrets/flows/api-key].";
        assert!(
            remedy_for_our_secret(list, STARTED_BY)
                .unwrap()
                .contains("on arn:aws-cn:ssm:cn-north-1:1:parameter/r/secrets/flows/api-key ")
        );
    }

    #[test]
    fn secrets_of_others_are_their_own_matter() {
        for parameter in [
            "/psa/prod/secrets/other/api-key",
            "/psa/prod/secrets/flows/db-password",
            "/psa/prod/secrets/flows/api-key/more",
            "/psa/prod/mysecrets/flows2/api-key",
            "/flows/api-key",
        ] {
            assert_eq!(remedy_for_our_secret(&refused(parameter), STARTED_BY), None, "{parameter}");
        }
        let ours = refused("/psa/prod/secrets/flows/api-key");
        for started_by in [None, Some("ecs-svc/1"), Some("prefect/other/run")] {
            assert_eq!(remedy_for_our_secret(&ours, started_by), None, "{started_by:?}");
        }
        assert_eq!(
            remedy_for_our_secret("arn:aws:secretsmanager:eu-west-1:1:secret:x arn: :parameter/", STARTED_BY),
            None
        );
    }
}
