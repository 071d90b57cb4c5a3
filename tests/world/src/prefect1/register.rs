//! `register_agent`.

use super::{Agent, execute::Context, failure::Failure, queue, states::database_failure, times};
use serde_json::{Value, json};

/// Registers an agent. One that differs in nothing from an earlier one is the earlier one.
pub(super) fn register_agent(context: &mut Context<'_>, input: &Value) -> Result<Value, Failure> {
    let tenant_id = queue::tenant(context, &input["tenant_id"])?;
    if !context.prefect1.tenants.iter().any(|tenant| tenant.id == tenant_id) {
        return Err(database_failure());
    }
    let agent_config_id = match &input["agent_config_id"] {
        Value::Null => None,
        given => Some(given.as_str().and_then(times::uuid).ok_or_else(|| {
            Failure::new(format!("Expected type UUID, found {given}; Could not parse UUID: {given}"))
        })?),
    };
    let mut labels: Vec<String> =
        input["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    labels.sort();
    let agent = Agent {
        id: times::new_id(),
        tenant_id,
        agent_config_id,
        kind: input["type"].as_str().unwrap_or_default().to_owned(),
        name: input["name"].as_str().map(str::to_owned),
        labels,
        core_version: context.caller.core_version.clone(),
        created: context.now,
        last_queried: None,
    };
    let agents = &mut context.prefect1.agents;
    if let Some(known) = agents.iter().find(|known| is_same(known, &agent)) {
        return Ok(json!({"id": known.id}));
    }
    let id = agent.id.clone();
    agents.push(agent);
    Ok(json!({"id": id}))
}

fn is_same(one: &Agent, other: &Agent) -> bool {
    one.tenant_id == other.tenant_id
        && one.kind == other.kind
        && one.name == other.name
        && one.labels == other.labels
        && one.core_version == other.core_version
}
