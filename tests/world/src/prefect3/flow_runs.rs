//! The operations on flow runs.

use super::{
    FlowRun, Policy, Prefect3, RunState, StateType,
    answer::{Answer, Outcome, Refusal, detail, exception},
    fields::Fields,
    filters::Page,
    orchestrate::Rules,
    routes::Call,
    search, times,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// A flow run to be created.
pub(super) struct NewRun {
    pub(super) run: FlowRun,
    pub(super) state: RunState,
}

impl NewRun {
    /// With what both ways of creating have in common.
    fn read(fields: &Fields<'_>, flow_id: String, default: StateType, now: OffsetDateTime) -> Outcome<Self> {
        let state = fields.child("state")?.map(|state| RunState::read(state, now)).transpose()?;
        let mut run = FlowRun::new(flow_id, now);
        run.name = fields.text("name")?.filter(|name| !name.is_empty()).unwrap_or(run.name);
        run.parameters = fields.object("parameters")?.unwrap_or_default();
        run.context = fields.object("context")?.unwrap_or_default();
        run.tags = fields.texts("tags")?.unwrap_or_default();
        run.labels = fields.object("labels")?.unwrap_or_default();
        run.idempotency_key = fields.text("idempotency_key")?;
        run.job_variables = fields.object("job_variables")?;
        run.policy = fields.get("empirical_policy").map(Policy::read).unwrap_or_default();
        Ok(Self { run, state: state.unwrap_or_else(|| RunState::new(default, now)) })
    }
}

impl FlowRun {
    /// A run of a flow, without a state.
    pub(super) fn new(flow_id: String, now: OffsetDateTime) -> Self {
        Self {
            id: times::new_id(),
            created: now,
            updated: now,
            name: times::new_name(),
            flow_id,
            deployment_id: None,
            deployment_version: None,
            work_queue_id: None,
            work_queue_name: None,
            flow_version: None,
            parameters: Map::new(),
            idempotency_key: None,
            context: Map::new(),
            policy: Policy::default(),
            tags: Vec::new(),
            labels: Map::new(),
            run_count: 0,
            expected_start_time: None,
            next_scheduled_start_time: None,
            start_time: None,
            end_time: None,
            total_run_time: time::Duration::ZERO,
            infrastructure_pid: None,
            job_variables: Some(Map::new()),
            states: Vec::new(),
            starts: 0,
        }
    }
}

/// `POST /flow_runs/`
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    let known = [
        "name",
        "flow_id",
        "deployment_id",
        "flow_version",
        "parameters",
        "context",
        "parent_task_run_id",
        "infrastructure_document_id",
        "empirical_policy",
        "tags",
        "labels",
        "idempotency_key",
        "work_pool_name",
        "work_queue_name",
        "job_variables",
        "state",
    ];
    let fields = Fields::of(call.body)?.only(&known)?;
    fields.required("flow_id")?;
    let flow_id = fields.id("flow_id")?.unwrap_or_default();
    let mut new = NewRun::read(&fields, flow_id, StateType::Pending, call.now)?;
    new.run.deployment_id = fields.id("deployment_id")?;
    new.run.flow_version = fields.text("flow_version")?;
    new.run.work_queue_name = fields.text("work_queue_name")?;
    if new.run.idempotency_key.is_none() {
        new.run.job_variables.get_or_insert_default();
    }
    if let Some(pool) = fields.text("work_pool_name")? {
        let queue = match &new.run.work_queue_name {
            Some(name) => call.prefect3.queue_or_404(&pool, name)?.id.clone(),
            None => call.prefect3.pool_or_404(&pool)?.default_queue_id.clone(),
        };
        new.run.work_queue_id = Some(queue);
    }
    created(call, new)
}

/// `POST /deployments/{id}/create_flow_run`
pub(super) fn create_from_deployment(call: &mut Call<'_>) -> Outcome {
    let known = [
        "state",
        "name",
        "parameters",
        "enforce_parameter_schema",
        "context",
        "infrastructure_document_id",
        "empirical_policy",
        "tags",
        "idempotency_key",
        "labels",
        "parent_task_run_id",
        "work_queue_name",
        "job_variables",
    ];
    let fields = Fields::of(call.body)?.only(&known)?;
    let deployment = call.prefect3.deployment_or_404(&call.parameter(0))?.clone();
    let mut new = NewRun::read(&fields, deployment.flow_id.clone(), StateType::Scheduled, call.now)?;
    new.run.job_variables.get_or_insert_default();
    let queue = match fields.text("work_queue_name")? {
        None => None,
        Some(name) => {
            let place = call.prefect3.queue_and_pool(deployment.work_queue_id.as_deref());
            let pool = place.map(|(_, pool)| pool.name.clone());
            let pool = pool.ok_or_else(|| detail(400, format!("Cannot create flow run in work queue {name} because deployment {} is not associated with a work pool. Please remove work_pool_name and try again.", deployment.id)))?;
            Some((call.prefect3.queue_or_new(&pool, &name, call.now)?, name))
        }
    };
    new.of(&deployment);
    if let Some((id, name)) = queue {
        (new.run.work_queue_id, new.run.work_queue_name) = (Some(id), Some(name));
    }
    created(call, new)
}

impl NewRun {
    /// Takes from a deployment what the run itself does not say.
    pub(super) fn of(&mut self, deployment: &super::Deployment) {
        let run = &mut self.run;
        let mut parameters = deployment.parameters.clone();
        parameters.extend(std::mem::take(&mut run.parameters));
        run.parameters = parameters;
        let mut tags = deployment.tags.clone();
        tags.append(&mut run.tags);
        tags.dedup();
        run.tags = tags;
        run.deployment_id = Some(deployment.id.clone());
        run.deployment_version.clone_from(&deployment.version);
        run.work_queue_id.clone_from(&deployment.work_queue_id);
        run.work_queue_name.clone_from(&deployment.work_queue_name);
    }
}

fn created(call: &mut Call<'_>, new: NewRun) -> Outcome {
    if call.prefect3.flow(&new.run.flow_id).is_none() {
        return Err(integrity());
    }
    let (id, is_new) = call.prefect3.add_flow_run(new, call.now);
    let run = call.prefect3.flow_run(&id).ok_or_else(|| detail(404, "Flow run not found"))?;
    Ok(Answer::json(if is_new { 201 } else { 200 }, call.prefect3.flow_run_row(run, call.now)))
}

/// What the server says when a row names another that is not there.
pub(super) fn integrity() -> Refusal {
    detail(
        409,
        "Data integrity conflict. This usually means a unique or foreign key constraint was violated. See server logs \
         for details.",
    )
}

impl Prefect3 {
    /// Adds a run; its id, and whether it was not there already by its idempotency key.
    pub(super) fn add_flow_run(&mut self, new: NewRun, now: OffsetDateTime) -> (String, bool) {
        let NewRun { mut run, state } = new;
        let same = |one: &&FlowRun| one.flow_id == run.flow_id && one.idempotency_key == run.idempotency_key;
        if run.idempotency_key.is_some()
            && let Some(known) = self.flow_runs.iter().find(same)
        {
            return (known.id.clone(), false);
        }
        let own = std::mem::take(&mut run.labels);
        run.labels = self.flow(&run.flow_id).map(|flow| flow.labels.clone()).unwrap_or_default();
        run.labels.insert("prefect.flow.id".to_owned(), run.flow_id.clone().into());
        if let Some(deployment) = run.deployment_id.as_deref().and_then(|id| self.deployment(id)) {
            run.labels.extend(deployment.labels.clone());
            run.labels.insert("prefect.deployment.id".to_owned(), deployment.id.clone().into());
        }
        run.labels.extend(own);
        let id = run.id.clone();
        self.flow_runs.push(run);
        self.propose(&id, state, Rules::Forced, None, now);
        (id, true)
    }
}

/// `GET /flow_runs/{id}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let run = call.prefect3.flow_run(&call.parameter(0)).ok_or_else(|| detail(404, "Flow run not found"))?;
    Ok(Answer::ok(call.prefect3.flow_run_row(run, call.now)))
}

/// `POST /flow_runs/filter`
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    if call.prefect3.switches.generation.is_two() {
        search::refuse_later(call.body)?;
    }
    let runs = search::flow_runs(call.prefect3, &fields)?;
    Ok(Answer::ok(page.of(runs, |run| call.prefect3.flow_run_row(run, call.now))))
}

/// `PATCH /flow_runs/{id}`
pub(super) fn update(call: &mut Call<'_>) -> Outcome {
    let known =
        ["name", "flow_version", "parameters", "empirical_policy", "tags", "infrastructure_pid", "job_variables"];
    let fields = Fields::of(call.body)?.only(&known)?;
    let (name, flow_version) = (fields.text("name")?, fields.text("flow_version")?);
    let (pid, tags) = (fields.text("infrastructure_pid")?, fields.texts("tags")?);
    let (parameters, job_variables) = (fields.object("parameters")?, fields.object("job_variables")?);
    let run = call.prefect3.flow_run_mut(&call.parameter(0)).ok_or_else(|| detail(404, "Flow run not found"))?;
    if job_variables.is_some() {
        let kind = run.state_type();
        if kind != Some(StateType::Scheduled) {
            let kind = kind.map(StateType::name).unwrap_or_default();
            return Err(detail(400, format!("Job variables for a flow run in state {kind} cannot be updated")));
        }
        run.job_variables = job_variables;
    }
    if fields.has("infrastructure_pid") {
        run.infrastructure_pid = pid;
    }
    run.name = name.unwrap_or_else(|| run.name.clone());
    run.flow_version = flow_version.or_else(|| run.flow_version.take());
    run.tags = tags.unwrap_or_else(|| run.tags.clone());
    run.parameters = parameters.unwrap_or_else(|| run.parameters.clone());
    if let Some(policy) = fields.get("empirical_policy") {
        run.policy = Policy::read(policy);
    }
    run.updated = call.now;
    Ok(Answer::empty())
}

/// `DELETE /flow_runs/{id}`
pub(super) fn delete(call: &mut Call<'_>) -> Outcome {
    let id = call.parameter(0);
    call.prefect3.flow_run(&id).ok_or_else(|| detail(404, "Flow run not found"))?;
    call.prefect3.flow_runs.retain(|run| run.id != id);
    Ok(Answer::empty())
}

/// `PATCH /flow_runs/{id}/labels`: adds labels.
pub(super) fn labels(call: &mut Call<'_>) -> Outcome {
    let switches = &call.prefect3.switches;
    if switches.generation.is_two() || !switches.labels {
        return Err(detail(404, "Not Found"));
    }
    let labels = call.body.as_object().cloned().ok_or_else(|| {
        super::answer::invalid("dict_type", &["body".into()], "Input should be a valid dictionary", call.body)
    })?;
    let id = call.parameter(0);
    let run = call.prefect3.flow_run_mut(&id);
    let run = run.ok_or_else(|| exception(404, format!("Flow run with id {id} not found")))?;
    run.labels.extend(labels.into_iter().collect::<Map<String, Value>>());
    run.updated = call.now;
    Ok(Answer::empty())
}
