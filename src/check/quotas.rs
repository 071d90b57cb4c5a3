//! What the account may use: launches per second, Fargate's processors, concurrent invocations.

use super::codes::{
    CONCURRENCY_SMALL, LAUNCH_RATE_HIGH, PUBLIC_URL_OPEN, QUOTAS_UNKNOWN, VCPU_QUOTA_SMALL, VCPU_QUOTA_USED,
};
use super::configuration::{again, polled};
use super::ecs::who;
use super::stack::{POKE_FUNCTION, Stack};
use super::wishes::Wishes;
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::config::LoadedAgent;
use crate::ecs_model::cpu_units;
use crate::python_text::{iso_time, parse_time};
use crate::transport::shape::{at, text_at};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use time::{Duration, OffsetDateTime};

#[cfg(test)]
mod tests;

/// `RunTask` calls per second that ECS takes for Fargate.
const FARGATE_RATE: f64 = 20.0;
/// AWS counts what is used of a quota every few minutes.
const USAGE_WITHIN: Duration = Duration::minutes(30);
/// Invocations that polls may need at once: those of four minutes hold launches of Prefect 1 for up to two, and one comes
/// between them (somebody polls by hand, or pokes).
const OVERLAPPING: u64 = 5;
/// So many concurrent invocations must stay for the functions that have reserved none.
const KEPT_UNRESERVED: u64 = 100;
/// How an account comes to more concurrent invocations.
const MORE_INVOCATIONS: &str = "aws service-quotas request-service-quota-increase --service-code lambda \
                                --quota-code L-B99A9384 --desired-value 1000";

/// What was seen.
#[derive(Debug)]
pub struct ObservedQuotas {
    /// Fargate's processors, as the account's quotas say, by region and whether they are spare capacity.
    pub vcpus: BTreeMap<(String, bool), Result<VcpuQuota, AwsError>>,
    /// Concurrent invocations that no function has reserved; `None` = no stack is looked at.
    pub unreserved: Option<Result<u64, AwsError>>,
    /// What the functions with public URLs have reserved for themselves.
    pub public: Vec<(PublicFunction, Result<Option<u64>, AwsError>)>,
}

/// A function whose URL everybody reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFunction {
    /// Its name.
    pub name: String,
    /// The stack's parameter that reserves invocations for it, and how many will do.
    pub reserves: (&'static str, u64),
    /// The parameter that closes its URL.
    pub closes: &'static str,
}

impl PublicFunction {
    /// Those of a stack.
    fn all(stack: &Stack) -> Vec<Self> {
        let health = stack.resource("HealthFunction").filter(|_| is_public(stack));
        let poke = stack.resource(POKE_FUNCTION);
        let named = |name: &str, reserves, closes| Self { name: name.to_owned(), reserves, closes };
        let health = health.map(|name| named(name, ("HealthReservedConcurrency", 5), "HealthAuthType=AWS_IAM"));
        let poke = poke.map(|name| named(name, ("PokeReservedConcurrency", 2), "PokeUrl=DISABLED"));
        health.into_iter().chain(poke).collect()
    }

    /// What keeps the world from using it up. AWS reserves nothing where too little would stay for the others.
    fn mend(&self, stack: &Stack, unreserved: Option<u64>) -> String {
        let (parameter, number) = self.reserves;
        if unreserved.is_some_and(|unreserved| unreserved < number + KEPT_UNRESERVED) {
            let closes = again(stack, self.closes);
            return format!("{closes}; the account is too small to reserve any: {MORE_INVOCATIONS}");
        }
        again(stack, &format!("{parameter}={number}, or {}", self.closes))
    }
}

/// How many processors may run at once.
#[derive(Debug)]
pub struct VcpuQuota {
    /// All of them.
    pub limit: f64,
    /// Those that run now; `None` = nothing was counted lately, as where nothing runs.
    pub used: Result<Option<f64>, AwsError>,
}

/// Looks. `stack`: `None` before it is deployed.
pub async fn observe(reads: &Reads, stack: Option<&Stack>, wishes: &Wishes, now: OffsetDateTime) -> ObservedQuotas {
    let vcpus = async {
        let kinds: BTreeSet<(&String, bool)> = wishes.fargate.keys().map(|task| (&task.region, task.is_spot)).collect();
        let asked = kinds.into_iter().map(|(region, is_spot)| async move {
            ((region.clone(), is_spot), vcpu_quota(&reads.in_region(region), is_spot, now).await)
        });
        join_all(asked).await
    };
    let unreserved = async {
        stack?;
        let answer = reads.rest(Service::Lambda, &["2016-08-19", "account-settings"]).await;
        Some(answer.and_then(|answer| number(&answer, &["AccountLimit", "UnreservedConcurrentExecutions"]).map(whole)))
    };
    let public = stack.map(PublicFunction::all).unwrap_or_default().into_iter().map(|function| async move {
        let reserved = reserved(reads, &function.name).await;
        (function, reserved)
    });
    let (vcpus, unreserved, public) = tokio::join!(vcpus, unreserved, join_all(public));
    ObservedQuotas { vcpus: vcpus.into_iter().collect(), unreserved, public }
}

/// Invocations that a function has for itself, if any.
async fn reserved(reads: &Reads, function: &str) -> Result<Option<u64>, AwsError> {
    let answer = reads.rest(Service::Lambda, &["2019-09-30", "functions", function, "concurrency"]).await?;
    // None is reserved where the answer is an empty object.
    let is_reserved = answer.get("ReservedConcurrentExecutions").is_some();
    is_reserved.then(|| number(&answer, &["ReservedConcurrentExecutions"]).map(whole)).transpose()
}

async fn vcpu_quota(reads: &Reads, is_spot: bool, now: OffsetDateTime) -> Result<VcpuQuota, AwsError> {
    let body = json!({"ServiceCode": "fargate", "QuotaCode": quota_code(is_spot)});
    let answer = reads.json(Service::Quotas, "ServiceQuotasV20190624.GetServiceQuota", &body).await?;
    let limit = number(&answer, &["Quota", "Value"])?;
    Ok(VcpuQuota { limit, used: used(reads, at(&answer, &["Quota", "UsageMetric"]), now).await })
}

/// What the metric of a quota counted last. Not every partition's quotas have one.
async fn used(reads: &Reads, metric: Option<&Value>, now: OffsetDateTime) -> Result<Option<f64>, AwsError> {
    let Some(metric) = metric.filter(|metric| metric.is_object()) else { return Ok(None) };
    let statistic = text_at(metric, &["MetricStatisticRecommendation"]).unwrap_or("Maximum");
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = vec![
        field("Namespace", reads::text(metric, "MetricNamespace")?),
        field("MetricName", reads::text(metric, "MetricName")?),
        field("StartTime", &iso_time(now - USAGE_WITHIN)),
        field("EndTime", &iso_time(now)),
        field("Period", "300"),
        field("Statistics.member.1", statistic),
    ];
    let dimensions = at(metric, &["MetricDimensions"]).and_then(Value::as_object).into_iter().flatten();
    for (number, (name, value)) in dimensions.enumerate() {
        fields.push(field(&format!("Dimensions.member.{}.Name", number + 1), name));
        fields.push(field(&format!("Dimensions.member.{}.Value", number + 1), value.as_str().unwrap_or_default()));
    }
    let answer = reads.query(Service::CloudWatch, "GetMetricStatistics", &fields).await?;
    last_counted(&answer, statistic)
}

/// Its points come in any order.
fn last_counted(answer: &Value, statistic: &str) -> Result<Option<f64>, AwsError> {
    let mut last: Option<(OffsetDateTime, f64)> = None;
    for point in reads::list(answer, "Datapoints")? {
        let counted = reads::text(point, statistic)?.parse::<f64>().ok();
        let point = parse_time(reads::text(point, "Timestamp")?).zip(counted);
        let point = point.ok_or_else(|| AwsError::Malformed("a point of time that cannot be understood".into()))?;
        last = last.filter(|last| last.0 >= point.0).or(Some(point));
    }
    Ok(last.map(|(_, counted)| counted))
}

/// The quota of Fargate's processors.
fn quota_code(is_spot: bool) -> &'static str {
    if is_spot { "L-36FBB829" } else { "L-3032A538" }
}

fn is_public(stack: &Stack) -> bool {
    stack.parameter("HealthAuthType") == "NONE" && stack.parameter("HealthUrl") != "DISABLED"
}

fn number(answer: &Value, path: &[&str]) -> Result<f64, AwsError> {
    let number = at(answer, path).and_then(Value::as_f64);
    number.ok_or_else(|| AwsError::Malformed(format!("no number at {}", path.join("."))))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, which is small and not negative")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// Whether the account has room.
pub fn judge(stack: Option<&Stack>, agents: &[LoadedAgent], wishes: &Wishes, observed: &ObservedQuotas) -> Looked {
    let mut looked = Looked::default();
    if !wishes.fargate.is_empty() {
        for (agent, config, _) in polled(agents) {
            let sentence = match config.launch_rate {
                None => "launch_rate is null, and ECS takes 20 launches per second for Fargate".to_owned(),
                Some(rate) if rate > FARGATE_RATE => {
                    format!("launch_rate is {rate}, and ECS takes 20 launches per second for Fargate")
                }
                Some(_) => continue,
            };
            let sentence = format!("{sentence}: more are refused, and tried again later");
            looked.found(LAUNCH_RATE_HIGH.found(format!("agent {}", agent.agent), sentence, "set launch_rate: 20"));
        }
    }
    for ((region, is_spot), quota) in &observed.vcpus {
        match quota {
            Ok(quota) => judge_vcpus(quota, (region, *is_spot), wishes, &mut looked),
            Err(error) => {
                unknown(&mut looked, &subject(region, *is_spot), error, "servicequotas:GetServiceQuota");
            }
        }
    }
    match (&observed.unreserved, stack) {
        (Some(Ok(unreserved)), Some(stack)) => {
            let reserved = stack.parameter("ReservedConcurrency").parse::<u64>().ok();
            let (room, whose) = match reserved {
                Some(reserved) => (reserved, "the poll function reserves"),
                None => (*unreserved, "the account's functions share"),
            };
            if room < OVERLAPPING {
                let sentence = format!("{whose} {room} concurrent invocations, and polls that hold launches overlap");
                let mend = match reserved {
                    Some(_) => again(stack, &format!("ReservedConcurrency={OVERLAPPING}")),
                    None => MORE_INVOCATIONS.to_owned(),
                };
                looked.found(CONCURRENCY_SMALL.found(format!("stack {}", stack.name), sentence, mend));
            } else {
                looked.is_well(Group::Quotas, format!("{whose} {room} concurrent invocations"));
            }
        }
        (Some(Err(error)), _) => unknown(&mut looked, "Lambda's concurrency", error, "lambda:GetAccountSettings"),
        _ => {}
    }
    for (function, reserved) in &observed.public {
        let subject = format!("function {}", function.name);
        match (reserved, stack) {
            (Ok(None), Some(stack)) => {
                let sentence =
                    "its URL is public, and nothing keeps the world from using up the account's concurrency with it";
                let unreserved = observed.unreserved.as_ref().and_then(|unreserved| unreserved.as_ref().ok());
                looked.found(PUBLIC_URL_OPEN.found(subject, sentence, function.mend(stack, unreserved.copied())));
            }
            (Err(error), _) => unknown(&mut looked, &subject, error, "lambda:GetFunctionConcurrency"),
            _ => {}
        }
    }
    looked
}

fn unknown(looked: &mut Looked, subject: &str, error: &AwsError, permission: &str) {
    let sentence = format!("it could not be asked: {}", why(error));
    looked.found(QUOTAS_UNKNOWN.found(subject, sentence, format!("allow {permission}")));
}

/// A quota, for people.
fn subject(region: &str, is_spot: bool) -> String {
    format!("{}'s quota in {region}", if is_spot { "Fargate Spot" } else { "Fargate" })
}

fn judge_vcpus(quota: &VcpuQuota, (region, is_spot): (&str, bool), wishes: &Wishes, looked: &mut Looked) {
    let VcpuQuota { limit, used } = quota;
    let subject = subject(region, is_spot);
    let more = format!(
        "aws service-quotas request-service-quota-increase --region {region} --service-code fargate --quota-code {} \
         --desired-value …",
        quota_code(is_spot)
    );
    let of_quota = wishes.fargate.iter().filter(|(task, _)| task.region == region && task.is_spot == is_spot);
    let sizes = of_quota.filter_map(|(task, askers)| Some((f64::from(cpu_units(&task.cpu)?) / 1024.0, askers)));
    let (mut largest, mut is_well) = (0.0_f64, true);
    for (vcpus, askers) in sizes {
        largest = largest.max(vcpus);
        if vcpus > *limit {
            is_well = false;
            let sentence = format!("{} wants {vcpus} processors, and the account has {limit} there", who(askers));
            looked.found(VCPU_QUOTA_SMALL.found(&subject, sentence, &more));
        }
    }
    match used {
        Err(error) => unknown(looked, &format!("what is used of {subject}"), error, "cloudwatch:GetMetricStatistics"),
        Ok(Some(used)) if is_well && limit - used < largest => {
            let sentence = format!(
                "{used} of the account's {limit} processors there are in use: the largest task, of {largest}, has to wait"
            );
            looked.found(VCPU_QUOTA_USED.found(subject, sentence, more));
        }
        Ok(used) if is_well => {
            let in_use = used.map(|used| format!(", and {used} are in use")).unwrap_or_default();
            looked.is_well(Group::Quotas, format!("{subject}: {limit} processors{in_use}"));
        }
        Ok(_) => {}
    }
}
