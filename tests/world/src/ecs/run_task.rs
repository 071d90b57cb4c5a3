//! `RunTask`.

use super::{Definition, Ecs, Refusal, Shortage, Task, containers, lifecycle, network, validate};
use crate::{World, answer::ServiceError, route::Scope};
use serde_json::{Value, json};
use time::OffsetDateTime;

const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";

/// Starts tasks, or gives the answer of the first request with the same token again.
pub(super) fn run_task(world: &World, scope: &Scope, input: &Value, body: &str) -> Result<Value, ServiceError> {
    let (answer, started) = {
        let mut state = world.lock();
        let now = state.now();
        state.ecs.run(scope, input, body, now)?
    };
    world.notify();
    for arn in started {
        let options = world.lock().ecs.options.clone();
        if let Some(options) = options.containers {
            containers::start(world, &arn, options);
        } else if let Some(lifecycle) = options.lifecycle {
            lifecycle::start(world, &arn, lifecycle);
        }
    }
    Ok(answer)
}

impl Ecs {
    /// The answer, and the ARNs of the tasks that this very request started.
    fn run(
        &mut self,
        scope: &Scope,
        input: &Value,
        body: &str,
        now: OffsetDateTime,
    ) -> Result<(Value, Vec<String>), ServiceError> {
        let rate = self.options.run_task_rate;
        self.throttle("run", rate, rate.unwrap_or(1.0).max(1.0), now)?;
        validate::run_task(input)?;
        let cluster = self.cluster(scope, input)?;
        let token = input["clientToken"].as_str().filter(|_| self.options.client_tokens);
        if let Some(token) = token
            && let Some(answer) = self.tokens.replay(&cluster, token, input, &self.tasks, now)?
        {
            return Ok((self.as_it_is_now(answer), Vec::new()));
        }
        let definition = match self.runnable(scope, input) {
            Ok(definition) => definition,
            Err(refusal) => {
                if let Some(token) = token.filter(|_| self.options.tokens_remember_refusals) {
                    self.tokens.remember(&cluster, token, input, Err(refusal.clone()), now);
                }
                return Err(refusal);
            }
        };
        let answer = match self.refused(body) {
            Some(refusal) => {
                let mut failure = json!({"arn": cluster, "reason": refusal.reason});
                if let Some(detail) = refusal.detail {
                    failure["detail"] = json!(detail);
                }
                json!({"tasks": [], "failures": [failure]})
            }
            None => self.start(scope, &cluster, &definition, input, now),
        };
        let started: Vec<String> = answer["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|task| task["taskArn"].as_str().map(str::to_owned))
            .collect();
        if let Some(token) = token
            && (!started.is_empty() || self.options.tokens_remember_refusals)
        {
            self.tokens.remember(&cluster, token, input, Ok(answer.clone()), now);
        }
        Ok((answer, started))
    }

    /// The definition to run, if a task of it can be started.
    fn runnable(&self, scope: &Scope, input: &Value) -> Result<Definition, ServiceError> {
        let definition = self.definition_to_run(scope, input)?;
        self.check_providers(input)?;
        validate::overrides(&definition, input)?;
        network::check(&definition, input)?;
        let is_spot = input["capacityProviderStrategy"][0]["capacityProvider"] == "FARGATE_SPOT";
        match self.options.shortage {
            Some(Shortage::Spot) if !is_spot => Ok(definition),
            Some(_) => Err(ServiceError::new("ClientException", NO_CAPACITY)),
            None => Ok(definition),
        }
    }

    /// The answer to a replay, where that tells of tasks as they are now.
    fn as_it_is_now(&self, mut answer: Value) -> Value {
        if self.options.replays_describe_now {
            for described in answer["tasks"].as_array_mut().into_iter().flatten() {
                if let Some(task) = self.tasks.iter().find(|task| described["taskArn"] == task.arn) {
                    *described = task.describe(true);
                }
            }
        }
        answer
    }

    fn start(
        &mut self,
        scope: &Scope,
        cluster: &str,
        definition: &Definition,
        input: &Value,
        now: OffsetDateTime,
    ) -> Value {
        let count = input["count"].as_u64().unwrap_or(1);
        let tasks: Vec<Task> = (0..count).map(|_| Task::new(scope, cluster, definition, input, now)).collect();
        let described: Vec<Value> = tasks.iter().map(|task| task.describe(true)).collect();
        self.tasks.extend(tasks);
        json!({"tasks": described, "failures": []})
    }

    fn definition_to_run(&self, scope: &Scope, input: &Value) -> Result<Definition, ServiceError> {
        let found = self.find_definition(scope, input["taskDefinition"].as_str().unwrap_or_default());
        let definition = found.ok_or_else(|| ServiceError::new("ClientException", "TaskDefinition not found."))?;
        if definition.active {
            return Ok(definition.clone());
        }
        Err(ServiceError::new("ClientException", "TaskDefinition is inactive"))
    }

    fn check_providers(&self, input: &Value) -> Result<(), ServiceError> {
        let Some(known) = &self.options.capacity_providers else { return Ok(()) };
        for strategy in input["capacityProviderStrategy"].as_array().into_iter().flatten() {
            let name = strategy["capacityProvider"].as_str().unwrap_or_default();
            if !known.iter().any(|provider| provider == name) {
                let message = format!(
                    "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
                );
                return Err(ServiceError::new("InvalidParameterException", message));
            }
        }
        Ok(())
    }

    /// The refusal that waits for this request, counted down.
    fn refused(&mut self, body: &str) -> Option<Refusal> {
        let matches =
            |refusal: &&mut Refusal| refusal.body_contains.as_ref().is_none_or(|text| body.contains(text.as_str()));
        let refusal = self.refusals.iter_mut().find(matches)?;
        refusal.count = refusal.count.saturating_sub(1);
        let refused = refusal.clone();
        self.refusals.retain(|refusal| refusal.count > 0);
        Some(refused)
    }
}
