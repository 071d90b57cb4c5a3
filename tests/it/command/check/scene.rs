//! A deployment in which all is well, and what breaks it.

use super::super::process::{Ended, agent, end};
use super::account::{CLUSTER, EXECUTION, TASK, allow, furnish, job_variables};
use crate::support::{Deployment, ROOT};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::State;
use world::cloudformation::{Deployed, Stack};
use world::events::Schedule;
use world::prefect3::{Auth, DeploymentSpec, POOL};

/// Name of the stack.
pub(in crate::command) const STACK: &str = "psa";
/// The key that Prefect knows.
pub(in crate::command) const KEY: &str = "pnu_thekeyofthestory";
/// URL of the queue of events.
pub(in crate::command) const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/psa-task-events";
/// URL of the dead-letter queue.
pub(in crate::command) const DEAD_LETTERS: &str =
    "https://sqs.us-east-1.amazonaws.com/123456789012/psa-task-events-dead-letters";
/// URL of the queue of failures.
pub(in crate::command) const FAILURES: &str =
    "https://sqs.us-east-1.amazonaws.com/123456789012/psa-task-events-failures";

/// The log of the function `task-events`.
pub(in crate::command) const LOG_GROUP: &str = "/aws/lambda/psa-task-events";

/// Id of what hands the queue's messages to the function.
pub(in crate::command) const MAPPING: &str = "1f2e3d4c-0000-4000-8000-123456789abc";

/// The deployment.
pub(in crate::command) struct Scene {
    pub(in crate::command) deployment: Deployment,
}

/// Leaves actions out of a policy; how many.
fn leave_out(policy: &mut Value, is_left_out: impl Fn(&str) -> bool) -> usize {
    let mut left_out = 0;
    for statement in policy["Statement"].as_array_mut().unwrap() {
        let actions = match statement["Action"].take() {
            Value::Array(actions) => actions,
            action => vec![action],
        };
        let (gone, kept): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| is_left_out(action.as_str().unwrap()));
        left_out += gone.len();
        statement["Action"] = kept.into();
    }
    left_out
}

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:us-east-1:123456789012:{resource}")
}

impl Scene {
    /// A stack that polls a work pool with one deployment, by one agent; all is well.
    pub(in crate::command) async fn healthy() -> Self {
        let scene = Self { deployment: Deployment::empty().await };
        let world = &scene.deployment.world;
        world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![KEY.into()] });
        scene.job(json!({}));
        furnish(world);
        scene.agent(json!({}));
        scene.secret("etl/api-key", KEY);
        scene.deploy();
        scene
    }

    /// The deployment, with these job variables beside its own.
    pub(in crate::command) fn job(&self, extra: Value) {
        let mut job_variables = job_variables().as_object().unwrap().clone();
        job_variables.extend(extra.as_object().unwrap().clone());
        self.deployment.world.prefect3(|prefect3| prefect3.deployments.clear());
        self.deployment.world.prefect3_deployment(DeploymentSpec { job_variables, ..DeploymentSpec::default() });
    }

    /// The deployment, in another network.
    pub(in crate::command) fn network(&self, extra: Value) {
        let mut network = job_variables()["network_configuration"].clone();
        network.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.job(json!({"network_configuration": network}));
    }

    /// Changes the account.
    pub(in crate::command) fn account(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.deployment.world.lock());
    }

    /// Leaves an action out of a role's policies.
    pub(in crate::command) fn without(&self, role: &str, action: &str) {
        self.account(|state| {
            let role = state.iam.roles.get_mut(role).unwrap();
            let left_out: usize = role.policies.iter_mut().map(|policy| leave_out(policy, |one| one == action)).sum();
            assert!(left_out > 0, "{action} is in none of its policies: {role:?}");
        });
    }

    /// Encrypts the secrets with a key of the customer's. The execution role may use it through this service, as
    /// infra/cluster.yaml allows it.
    pub(in crate::command) fn secrets_key(&self, via: &str) {
        let key = arn("kms", "key/1234abcd-12ab-34cd-56ef-1234567890ab");
        let allowed = allow(&["kms:Decrypt"], &[&key], json!({"StringLike": {"kms:ViaService": via}}));
        self.account(|state| {
            state.iam.roles.get_mut("execution").unwrap().policies.push(json!({"Statement": [allowed]}));
            let stack = state.cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
            stack.parameters.insert("SecretsKeyArn".into(), key);
        });
    }

    /// Writes the agent's configuration.
    pub(in crate::command) fn agent(&self, extra: Value) {
        let api = self.deployment.world.prefect3_url();
        let mut config = json!({"prefect": 3, "api": api, "work_pool": POOL});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.deployment.configure("etl", &config.to_string());
    }

    /// Makes it an agent of Prefect 1.
    pub(in crate::command) fn agent_1(&self, extra: Value) {
        let mut config = json!({
            "prefect": 1, "api": self.deployment.world.prefect1_url(), "cluster": CLUSTER,
            "task_role_arn": TASK, "execution_role_arn": EXECUTION,
        });
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.deployment.configure("etl", &config.to_string());
        self.secret("etl/api-key", crate::support::KEY);
    }

    pub(in crate::command) fn secret(&self, name: &str, value: &str) {
        self.deployment.world.put_secret(&format!("{ROOT}/secrets/{name}"), value);
    }

    /// Deletes a parameter below the root.
    pub(in crate::command) fn delete(&self, name: &str) {
        let mut state = self.deployment.world.lock();
        assert!(state.ssm.delete(&world::route::Scope::default(), &format!("{ROOT}/{name}")), "{name}");
    }

    /// Everything that the template makes with its defaults, after somebody else's stack.
    fn deploy(&self) {
        let mut state = self.deployment.world.lock();
        state.cloudformation.stacks.push(Stack {
            name: "another".into(),
            status: "CREATE_COMPLETE".into(),
            ..Stack::default()
        });
        let deployed: Deployed = serde_json::from_str(include_str!("stack.json")).unwrap();
        deployed.make(&mut state);
    }

    /// The same as version 0.1 deployed it: the rules call the function, and there is one queue.
    pub(in crate::command) fn deploy_former(&self) {
        let mut state = self.deployment.world.lock();
        let State { cloudformation, events, sqs, iam, .. } = &mut *state;
        let stack = cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
        for (now, before) in [("OwnTasksRule", "OwnTasks"), ("WorkersTasksRule", "WorkersTasks")] {
            let (kind, name) = stack.resources.remove(now).unwrap();
            let named = format!("psa-TaskEventsFunction{before}-1ABCDEFGHIJKL");
            let mut rule = events.rules.remove(&name).unwrap();
            rule.targets = vec![arn("lambda", "function:psa-task-events")];
            events.rules.insert(named.clone(), rule);
            stack.resources.insert(format!("TaskEventsFunction{before}"), (kind, named));
        }
        stack.resources.remove("ScheduleGroup").unwrap();
        let (kind, _) = stack.resources.remove("PollFunctionTick").unwrap();
        stack.resources.insert("PollFunctionSchedule".into(), (kind, "psa-poll".into()));
        let schedule = events.schedules.remove("psa-tick").unwrap();
        events.schedules.insert("psa-poll".into(), Schedule { group: "default".into(), ..schedule });
        stack.resources.remove("TaskEventsFunctionQueue").unwrap();
        for (id, url) in [("TaskEventsQueue", QUEUE), ("TaskEventsDeadLetters", DEAD_LETTERS)] {
            stack.resources.remove(id).unwrap();
            sqs.queues.remove(url).unwrap();
        }
        let role = iam.roles.get_mut("psa-TaskEventsRole-1").unwrap();
        let is_new =
            |action: &str| (action.starts_with("sqs:") && action != "sqs:SendMessage") || action == "ssm:PutParameter";
        assert!(role.policies.iter_mut().map(|policy| leave_out(policy, is_new)).sum::<usize>() > 0);
    }

    /// `check` with these arguments.
    pub(in crate::command) async fn run(&self, line: &str) -> Ended {
        end(agent(&self.deployment, &format!("check {line}"))).await
    }

    /// `check --root … --json`: the exit code, and the codes of failures, warnings and what could not be asked.
    pub(in crate::command) async fn codes(&self) -> (Option<i32>, BTreeSet<String>, Value) {
        let ended = self.run(&format!("--json --root {ROOT}")).await;
        let found = ended.json();
        let bad = found["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "information");
        let codes = bad.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
        (ended.code, codes, found)
    }
}
