//! Every request of a poll × every fault: one poll goes wrong, then polls go on until nothing is to be done.

use super::expected;
use super::kinds::{Asked, Kind, kinds};
use super::scenes::Scene;
use crate::prefect::Prefect;
use futures_util::stream::{StreamExt, iter};
use std::collections::BTreeMap;

/// Pairs that are tried at the same time, each in a world of its own.
const AT_ONCE: usize = 12;

/// One request and one fault.
#[derive(Clone, Debug)]
struct Pair {
    prefect: Prefect,
    scene: Scene,
    service: &'static str,
    asked: Asked,
    /// Which of the poll's requests of this kind, from 0.
    occurrence: u32,
    kind: Kind,
    /// Every such request of the poll from there on goes wrong, not only one.
    always: bool,
}

impl Pair {
    fn name(&self) -> String {
        let Self { prefect, scene, service, asked, occurrence, kind, always } = self;
        let (asked, often) = (asked.name(), if *always { "from then on" } else { "once" });
        format!("{prefect:?} {scene:?}: {service} {asked} #{occurrence}, {} {often}", kind.name)
    }

    /// Whether the poll in which it happens fails, and the invocation with it.
    fn fails_the_poll(&self) -> Option<bool> {
        let case = expected::Case { scene: self.scene, occurrence: self.occurrence, always: self.always };
        expected::fails_the_poll(self.service, &self.asked, self.kind.name, &case)
    }

    /// What is wrong, with the whole story.
    async fn check(&self) -> (String, Result<String, String>) {
        let mut watched = self.scene.set(self.prefect).await;
        let Self { service, asked, occurrence, kind, always, .. } = self;
        kind.inject(&watched.deployment.world, service, asked, *occurrence, *always);
        watched.poll().await;
        if !Kind::clear(&watched.deployment.world) {
            watched.wrong.push("nothing went wrong: no such request was made".to_owned());
        }
        // What lasted may have spoiled what a warm process remembers; what passed, what was written down. A filter that
        // was refused is not used for minutes by the process's own clock, which does not jump as the world's does.
        let is_remembered = kind.is("422") && asked.about == "end_time";
        watched.poll_until_quiet(*always && !is_remembered).await;
        watched.check_end();
        if let Some(fails) = self.fails_the_poll()
            && watched.answers[0].is_err() != fails
        {
            watched.wrong.push(format!("the disturbed poll is expected to fail: {fails}"));
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

/// The requests of the scene's poll when nothing goes wrong: what is asked and how often.
async fn requests(prefect: Prefect, scene: Scene, service: &str) -> BTreeMap<Asked, u32> {
    let mut watched = scene.set(prefect).await;
    watched.poll().await;
    let mut counts = BTreeMap::new();
    for request in watched.deployment.world.requests(service, "*") {
        *counts.entry(Asked::of(&request)).or_default() += 1;
    }
    let name = format!("{prefect:?} {scene:?} without a fault");
    assert!(watched.answers[0].is_ok() && watched.wrong.is_empty(), "{name}: {:?}\n{}", watched.wrong, watched.story());
    counts
}

/// All pairs of a service.
async fn pairs(prefect: Prefect, service: &'static str) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for scene in Scene::of(prefect) {
        for (asked, count) in requests(prefect, scene, service).await {
            if !scene.has(prefect, &asked.operation) {
                continue;
            }
            // Many requests of one kind are alike, but for the reading of parameters and of runs.
            let differ = matches!(asked.operation.as_str(), "GetParametersByPath" | "flow_run");
            let occurrences = if differ { count } else { 1 };
            for kind in kinds(service, &asked.operation) {
                for occurrence in 0..if kind.can_skip() { occurrences } else { 1 } {
                    for always in [false, true] {
                        // All from the second one on are among all from the first one on; but the second reading of
                        // runs is another one. Being slow once is as good as always.
                        if always && (kind.is_slow() || (occurrence > 0 && asked.operation != "flow_run")) {
                            continue;
                        }
                        let (asked, kind) = (asked.clone(), kind.clone());
                        pairs.push(Pair { prefect, scene, service, asked, occurrence, kind, always });
                    }
                }
            }
        }
    }
    pairs
}

/// Checks all pairs of a service, of which `expected` operations must be among them. `FAULT` limits them to those whose
/// name contains its value.
async fn check(prefect: Prefect, service: &'static str, expected: &[&str]) {
    let mut pairs = pairs(prefect, service).await;
    for wanted in expected {
        let found = pairs.iter().any(|pair| pair.asked.operation == *wanted || pair.asked.name() == *wanted);
        assert!(found, "no poll asks {service} for {wanted}");
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
    println!("{count} pairs of {prefect:?} and {service}");
    assert!(wrong.is_empty(), "{} of {count} pairs of {service} went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_prefect_1_every_run_gets_its_one_task() {
    let operations = [
        "register_agent",
        "flow_run",
        "get_runs_in_queue",
        "standing",
        "set_flow_run_states",
        "set_task_run_states",
        "write_run_logs",
    ];
    check(Prefect::One, "prefect1", &operations).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_prefect_3_every_run_gets_its_one_task() {
    let operations = [
        "get_scheduled_flow_runs",
        "heartbeat",
        "read_work_pool",
        "flow_runs/filter end_time",
        "flow_runs/filter CANCELLING",
        "flow_runs/filter RUNNING",
        "flow_runs/filter id",
        "flows/filter",
        "deployments/filter",
        "set_state PENDING",
        "set_state CANCELLED",
        "update_flow_run",
        "logs",
        "events",
        "labels",
    ];
    check(Prefect::Three, "prefect3", &operations).await;
}

const ECS: [&str; 5] = ["RegisterTaskDefinition", "RunTask", "ListTasks", "DescribeTasks", "StopTask"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_ecs_every_run_of_prefect_1_gets_its_one_task() {
    check(Prefect::One, "ecs", &[&ECS[..], &["DescribeTaskDefinition", "ListTaskDefinitions"]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_ecs_every_run_of_prefect_3_gets_its_one_task() {
    check(Prefect::Three, "ecs", &ECS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_parameter_store_every_run_gets_its_one_task() {
    check(Prefect::One, "ssm", &["GetParametersByPath", "GetParameter", "PutParameter"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_the_look_for_the_network_every_run_gets_its_one_task() {
    check(Prefect::One, "ec2", &["DescribeVpcs", "DescribeSubnets"]).await;
}
