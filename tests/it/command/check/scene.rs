//! A deployment in which all is well, and what breaks it.

use super::super::process::{Ended, agent, end};
use super::account::{CLUSTER, EXECUTION, TASK, allow, furnish, job_variables};
use crate::support::{Deployment, ROOT};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::State;
use world::cloudformation::Stack;
use world::events::{Rule, Schedule};
use world::prefect3::{Auth, DeploymentSpec, POOL};
use world::sqs::Queue;

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
            let policy = &mut state.iam.roles.get_mut(role).unwrap().policies[0];
            let statements = policy["Statement"].as_array_mut().unwrap();
            let before = statements.len();
            for statement in statements.iter_mut() {
                statement["Action"].as_array_mut().unwrap().retain(|one| one != action);
            }
            assert!(before > 0, "{role} has no policy");
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

    /// Everything that the template makes, as far as it is looked at.
    fn deploy(&self) {
        let mut state = self.deployment.world.lock();
        let function = |name: &str| arn("lambda", &format!("function:{STACK}-{name}"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let resource = |id: &str, kind: &str, physical: &str| (id.to_owned(), (kind.to_owned(), physical.to_owned()));
        state.cloudformation.stacks.push(Stack {
            name: "another".into(),
            status: "CREATE_COMPLETE".into(),
            ..Stack::default()
        });
        state.cloudformation.stacks.push(Stack {
            name: STACK.into(),
            status: "UPDATE_COMPLETE".into(),
            parameters: [
                pair("ParameterRoot", ROOT),
                pair("PollSchedule", "rate(1 minute)"),
                pair("WorkersTasksState", "DISABLED"),
                pair("ForwardingAccountIds", ""),
                pair("HealthAuthType", "AWS_IAM"),
                pair("ReservedConcurrency", ""),
            ]
            .into(),
            outputs: [pair("ParameterRoot", ROOT)].into(),
            resources: [
                resource("PollFunction", "AWS::Lambda::Function", "psa-poll"),
                resource("HealthFunction", "AWS::Lambda::Function", "psa-health"),
                resource("TaskEventsFunction", "AWS::Lambda::Function", "psa-task-events"),
                resource("ScheduleGroup", "AWS::Scheduler::ScheduleGroup", "psa-schedules"),
                resource("PollFunctionTick", "AWS::Scheduler::Schedule", "psa-tick"),
                resource("OwnTasksRule", "AWS::Events::Rule", "psa-own-tasks"),
                resource("WorkersTasksRule", "AWS::Events::Rule", "psa-workers"),
                resource("TaskEventsFunctionQueue", "AWS::Lambda::EventSourceMapping", MAPPING),
                resource("TaskEventsQueue", "AWS::SQS::Queue", QUEUE),
                resource("TaskEventsDeadLetters", "AWS::SQS::Queue", DEAD_LETTERS),
                resource("TaskEventsFailures", "AWS::SQS::Queue", FAILURES),
                resource("TaskEventsLogGroup", "AWS::Logs::LogGroup", LOG_GROUP),
                resource("PollRole", "AWS::IAM::Role", "psa-PollRole-1"),
                resource("TaskEventsRole", "AWS::IAM::Role", "psa-TaskEventsRole-1"),
            ]
            .into(),
        });
        let schedule = Schedule {
            group: "psa-schedules".into(),
            state: "ENABLED".into(),
            expression: "rate(1 minute)".into(),
            target: function("poll"),
        };
        state.events.schedules.insert("psa-tick".into(), schedule);
        for (name, started_by, rule) in [
            ("psa-own-tasks", json!({"prefix": "prefect/"}), "ENABLED"),
            ("psa-workers", json!({"exists": false}), "DISABLED"),
        ] {
            let pattern = json!({"source": ["aws.ecs"], "detail": {"startedBy": [started_by]}}).to_string();
            let rule = Rule { state: rule.into(), pattern, targets: vec![arn("sqs", "psa-task-events")] };
            state.events.rules.insert(name.into(), rule);
        }
        state.lambda.mappings.insert(MAPPING.into(), "Enabled".into());
        for queue in [QUEUE, DEAD_LETTERS, FAILURES] {
            state.sqs.queues.insert(queue.into(), Queue::default());
        }
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
        for statement in role.policies[0]["Statement"].as_array_mut().unwrap() {
            statement["Action"].as_array_mut().unwrap().retain(|action| {
                let is_of_queue = action.as_str().unwrap().starts_with("sqs:");
                (!is_of_queue || action == "sqs:SendMessage") && action != "ssm:PutParameter"
            });
        }
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
