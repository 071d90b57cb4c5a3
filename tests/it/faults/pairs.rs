//! Every request of a poll × every fault: one poll goes wrong, then polls go on until nothing is due.

use super::expected;
use super::kinds::{Kind, kinds};
use super::scenes::Scene;
use futures_util::stream::{StreamExt, iter};
use std::collections::BTreeMap;

/// Pairs that are tried at the same time, each in a world of its own.
const AT_ONCE: usize = 12;

/// One request and one fault.
#[derive(Clone, Debug)]
struct Pair {
    scene: Scene,
    service: &'static str,
    operation: String,
    /// Which of the poll's requests of this operation, from 0.
    occurrence: u32,
    kind: Kind,
    /// Every such request of the poll from there on goes wrong, not only one.
    always: bool,
}

impl Pair {
    fn name(&self) -> String {
        let Self { scene, service, operation, occurrence, kind, always } = self;
        let often = if *always { "from then on" } else { "once" };
        format!("{scene:?}: {service} {operation} #{occurrence}, {} {often}", kind.name)
    }

    /// Whether the poll in which it happens fails, and the invocation with it.
    fn fails_the_poll(&self) -> bool {
        expected::fails_the_poll(self.scene, &self.operation, self.occurrence, self.kind.name, self.always)
    }

    /// What is wrong, with the whole story.
    async fn check(&self) -> (String, Result<String, String>) {
        let mut watched = self.scene.set().await;
        let Self { service, operation, occurrence, kind, always, .. } = self;
        kind.inject(&watched.deployment.world, service, operation, *occurrence, *always);
        watched.poll().await;
        if !Kind::clear(&watched.deployment.world) {
            watched.wrong.push("nothing went wrong: no such request was made".to_owned());
        }
        // What lasted may have spoiled what a warm process remembers; what passed, what was written down.
        watched.poll_until_quiet(*always).await;
        watched.check_end();
        if watched.answers[0].is_err() != self.fails_the_poll() {
            watched.wrong.push(format!("the disturbed poll is expected to fail: {}", self.fails_the_poll()));
        }
        if let Some(later) = watched.answers[1..].iter().find(|answer| answer.is_err()) {
            watched.wrong.push(format!("a poll of a world that is well again failed: {later:?}"));
        }
        let wrong = std::mem::take(&mut watched.wrong);
        let first = match &watched.answers[0] {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.error_type.clone(),
        };
        let outcome = if wrong.is_empty() {
            Ok(format!("{first}, {} polls", watched.answers.len()))
        } else {
            Err(format!("{}\n{}", wrong.join("\n"), watched.story()))
        };
        (self.name(), outcome)
    }
}

/// The requests of the scene's poll when nothing goes wrong: operation and how often.
async fn requests(scene: Scene, service: &str) -> BTreeMap<String, u32> {
    let mut watched = scene.set().await;
    watched.poll().await;
    let mut counts = BTreeMap::new();
    for request in watched.deployment.world.requests(service, "*") {
        *counts.entry(request.operation).or_default() += 1;
    }
    let name = format!("{scene:?} without a fault");
    assert!(watched.answers[0].is_ok() && watched.wrong.is_empty(), "{name}: {:?}\n{}", watched.wrong, watched.story());
    counts
}

/// All pairs of a service.
async fn pairs(service: &'static str) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for scene in Scene::ALL {
        for (operation, count) in requests(scene, service).await {
            if !scene.has(&operation) {
                continue;
            }
            // Many requests of one operation are alike, but for the reading of parameters and of runs.
            let occurrences = if matches!(operation.as_str(), "GetParametersByPath" | "flow_run") { count } else { 1 };
            for kind in kinds(service, &operation) {
                for occurrence in 0..if kind.can_skip() { occurrences } else { 1 } {
                    for always in [false, true] {
                        // All from the second one on are among all from the first one on; but the second reading of
                        // runs is another one. Being slow once is as good as always.
                        if always && (kind.is_slow() || (occurrence > 0 && operation != "flow_run")) {
                            continue;
                        }
                        let (operation, kind) = (operation.clone(), kind.clone());
                        pairs.push(Pair { scene, service, operation, occurrence, kind, always });
                    }
                }
            }
        }
    }
    pairs
}

/// Checks all pairs of a service, of which `expected` operations must be among them. `FAULT` limits them to those whose
/// name contains its value.
async fn check(service: &'static str, expected: &[&str]) {
    let mut pairs = pairs(service).await;
    for operation in expected {
        assert!(pairs.iter().any(|pair| pair.operation == *operation), "no poll asks {service} for {operation}");
    }
    if let Ok(only) = std::env::var("FAULT") {
        pairs.retain(|pair| pair.name().contains(&only));
    }
    let count = pairs.len();
    let outcomes = iter(pairs).map(|pair| async move { pair.check().await }).buffer_unordered(AT_ONCE);
    let mut wrong = Vec::new();
    for (name, outcome) in outcomes.collect::<Vec<_>>().await {
        match outcome {
            Ok(summary) => println!("{name}: {summary}"),
            Err(story) => wrong.push(format!("=== {name}\n{story}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {count} pairs of {service} went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_prefect_every_run_gets_its_one_task() {
    let operations = [
        "register_agent",
        "flow_run",
        "get_runs_in_queue",
        "standing",
        "set_flow_run_states",
        "set_task_run_states",
        "write_run_logs",
    ];
    check("prefect1", &operations).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_ecs_every_run_gets_its_one_task() {
    let operations = [
        "DescribeTaskDefinition",
        "ListTaskDefinitions",
        "RegisterTaskDefinition",
        "RunTask",
        "ListTasks",
        "DescribeTasks",
        "StopTask",
    ];
    check("ecs", &operations).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_parameter_store_every_run_gets_its_one_task() {
    check("ssm", &["GetParametersByPath", "GetParameter", "PutParameter"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_the_look_for_the_network_every_run_gets_its_one_task() {
    check("ec2", &["DescribeVpcs", "DescribeSubnets"]).await;
}
