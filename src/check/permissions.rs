//! What the functions' roles may do: the very requests that the pools' runs would make, asked of IAM's own simulator with
//! the context that they would have.

use super::codes::PERMISSIONS_UNKNOWN;
use super::configuration::again;
use super::stack::Stack;
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::Reads;
use crate::aws::signed::Service;
use crate::survey::Home;
use crate::transport::shape::{items_at, text_at};
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;
mod wanted;

pub use wanted::{ConditionContext, Remedy, Wanted, wanted};

/// Resources in one simulation at most.
const AT_ONCE: usize = 25;

/// Whose requests they are, by the logical id of the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// It launches.
    Poll,
    /// It tells what became of tasks.
    TaskEvents,
}

impl Function {
    /// Logical id of its role.
    pub fn role(self) -> &'static str {
        match self {
            Self::Poll => "PollRole",
            Self::TaskEvents => "TaskEventsRole",
        }
    }
}

/// What IAM said of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimulatedDecision {
    /// Allowed.
    Allowed,
    /// No statement allows it.
    Implicit,
    /// A statement, a boundary or an organisation's policy denies it.
    Explicit,
    /// It could not be asked.
    Unknown(String),
}

/// Requests that are asked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch<'a> {
    /// E.g. `ecs:RunTask`.
    pub action: &'a str,
    /// What comes with each of them.
    pub context: &'a ConditionContext,
    /// Where they go: boundaries and organisations' policies often ask.
    pub region: &'a str,
}

/// Asks IAM of some requests of one role.
pub async fn simulate(reads: &Reads, role: &str, batch: Batch<'_>, resources: &[&str]) -> Vec<SimulatedDecision> {
    let mut fields = vec![
        ("PolicySourceArn".to_owned(), role.to_owned()),
        ("ActionNames.member.1".to_owned(), batch.action.to_owned()),
        ("MaxItems".to_owned(), "100".to_owned()),
    ];
    for (number, resource) in resources.iter().enumerate() {
        fields.push((format!("ResourceArns.member.{}", number + 1), (*resource).to_owned()));
    }
    let own = batch.context.iter().map(|(key, value)| (*key, value.as_str()));
    for (number, (key, value)) in std::iter::once(("aws:RequestedRegion", batch.region)).chain(own).enumerate() {
        for (name, value) in
            [("ContextKeyName", key), ("ContextKeyType", "string"), ("ContextKeyValues.member.1", value)]
        {
            fields.push((format!("ContextEntries.member.{}.{name}", number + 1), value.to_owned()));
        }
    }
    let answer = reads.query(Service::Iam, "SimulatePrincipalPolicy", &fields).await;
    resources.iter().map(|resource| decision(&answer, resource)).collect()
}

/// What IAM said of a resource: in a result of its own, or among those of an action.
fn decision(answer: &Result<Value, AwsError>, resource: &str) -> SimulatedDecision {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return SimulatedDecision::Unknown(why(error)),
    };
    let results = items_at(answer, &["EvaluationResults"]);
    let named = |result: &&Value| text_at(result, &["EvalResourceName"]) == Some(resource);
    let own = |result: &Value| items_at(result, &["ResourceSpecificResults"]).iter().find(named).cloned();
    // The result of the action, and within it that of the resource.
    let of_resource = results.iter().find_map(|result| Some((result, own(result)?)));
    let Some((all, one)) = of_resource.or_else(|| results.iter().find(named).map(|result| (result, result.clone())))
    else {
        return SimulatedDecision::Unknown("IAM's answer does not name the resource".into());
    };
    let result = &one;
    let said = text_at(result, &["EvalResourceDecision"]).or_else(|| text_at(result, &["EvalDecision"]));
    let denied = match said {
        Some("allowed") => return SimulatedDecision::Allowed,
        Some("implicitDeny") => SimulatedDecision::Implicit,
        Some("explicitDeny") => SimulatedDecision::Explicit,
        _ => return SimulatedDecision::Unknown("IAM's answer cannot be understood".into()),
    };
    // Keys of services are those of other statements: what a request of ours has came with it.
    let missing = [all, result].map(|result| items_at(result, &["MissingContextValues"]));
    let missing = missing.into_iter().flatten().filter_map(Value::as_str);
    let missing: BTreeSet<&str> = missing.filter(|key| key.to_ascii_lowercase().starts_with("aws:")).collect();
    match missing.into_iter().collect::<Vec<_>>().as_slice() {
        [] => denied,
        keys => {
            SimulatedDecision::Unknown(format!("it depends on {}, which only the function itself has", keys.join(", ")))
        }
    }
}

/// Asks IAM of all of them; those of one role, action and context together.
pub async fn observe(reads: &Reads, home: &Home, stack: &Stack, wanted: &[Wanted]) -> Vec<SimulatedDecision> {
    let mut together: BTreeMap<(Function, Batch<'_>), Vec<usize>> = BTreeMap::new();
    for (number, one) in wanted.iter().enumerate() {
        let region = one.resource.split(':').nth(3).filter(|region| !region.is_empty()).unwrap_or(&home.region);
        let batch = Batch { action: one.action, context: &one.context, region };
        together.entry((one.function, batch)).or_default().push(number);
    }
    let mut decisions = vec![SimulatedDecision::Unknown("it was not asked".into()); wanted.len()];
    let asked = together.into_iter().flat_map(|((function, batch), numbers)| {
        let chunks: Vec<Vec<usize>> = numbers.chunks(AT_ONCE).map(<[usize]>::to_vec).collect();
        chunks.into_iter().map(move |numbers| (function, batch, numbers))
    });
    let asked = asked.map(|(function, batch, numbers)| async move {
        let resources: Vec<&str> =
            numbers.iter().filter_map(|number| wanted.get(*number)).map(|one| one.resource.as_str()).collect();
        let said = match role_of(home, stack, function) {
            Ok(role) => simulate(reads, &role, batch, &resources).await,
            Err(why) => vec![SimulatedDecision::Unknown(why); resources.len()],
        };
        numbers.into_iter().zip(said).collect::<Vec<_>>()
    });
    for (number, said) in join_all(asked).await.into_iter().flatten() {
        if let Some(decision) = decisions.get_mut(number) {
            *decision = said;
        }
    }
    decisions
}

/// ARN of a function's role.
fn role_of(home: &Home, stack: &Stack, function: Function) -> Result<String, String> {
    let name = stack.resource(function.role()).ok_or_else(|| format!("the stack has no {}", function.role()))?;
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let account = home.account.as_ref().map_err(|why| format!("the account is not known: {why}"))?;
    Ok(format!("arn:{}:iam::{account}:role/{name}", home.partition))
}

/// Whether everything is allowed that will be asked for.
pub fn judge(stack: &Stack, wanted: &[Wanted], decisions: &[SimulatedDecision]) -> Looked {
    let mut looked = Looked::default();
    let mut denied: BTreeMap<(Function, &Remedy, bool), BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    let mut unknown: BTreeMap<(Function, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut allowed: BTreeMap<Function, usize> = BTreeMap::new();
    for (one, decision) in wanted.iter().zip(decisions) {
        match decision {
            SimulatedDecision::Allowed => *allowed.entry(one.function).or_default() += 1,
            SimulatedDecision::Implicit | SimulatedDecision::Explicit => {
                let is_explicit = *decision == SimulatedDecision::Explicit;
                let key = (one.function, &one.remedy, is_explicit);
                denied.entry(key).or_default().entry(one.resource.as_str()).or_default().insert(one.action);
            }
            SimulatedDecision::Unknown(why) => {
                unknown.entry((one.function, why)).or_default().insert(one.action);
            }
        }
    }
    for ((function, remedy, is_explicit), resources) in &denied {
        let actions: BTreeSet<&str> = resources.values().flatten().copied().collect();
        let actions = actions.into_iter().collect::<Vec<_>>().join(", ");
        let what = match remedy {
            Remedy::Parameter("ClusterArns", cluster) => format!("{actions} in {cluster}"),
            Remedy::Parameter("TaskLogArns", _) | Remedy::Template | Remedy::Parameter(..) => {
                format!("{actions} of {}", listed(resources.keys().copied()))
            }
        };
        let subject = format!("role {}", stack.resource(function.role()).unwrap_or(function.role()));
        let (sentence, mend) = if *is_explicit {
            let mend =
                "look for a Deny in the role's policies, its permissions boundary and the organisation's policies";
            (format!("it is explicitly denied {what}"), mend.to_owned())
        } else {
            (format!("it may not {what}"), widened(stack, remedy, wanted))
        };
        looked.found(remedy.code().found(subject, sentence, mend));
    }
    for ((function, why), actions) in unknown {
        let subject = format!("role {}", stack.resource(function.role()).unwrap_or(function.role()));
        let actions = actions.into_iter().collect::<Vec<_>>().join(", ");
        let sentence = format!("whether it may {actions} could not be asked: {why}");
        let mend = "allow iam:SimulatePrincipalPolicy; from a VPC IAM is reached by a NAT gateway only";
        looked.found(PERMISSIONS_UNKNOWN.found(subject, sentence, mend));
    }
    for (function, count) in allowed {
        if !denied.keys().any(|(of, ..)| *of == function) {
            let role = stack.resource(function.role()).unwrap_or(function.role());
            looked.is_well(Group::Permissions, format!("role {role}: may do all that was asked, {count} requests"));
        }
    }
    looked
}

/// The first of them, and how many more there are.
fn listed<'a>(resources: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = resources.len().saturating_sub(2);
    let shown = resources.take(2).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// How the stack is deployed so that a role gets what it lacks. What else its runs need of the kind stays.
fn widened(stack: &Stack, remedy: &Remedy, wanted: &[Wanted]) -> String {
    let Remedy::Parameter(name, _) = remedy else {
        return format!("deploy the template of this version again: sam deploy --stack-name {}", stack.name);
    };
    let known = stack.parameter(name).split(',').map(str::trim).filter(|arn| !arn.is_empty());
    let mut arns: BTreeSet<&str> = known.collect();
    arns.extend(wanted.iter().filter_map(|one| match &one.remedy {
        Remedy::Parameter(of, arn) if of == name => Some(arn.as_str()),
        _ => None,
    }));
    again(stack, &format!("{name}={}", arns.into_iter().collect::<Vec<_>>().join(",")))
}
