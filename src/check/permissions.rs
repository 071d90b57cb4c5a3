//! What the functions' roles may do: the very requests that the pools' runs would make, asked of IAM's own simulator with
//! the context that they would have.

use super::codes::PERMISSIONS_UNKNOWN;
use super::configuration::again;
use super::stack::Stack;
use super::wishes::region_of;
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

/// A request of a role: its action, its resource (an ARN, or `*`), and what comes with it.
pub type AskedRequest<'a> = (&'a str, &'a str, &'a ConditionContext);

/// Asks IAM of requests of one role, those of one action, context and region together; what it said of each, in their order.
pub async fn simulate(reads: &Reads, role: &str, requests: &[AskedRequest<'_>]) -> Vec<SimulatedDecision> {
    let mut together: BTreeMap<Batch<'_>, Vec<(usize, &str)>> = BTreeMap::new();
    for (number, (action, resource, context)) in requests.iter().enumerate() {
        let region = Some(region_of(resource)).filter(|region| !region.is_empty()).unwrap_or(reads.region());
        together.entry(Batch { action, context, region }).or_default().push((number, resource));
    }
    let mut decisions = vec![SimulatedDecision::Unknown("it was not asked".into()); requests.len()];
    let asked = together.iter().flat_map(|(batch, all)| all.chunks(AT_ONCE).map(move |some| (*batch, some)));
    let asked = asked.map(|(batch, some)| async move {
        let resources: Vec<&str> = some.iter().map(|(_, resource)| *resource).collect();
        let answer = reads.query(Service::Iam, "SimulatePrincipalPolicy", &batch.fields(role, &resources)).await;
        some.iter()
            .map(move |(number, resource)| (*number, decision(&answer, batch.action, resource)))
            .collect::<Vec<_>>()
    });
    for (number, said) in join_all(asked).await.into_iter().flatten() {
        if let Some(decision) = decisions.get_mut(number) {
            *decision = said;
        }
    }
    decisions
}

/// Requests that are asked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Batch<'a> {
    action: &'a str,
    context: &'a ConditionContext,
    /// Where they go: boundaries and organisations' policies often ask.
    region: &'a str,
}

impl Batch<'_> {
    fn fields(&self, role: &str, resources: &[&str]) -> Vec<(String, String)> {
        let mut fields = vec![
            ("PolicySourceArn".to_owned(), role.to_owned()),
            ("ActionNames.member.1".to_owned(), self.action.to_owned()),
            ("MaxItems".to_owned(), "100".to_owned()),
        ];
        for (number, resource) in resources.iter().enumerate() {
            fields.push((format!("ResourceArns.member.{}", number + 1), (*resource).to_owned()));
        }
        let own = self.context.iter().map(|(key, value)| (*key, value.as_str()));
        for (number, (key, value)) in std::iter::once(("aws:RequestedRegion", self.region)).chain(own).enumerate() {
            for (name, value) in
                [("ContextKeyName", key), ("ContextKeyType", "string"), ("ContextKeyValues.member.1", value)]
            {
                fields.push((format!("ContextEntries.member.{}.{name}", number + 1), value.to_owned()));
            }
        }
        fields
    }
}

/// What IAM said of a resource: in a result of its own, or among those of an action.
fn decision(answer: &Result<Value, AwsError>, action: &str, resource: &str) -> SimulatedDecision {
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
    // Keys of services are those of other statements: what a request of ours has came with it. But to KMS another service
    // goes, and says more there than is known here.
    let missing = [all, result].map(|result| items_at(result, &["MissingContextValues"]));
    let missing = missing.into_iter().flatten().filter_map(Value::as_str);
    let counts = |key: &&str| {
        let key = key.to_ascii_lowercase();
        key.starts_with("aws:") || (key.starts_with("kms:") && action.starts_with("kms:"))
    };
    let missing: BTreeSet<&str> = missing.filter(counts).collect();
    match missing.into_iter().collect::<Vec<_>>().as_slice() {
        [] => denied,
        keys => {
            SimulatedDecision::Unknown(format!("it depends on {}, which only the function itself has", keys.join(", ")))
        }
    }
}

/// Asks IAM of all of them, by role.
pub async fn observe(reads: &Reads, home: &Home, stack: &Stack, wanted: &[Wanted]) -> Vec<SimulatedDecision> {
    let asked = [Function::Poll, Function::TaskEvents].map(|function| async move {
        let own = wanted.iter().enumerate().filter(|(_, one)| one.function == function);
        let (numbers, own): (Vec<usize>, Vec<&Wanted>) = own.unzip();
        let requests: Vec<_> = own.iter().map(|one| (one.action, one.resource.as_str(), &one.context)).collect();
        let said = match role_of(home, stack, function) {
            Ok(role) => simulate(reads, &role, &requests).await,
            Err(why) => vec![SimulatedDecision::Unknown(why); requests.len()],
        };
        numbers.into_iter().zip(said)
    });
    let mut said: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    said.sort_unstable_by_key(|(number, _)| *number);
    said.into_iter().map(|(_, decision)| decision).collect()
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
pub fn judge(stack: &Stack, home: &Home, wanted: &[Wanted], decisions: &[SimulatedDecision]) -> Looked {
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
    let lacking = denied.keys().filter(|(_, _, is_explicit)| !is_explicit).map(|(_, remedy, _)| *remedy).collect();
    for ((function, remedy, is_explicit), resources) in &denied {
        let actions: BTreeSet<&str> = resources.values().flatten().copied().collect();
        let actions = actions.into_iter().collect::<Vec<_>>().join(", ");
        let what = match remedy {
            Remedy::Parameter("ClusterArns", cluster) => format!("{actions} in {cluster}"),
            Remedy::Setting(_) | Remedy::Template | Remedy::Parameter(..) => {
                format!("{actions} of {}", listed(resources.keys().copied()))
            }
        };
        let subject = format!("role {}", stack.resource(function.role()).unwrap_or(function.role()));
        let (sentence, mend) = if *is_explicit {
            let mend =
                "look for a Deny in the role's policies, its permissions boundary and the organisation's policies";
            (format!("it is explicitly denied {what}"), mend.to_owned())
        } else {
            (format!("it may not {what}"), widened(stack, home, remedy, &lacking))
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

/// How the stack is deployed so that roles get what they lack. They keep what they have: an empty parameter stands for what
/// the template allows then. `lacking`: everything that is, in all lines, lest one of them undoes another.
fn widened(stack: &Stack, home: &Home, remedy: &Remedy, lacking: &BTreeSet<&Remedy>) -> String {
    let name = match remedy {
        Remedy::Parameter(name, _) => name,
        Remedy::Setting(name) => return again(stack, &format!("{name}=ENABLED")),
        Remedy::Template => {
            return format!("deploy the template of this version again: sam deploy --stack-name {}", stack.name);
        }
    };
    let known = stack.parameter(name).split(',').map(str::trim).filter(|arn| !arn.is_empty());
    let mut arns: BTreeSet<String> = known.map(str::to_owned).collect();
    if arns.is_empty() {
        arns.extend(allowed_by_default(name, home));
    }
    let of_name = |lacking: &&&Remedy| matches!(lacking, Remedy::Parameter(of, _) if of == name);
    let (fine, odd): (Vec<&Remedy>, Vec<&Remedy>) =
        lacking.iter().filter(of_name).partition(|lacking| lacking.names_one_thing());
    if odd.contains(&remedy) {
        return "what its run names would allow more than one thing there: name one that exists, with an account of twelve \
                digits, and no wildcard, comma or blank"
            .to_owned();
    }
    arns.extend(fine.into_iter().filter_map(|fine| match fine {
        Remedy::Parameter(_, arn) => Some(arn.clone()),
        Remedy::Setting(_) | Remedy::Template => None,
    }));
    again(stack, &format!("{name}={}", arns.into_iter().collect::<Vec<_>>().join(",")))
}

/// What `template.yaml` allows where a parameter is empty, as it is written there.
const DEFAULTS: [(&str, &[&str]); 3] = [
    ("ClusterArns", &["arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:cluster/*"]),
    ("PassableRoleArns", &["arn:${AWS::Partition}:iam::${AWS::AccountId}:role/prefect-serverless-agent/*"]),
    (
        "TaskLogArns",
        &[
            "arn:${AWS::Partition}:logs:*:${AWS::AccountId}:log-group:prefect*:log-stream:*",
            "arn:${AWS::Partition}:logs:*:${AWS::AccountId}:log-group:/prefect/*:log-stream:*",
        ],
    ),
];

fn allowed_by_default(parameter: &str, home: &Home) -> Vec<String> {
    let Ok(account) = &home.account else { return Vec::new() };
    let of_parameter = DEFAULTS.iter().filter(|(name, _)| *name == parameter).flat_map(|(_, arns)| *arns);
    let filled = of_parameter.map(|arn| {
        let arn = arn.replace("${AWS::Partition}", &home.partition).replace("${AWS::Region}", &home.region);
        arn.replace("${AWS::AccountId}", account)
    });
    filled.collect()
}
