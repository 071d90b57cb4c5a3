//! Makes what the specifications say.

use super::{
    BlockDocument, BlockSpec, Deployment, DeploymentSpec, FlowRun, Generation, PoolSpec, Prefect3, QueueSpec, RunSpec,
    RunState, StateType, Status, Variable,
    answer::{Answer, Refusal},
    fields::Fields,
    flow_runs::NewRun,
    orchestrate::Rules,
    spec::{POOL, id_or_new, time},
    times,
};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;
use time::{Duration, OffsetDateTime};

/// The templates that the real workers write.
const TEMPLATES: &str = include_str!("../../../golden/v3/_templates.json");

/// The base job template that the worker of Prefect 3 gives a pool that has none.
pub fn ecs_template() -> Value {
    static DEFAULT: OnceLock<Value> = OnceLock::new();
    let read = || {
        let mut templates: Value = serde_json::from_str(TEMPLATES).unwrap_or_default();
        templates["default"].take()
    };
    DEFAULT.get_or_init(read).clone()
}

fn said(refusal: Refusal) -> String {
    Answer::from(refusal).body.map(|body| body.to_string()).unwrap_or_default()
}

impl Prefect3 {
    /// Makes a work pool with its queues.
    pub fn seed_pool(&mut self, spec: PoolSpec, now: OffsetDateTime) -> Result<(), String> {
        if self.work_pool(&spec.name).is_some() {
            return Err(format!("there is a work pool {} already", spec.name));
        }
        let template = if spec.base_job_template.is_null() { ecs_template() } else { spec.base_job_template };
        let pool = self.add_work_pool(&spec.name, &spec.kind, times::micros(now));
        pool.base_job_template = template.as_object().cloned().ok_or("a template is an object")?;
        pool.concurrency_limit = spec.concurrency_limit;
        pool.is_paused = spec.is_paused;
        if spec.is_paused {
            pool.status = Status::Paused;
        }
        spec.queues.iter().try_for_each(|queue| self.seed_queue(&spec.name, queue, now))
    }

    /// Makes a queue of a pool, or changes it.
    pub fn seed_queue(&mut self, pool: &str, spec: &QueueSpec, now: OffsetDateTime) -> Result<(), String> {
        let now = times::micros(now);
        let id = self.queue_or_new(pool, &spec.name, now).map_err(said)?;
        if let Some(queue) = self.work_queues.iter_mut().find(|queue| queue.id == id) {
            queue.concurrency_limit = spec.concurrency_limit;
            queue.pause(spec.is_paused, now);
        }
        if let Some(priority) = spec.priority {
            let pool_id = self.pool_or_404(pool).map_err(said)?.id.clone();
            self.prioritise(&pool_id, &id, priority);
        }
        Ok(())
    }

    /// Makes a deployment and returns its id.
    pub fn seed_deployment(&mut self, spec: DeploymentSpec, now: OffsetDateTime) -> Result<String, String> {
        let now = times::micros(now);
        if self.work_pool(&spec.work_pool).is_none() {
            self.seed_pool(PoolSpec { name: spec.work_pool.clone(), ..PoolSpec::default() }, now)?;
        }
        let flow_id = self.flow_named(&spec.flow, Vec::new(), Map::new(), now).0.id.clone();
        let mut deployment = Deployment::new(&spec.name, &flow_id, now);
        deployment.id = id_or_new(spec.id.as_deref())?;
        deployment.work_queue_id = Some(match &spec.work_queue {
            Some(name) => self.queue_or_new(&spec.work_pool, name, now).map_err(said)?,
            None => self.pool_or_404(&spec.work_pool).map_err(said)?.default_queue_id.clone(),
        });
        deployment.work_queue_name = spec.work_queue;
        deployment.version = spec.version;
        deployment.job_variables = spec.job_variables;
        deployment.parameters = spec.parameters;
        deployment.tags = spec.tags;
        deployment.labels = Map::from_iter([("prefect.flow.id".to_owned(), json!(flow_id))]);
        deployment.collision_strategy = spec.collision_strategy;
        deployment.grace_period_seconds = spec.grace_period_seconds;
        deployment.updated = spec.updated.as_deref().map_or(Ok(now), time)?;
        if let Some(limit) = spec.concurrency_limit {
            deployment.limit_to(limit, now);
        }
        let id = deployment.id.clone();
        self.deployments.push(deployment);
        Ok(id)
    }

    /// Lets no more of a deployment's runs go on at once; those that go on already have no slots.
    pub fn limit_deployment(&mut self, id: &str, limit: i64, now: OffsetDateTime) {
        if let Some(deployment) = self.deployment_mut(id) {
            deployment.limit_to(limit, now);
        }
    }

    /// Makes a flow run and returns its id.
    pub fn seed_run(&mut self, spec: RunSpec, now: OffsetDateTime) -> Result<String, String> {
        let now = times::micros(now);
        let created = spec.created.as_deref().map_or(Ok(now), time)?;
        let start = match &spec.start_time {
            Some(text) => time(text)?,
            None => times::micros(now + Duration::seconds_f64(spec.start_in_seconds)),
        };
        let state = state(&spec.state, start, created)?;
        let mut new = NewRun { run: self.new_run(&spec, created)?, state };
        new.run.id = id_or_new(spec.id.as_deref())?;
        if self.flow_run(&new.run.id).is_some() {
            return Err(format!("there is a flow run {} already", new.run.id));
        }
        if let Some(deployment) = new.run.deployment_id.clone().and_then(|id| self.deployment(&id).cloned()) {
            new.of(&deployment);
            if let Some(name) = spec.work_queue {
                let pool = self.queue_and_pool(deployment.work_queue_id.as_deref()).map(|(_, pool)| pool.name.clone());
                let pool = pool.ok_or("the deployment has no pool")?;
                new.run.work_queue_id = Some(self.queue_or_new(&pool, &name, now).map_err(said)?);
                new.run.work_queue_name = Some(name);
            }
        }
        new.run.infrastructure_pid = spec.infrastructure_pid;
        new.run.policy.retries = spec.retries;
        // As the scheduler makes runs: of those nobody hears.
        let to_call = self.webhooks.len();
        let (id, _) = self.add_flow_run(new, created);
        self.webhooks.truncate(to_call);
        if let (Some(run), Some(count)) = (self.flow_run_mut(&id), spec.run_count) {
            run.run_count = count;
        }
        Ok(id)
    }

    /// A run of the deployment or flow that the specification names.
    fn new_run(&mut self, spec: &RunSpec, now: OffsetDateTime) -> Result<FlowRun, String> {
        let mut run = if let Some(flow) = &spec.flow {
            let queue = self.work_pool(POOL).map(|pool| pool.default_queue_id.clone());
            let flow_id = self.flow_named(flow, Vec::new(), Map::new(), now).0.id.clone();
            FlowRun { work_queue_id: queue, ..FlowRun::new(flow_id, now) }
        } else {
            let first = self.deployments.first().map(|one| one.id.clone());
            let id = match spec.deployment.clone().or(first) {
                Some(id) => id,
                None => self.seed_deployment(DeploymentSpec::default(), now)?,
            };
            let deployment = self.deployment(&id).ok_or_else(|| format!("no deployment {id}"))?;
            FlowRun { deployment_id: Some(id), ..FlowRun::new(deployment.flow_id.clone(), now) }
        };
        run.name = spec.name.clone().unwrap_or(run.name);
        run.job_variables = Some(spec.job_variables.clone());
        run.parameters.clone_from(&spec.parameters);
        run.tags.clone_from(&spec.tags);
        run.labels.clone_from(&spec.labels);
        Ok(run)
    }

    /// Makes a block and returns its id.
    pub fn seed_block(&mut self, spec: BlockSpec, now: OffsetDateTime) -> Result<String, String> {
        let now = times::micros(now);
        if self.blocks.of_type(&spec.block_type).is_none() {
            let secrets: Vec<&str> = spec.secret_fields.iter().map(String::as_str).collect();
            self.blocks.add_type(&spec.block_type, &spec.block_type, &secrets, now);
        }
        let kind = self.blocks.of_type(&spec.block_type).map(|kind| kind.id.clone()).unwrap_or_default();
        let schema = self.blocks.schemas.iter().find(|schema| schema.block_type_id == kind);
        let document = BlockDocument {
            id: id_or_new(spec.id.as_deref())?,
            created: now,
            name: spec.name,
            data: spec.data,
            block_schema_id: schema.map(|schema| schema.id.clone()).unwrap_or_default(),
            block_type_id: kind,
        };
        let id = document.id.clone();
        self.blocks.documents.push(document);
        Ok(id)
    }

    /// Makes a variable, or changes it.
    pub fn seed_variable(&mut self, name: &str, value: Value, now: OffsetDateTime) {
        self.variables.retain(|variable| variable.name != name);
        let (id, created) = (times::new_id(), times::micros(now));
        self.variables.push(Variable { id, created, name: name.to_owned(), value, tags: Vec::new() });
    }

    /// Schedules a run anew, so many seconds from now; see [`Self::force_state`].
    pub fn schedule(&mut self, id: &str, in_seconds: f64, now: OffsetDateTime) -> Result<&'static str, String> {
        let start = times::show(times::micros(now + Duration::seconds_f64(in_seconds)), Generation::Three);
        self.force_state(id, &json!({"type": "SCHEDULED", "state_details": {"scheduled_time": start}}), now)
    }

    /// Pauses a work pool, or one queue of it, or lets it go on.
    pub fn pause(&mut self, pool: &str, queue: Option<&str>, paused: bool, now: OffsetDateTime) -> Result<(), String> {
        let id = match queue {
            None => self.pool_or_404(pool).map_err(said)?.id.clone(),
            Some(queue) => self.queue_or_404(pool, queue).map_err(said)?.id.clone(),
        };
        if let Some(queue) = self.work_queues.iter_mut().find(|queue| queue.id == id) {
            queue.pause(paused, now);
        }
        if queue.is_none() {
            self.pause_pool(pool, paused, now);
        }
        Ok(())
    }

    /// Sets a run's state as the user interface does: forced, which still cancels what has no infrastructure. What the
    /// server answered: `ACCEPT` or `REJECT`.
    pub fn force_state(&mut self, id: &str, given: &Value, now: OffsetDateTime) -> Result<&'static str, String> {
        let now = times::micros(now);
        let state = state(given, now, now)?;
        let decision = self.propose(id, state, Rules::Forced, None, now);
        decision.map(|decision| decision.status).ok_or_else(|| format!("no flow run {id}"))
    }
}

/// A state as in `set_state`, or its type alone; null is Scheduled. Scheduled states without a time get `start`.
fn state(given: &Value, start: OffsetDateTime, now: OffsetDateTime) -> Result<RunState, String> {
    let given = match given {
        Value::Null => json!({"type": "SCHEDULED"}),
        Value::String(kind) => json!({"type": kind}),
        given => given.clone(),
    };
    let has_time = !given["state_details"]["scheduled_time"].is_null();
    let state = Fields::of(&given).and_then(|fields| RunState::read(fields, now)).map_err(said)?;
    Ok(if state.kind == StateType::Scheduled && !has_time { state.starting(start) } else { state })
}
