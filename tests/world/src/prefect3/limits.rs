//! Concurrency limits of deployments, by themselves.

use super::{
    Deployment, Limit,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    routes::Call,
};

fn is_meant(deployment: &Deployment, id_or_name: &str) -> bool {
    let name = id_or_name.strip_prefix("deployment:");
    name == Some(deployment.id.as_str()) || deployment.limit.as_ref().is_some_and(|limit| limit.id == id_or_name)
}

fn find<'a>(call: &'a Call<'_>) -> Outcome<(&'a Deployment, &'a Limit)> {
    let wanted = call.parameter(0);
    let deployment = call.prefect3.deployments.iter().find(|one| is_meant(one, &wanted));
    deployment
        .and_then(|one| Some((one, one.limit.as_ref()?)))
        .ok_or_else(|| detail(404, "Concurrency Limit not found"))
}

/// `GET /v2/concurrency_limits/{id or name}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let (deployment, limit) = find(call)?;
    Ok(Answer::ok(call.prefect3.limit_row(deployment, limit)))
}

/// `PATCH /v2/concurrency_limits/{id or name}`: the way to a limit of 0.
pub(super) fn update(call: &mut Call<'_>) -> Outcome {
    let known = ["active", "name", "limit", "active_slots", "denied_slots", "slot_decay_per_second"];
    let fields = Fields::of(call.body)?.only(&known)?;
    let (limit, active_slots) = (fields.integer("limit", 0)?, fields.integer("active_slots", 0)?);
    let active = fields.boolean("active")?;
    let id = find(call)?.0.id.clone();
    if let Some(known) = call.prefect3.deployment_mut(&id).and_then(|one| one.limit.as_mut()) {
        known.limit = limit.unwrap_or(known.limit);
        known.active_slots = active_slots.unwrap_or(known.active_slots);
        known.active = active.unwrap_or(known.active);
    }
    Ok(Answer::empty())
}
