//! What will not work as it is, or should be known, each with what to do. Pure.

use super::stack::{self, LONGEST_PARAMETER, RefusedValue, StackParameters};
use crate::cli::output::some_of;
use crate::config::{AgentConfig, GenerationConfig};
use crate::image::{EcrImage, is_of_docker_hub, registry};
use crate::prefect3::{PoolSurvey, Unlisted};
use crate::survey::{Home, LaunchPlace, Needs, Reach, RenderedLaunch, Survey};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Askers named in one finding.
const NAMED: usize = 5;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It will not work.
    Problem,
    /// It may not work, or could not be told.
    Warning,
    /// Good to know.
    Note,
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SetupFinding {
    /// How bad it is.
    pub(super) level: Level,
    /// What it is about.
    pub(super) about: String,
    /// What was found.
    pub(super) found: String,
    /// What to do.
    pub(super) next: String,
}

impl SetupFinding {
    /// A finding.
    pub(super) fn new(
        level: Level,
        about: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level, about: about.into(), found: found.into(), next: next.into() }
    }
}

/// All findings. `refused`: what is left out of the parameters.
pub(super) fn findings(
    survey: &Survey,
    config: &AgentConfig,
    parameters: &StackParameters,
    refused: &[RefusedValue],
) -> Vec<SetupFinding> {
    let mut found: Vec<SetupFinding> = refused.iter().map(left_out).collect();
    found.extend(unreachable_api(&config.api));
    if let (Some(pool), GenerationConfig::Three(three)) = (&survey.pool, &config.generation) {
        of_pool(pool, &three.work_queues, &config.name, &mut found);
    }
    of_launches(survey, &mut found);
    of_places(&survey.needs, &survey.home, &mut found);
    of_parameters(survey, parameters, &mut found);
    found.extend(page_for_browsers(&survey.home.region));
    found
}

/// What a URL that browsers may call needs; it is not proposed, since whether strangers may ask is not ours to decide.
fn page_for_browsers(region: &str) -> Option<SetupFinding> {
    let text = "health and its page are asked with signatures, or with `status --serve`";
    let next = "for a page that browsers see: HealthAuthType=NONE, and HealthReservedConcurrency=5, so that strangers do not \
                use up the account's invocations";
    stack::has_function_urls(region).then(|| SetupFinding::new(Level::Note, "HealthAuthType", text, next))
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    some_of(names.into_iter().map(String::as_str), NAMED)
}

/// An API that a function in AWS does not reach, as far as its address tells.
fn unreachable_api(api: &str) -> Option<SetupFinding> {
    let uri: http::Uri = api.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']).to_lowercase();
    let address: Option<std::net::IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        let next = "give the address at which AWS reaches the server, with --api (and the stack's VpcSubnetIds and \
                    VpcSecurityGroupIds, if only a VPC does)";
        let text = format!("{api} is this machine: the functions do not reach it");
        return Some(SetupFinding::new(Level::Problem, "api", text, next));
    }
    let is_private = match address {
        Some(std::net::IpAddr::V4(address)) => address.is_private() || address.is_link_local(),
        Some(std::net::IpAddr::V6(address)) => address.is_unique_local(),
        None => !host.contains('.') || [".local", ".internal", ".lan"].iter().any(|end| host.ends_with(end)),
    };
    is_private.then(|| {
        let next = "add VpcSubnetIds and VpcSecurityGroupIds to the parameters: private subnets that reach it, with a way \
                    to AWS's APIs";
        SetupFinding::new(Level::Warning, "api", format!("{api} looks like an address of a private network"), next)
    })
}

/// Why this pool cannot be served at all.
pub(super) fn unserved(kind: &str, pool: &str) -> Option<SetupFinding> {
    let next = match kind {
        "ecs" => return None,
        "ecs:push" => {
            "Prefect Cloud itself launches the runs of a push pool. Create a pool of type ecs (`prefect work-pool create \
             --type ecs NAME`), give it this pool's base job template, as far as it fits, and move the deployments there"
        }
        "process" => {
            "its runs are processes of a machine: serve it with `prefect-serverless-agent start --platform process`, or move \
             its deployments to a pool of type ecs"
        }
        "docker" | "docker-unmanaged" => {
            "its runs are containers of one machine. Create a pool of type ecs (`prefect work-pool create --type ecs NAME`) \
             and move its deployments there: their images can stay, if ECS may pull them"
        }
        _ => "create a pool of type ecs (`prefect work-pool create --type ecs NAME`) and move its deployments there",
    };
    let found = format!("the work pool {pool:?} is of type {kind:?}, and only pools of type ecs are served");
    Some(SetupFinding::new(Level::Problem, pool, found, next))
}

fn of_pool(pool: &PoolSurvey, served: &[String], own_name: &str, found: &mut Vec<SetupFinding>) {
    let name = &pool.pool.name;
    if pool.pool.is_paused {
        let next = format!("prefect work-pool resume {}", stack::shell_word(name));
        found.push(SetupFinding::new(Level::Warning, name, "the pool is paused: it hands out no runs", next));
    }
    let unknown = |what: &str, error: &Unlisted| {
        SetupFinding::new(Level::Warning, name, format!("its {what} are not known: {error}"), "look at them in Prefect")
    };
    match &pool.queues {
        Ok(queues) => {
            let is_served = |queue: &String| served.is_empty() || served.contains(queue);
            let paused: Vec<&String> = queues
                .iter()
                .filter(|queue| queue.is_paused && is_served(&queue.name))
                .map(|queue| &queue.name)
                .collect();
            if !paused.is_empty() {
                let text = format!("queues that hand out no runs, because they are paused: {}", listed(paused));
                found.push(SetupFinding::new(Level::Warning, name, text, "prefect work-queue resume NAME --pool POOL"));
            }
            for missing in served.iter().filter(|served| !queues.iter().any(|queue| queue.name == **served)) {
                let next = format!(
                    "create it (`prefect work-queue create {} --pool {}`), or name another",
                    stack::shell_word(missing),
                    stack::shell_word(name)
                );
                found.push(SetupFinding::new(
                    Level::Problem,
                    missing,
                    format!("the pool has no queue {missing:?}"),
                    next,
                ));
            }
        }
        Err(error) => found.push(unknown("queues", error)),
    }
    match &pool.workers {
        Ok(workers) => {
            let online = workers.iter().filter(|worker| worker.is_online && worker.name != own_name);
            let online: Vec<&String> = online.map(|worker| &worker.name).collect();
            if !online.is_empty() {
                let text = format!("a worker serves the pool now: {}", listed(online));
                let next = "both may run at once, and each run is launched once: delete the worker when the agent has \
                            launched its first run";
                found.push(SetupFinding::new(Level::Note, name, text, next));
            }
        }
        Err(error) => found.push(unknown("workers", error)),
    }
    if pool.is_truncated {
        let text = format!("it has more than the {} deployments that were read", pool.deployments.len());
        let next = "roles, clusters and log groups that only the others name are not among the parameters: add them";
        found.push(SetupFinding::new(Level::Warning, name, text, next));
    }
}

fn of_launches(survey: &Survey, found: &mut Vec<SetupFinding>) {
    let others = survey.launches.iter().filter(|launch| !launch.is_served).map(|launch| &launch.asker);
    let others: Vec<&String> = others.collect();
    if !others.is_empty() {
        let text = format!("deployments of queues that are not served: {}", listed(others));
        found.push(SetupFinding::new(Level::Note, "work_queues", text, "leave `work_queues` out to serve all queues"));
    }
    let mut warnings: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut unrendered: BTreeMap<(&str, bool), BTreeSet<String>> = BTreeMap::new();
    for launch in survey.counted_launches() {
        match &launch.rendered {
            Ok(rendered) => {
                if let Some(warning) = &rendered.warning {
                    warnings.entry(warning).or_default().insert(launch.asker.clone());
                }
                found.extend(without_execution_role(&launch.asker, rendered));
            }
            Err(why) => {
                unrendered.entry((&why.why, why.is_certain)).or_default().insert(launch.asker.clone());
            }
        }
    }
    for ((why, is_certain), askers) in unrendered {
        let (level, next) = if is_certain {
            (Level::Problem, "correct its job variables, or the pool's base job template, where the message says")
        } else {
            (
                Level::Warning,
                "what it asks for is not among the parameters: mend what the message says, and run init again",
            )
        };
        found.push(SetupFinding::new(level, listed(&askers), format!("it would not be launched: {why}"), next));
    }
    for (warning, askers) in warnings {
        found.push(SetupFinding::new(
            Level::Note,
            listed(&askers),
            warning,
            "nothing has to be done: it works as with the worker",
        ));
    }
}

/// What only an execution role makes possible: to give containers secrets, and on Fargate also to pull images from a private
/// registry and to write logs, for which elsewhere the instance has a role.
fn without_execution_role(asker: &str, launch: &RenderedLaunch) -> Option<SetupFinding> {
    let definition = launch.definition.said()?;
    let overrides = launch.run_task.get("overrides");
    let named = |said: Option<&Value>| said.and_then(Value::as_str).is_some_and(|role| !role.is_empty());
    if named(definition.get("executionRoleArn")) || named(overrides.and_then(|all| all.get("executionRoleArn"))) {
        return None;
    }
    let containers = || definition.get("containerDefinitions").and_then(Value::as_array).into_iter().flatten();
    let is_private = |image: &str| image.contains(".dkr.ecr.");
    let image = containers().filter_map(|c| c.get("image").and_then(Value::as_str)).find(|image| is_private(image));
    let secrets = containers().any(|c| c.get("secrets").and_then(Value::as_array).is_some_and(|all| !all.is_empty()));
    let logs = containers().any(|c| {
        c.get("logConfiguration").and_then(|logs| logs.get("logDriver")).and_then(Value::as_str) == Some("awslogs")
    });
    let on_fargate = match image {
        Some(image) => Some(format!("the image {image} is in a private registry")),
        None => logs.then(|| "a container logs to CloudWatch".to_owned()),
    };
    let (level, what, where_else) = match (launch.is_on_fargate(), secrets, on_fargate) {
        (Some(true), _, Some(what)) => (Level::Problem, what, ""),
        (_, true, _) => (Level::Problem, "a container has secrets".to_owned(), ""),
        (None, false, Some(what)) => (Level::Warning, what, ": it does not start if its cluster runs it on Fargate"),
        (Some(_), false, _) | (None, false, None) => return None,
    };
    let text = format!("{what}, and the task has no execution role{where_else}");
    let next = "set execution_role_arn in the pool or the deployment, e.g. to ecsTaskExecutionRole";
    Some(SetupFinding::new(level, asker, text, next))
}

fn of_places(needs: &Needs, home: &Home, found: &mut Vec<SetupFinding>) {
    for (place, there) in &needs.places {
        let LaunchPlace { account, region, reach } = place;
        let is_other_account = account.as_ref() != home.account.as_ref().ok();
        let named = |account: &Option<String>| account.clone().unwrap_or_else(|| "of the run's own keys".into());
        let askers: BTreeSet<String> = there.clusters.values().flatten().cloned().collect();
        if is_other_account && *reach != Reach::Own {
            let text = format!("its tasks run in the account {} ({region})", named(account));
            let mut next =
                "deploy infra/forward-events.yaml there with this stack's output EventBusArn, or a task that dies \
                            there is not noticed"
                    .to_owned();
            if reach.assumed().is_some() {
                next.push_str("; the role must trust this stack's outputs PollRoleArn and TaskEventsRoleArn");
            }
            found.push(SetupFinding::new(Level::Warning, listed(&askers), text, next));
        } else if *region != home.region {
            let text = format!("its tasks run in {region}, the functions in {}", home.region);
            let next = "deploy infra/forward-events.yaml there with this stack's output EventBusArn, or a task that dies there \
                        is not noticed";
            found.push(SetupFinding::new(Level::Warning, listed(&askers), text, next));
        }
        for (image, askers) in &there.images {
            found.extend(of_image(image, account.as_deref(), askers));
        }
        for (definition, why) in &there.unknown_definitions {
            let text = format!("what the task definition {definition} says is not known: {why}");
            let next =
                "add its task role, its execution role and its log group to PassableRoleArns and TaskLogArns yourself";
            found.push(SetupFinding::new(Level::Warning, definition, text, next));
        }
    }
    for (role, askers) in stack::foreign_roles(needs) {
        let text = format!("{} would give it to tasks of another account, which AWS refuses", listed(&askers));
        found.push(SetupFinding::new(Level::Problem, role, text, "name a role of the account that the tasks run in"));
    }
}

/// An image that the place may not pull as it is named. `account`: where its tasks run.
fn of_image(image: &str, account: Option<&str>, askers: &BTreeSet<String>) -> Option<SetupFinding> {
    if let Some(of_ecr) = EcrImage::of(image) {
        account.filter(|account| *account != of_ecr.account)?;
        let text = format!("the image {image} lies in the registry of another account ({})", of_ecr.account);
        let next =
            "let the execution role's account pull it, by a policy of the repository: aws ecr set-repository-policy";
        return Some(SetupFinding::new(Level::Warning, listed(askers), text, next));
    }
    let next = "push it to ECR, and name it in full: 123456789012.dkr.ecr.REGION.amazonaws.com/NAME:TAG";
    let host = registry(image).and_then(|registry| registry.split(':').next());
    if matches!(host, Some("localhost" | "127.0.0.1")) {
        let text = format!("the image {image} lies in a registry of this machine: ECS does not reach it");
        return Some(SetupFinding::new(Level::Problem, listed(askers), text, next));
    }
    // Only images that Docker itself keeps have one word there: it is rather the name of a build on somebody's machine.
    let is_local = is_of_docker_hub(image) && !image.contains('/');
    is_local.then(|| {
        let text = format!("the image {image} names no registry: ECS looks for it in Docker Hub, among Docker's own");
        SetupFinding::new(Level::Warning, listed(askers), text, next)
    })
}

/// What would allow more than its run asks for.
fn left_out(RefusedValue { parameter, value, askers }: &RefusedValue) -> SetupFinding {
    let text = format!("{value:?} is left out of {parameter}: as an entry there it would not mean exactly one thing");
    let next = "name one that exists: an account of twelve digits, and no wildcard, comma or blank";
    SetupFinding::new(Level::Problem, listed(askers), text, next)
}

fn of_parameters(survey: &Survey, parameters: &StackParameters, found: &mut Vec<SetupFinding>) {
    if let Some(why) = &survey.runs_unread {
        let text = format!("the last flow runs cannot be read: {why}");
        let next =
            "what run configurations of flows name (roles, clusters, templates) is not among the parameters: add it";
        found.push(SetupFinding::new(Level::Warning, "flow runs", text, next));
    }
    if survey.are_runs_truncated {
        let text = "only the last flow runs were read: flows that did not run lately may not be among them";
        let next =
            "what their run configurations name (roles, clusters, templates) is not among the parameters: add it";
        found.push(SetupFinding::new(Level::Warning, "flow runs", text, next));
    }
    if let Err(why) = &survey.home.account {
        let text = format!("the AWS account is not known: {why}");
        let next = "run init with credentials of the account to deploy to: clusters and roles that are given by name are not \
                    among the parameters";
        found.push(SetupFinding::new(Level::Warning, "AWS", text, next));
    }
    for (name, value) in parameters.iter().filter(|(_, value)| value.len() > LONGEST_PARAMETER) {
        let text = format!("it has {} characters, and CloudFormation takes {LONGEST_PARAMETER}", value.len());
        let next = "put a wildcard where the ARNs begin alike, e.g. arn:aws:iam::123456789012:role/prefect-*";
        found.push(SetupFinding::new(Level::Problem, *name, text, next));
    }
    if !stack::has_function_urls(&survey.home.region) {
        let text = format!("{} has no Lambda function URLs", survey.home.region);
        let next = "health is asked by `aws lambda invoke` of the output HealthFunctionName";
        found.push(SetupFinding::new(Level::Note, "HealthUrl", text, next));
    }
}

#[cfg(test)]
mod tests;
