//! Labels of a flow run's infrastructure.

use super::{FlowRunContext, Generation, PrefectDeployment, WorkerSettings};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// What names the run, then the configuration's own labels; those win.
pub(crate) fn labels(
    worker: &WorkerSettings,
    run: &FlowRunContext<'_>,
    own: &Map<String, Value>,
) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| {
        labels.insert(format!("prefect.io/{name}"), value.into());
    };
    add("flow-run-id", &run.flow_run.id);
    add("flow-run-name", &run.flow_run.name);
    add("version", &worker.prefect_version);
    match worker.generation {
        Generation::Two => {
            add_deployment(&mut add, run, |time| format!("{}Z", date_time(time)));
            add_flow(&mut add, run);
        }
        Generation::Three => {
            add("work-pool-name", &run.work_pool.name);
            add("work-pool-id", &run.work_pool.id);
            add("worker-name", &worker.worker_name);
            add_flow(&mut add, run);
            add_deployment(&mut add, run, |time| format!("{}+00:00", date_time(time)));
        }
    }
    labels.extend(own.clone());
    labels
}

fn add_flow(add: &mut impl FnMut(&str, &str), run: &FlowRunContext<'_>) {
    add("flow-id", &run.flow.id);
    add("flow-name", &run.flow.name);
}

fn add_deployment(
    add: &mut impl FnMut(&str, &str),
    run: &FlowRunContext<'_>,
    spell: impl Fn(OffsetDateTime) -> String,
) {
    let Some(deployment) = run.deployment else { return };
    add("deployment-id", &deployment.id);
    add("deployment-name", &deployment.name);
    if let Some(updated) = updated(deployment) {
        add("deployment-updated", &spell(updated));
    }
}

fn updated(deployment: &PrefectDeployment) -> Option<OffsetDateTime> {
    let updated = OffsetDateTime::parse(deployment.updated.as_deref()?, &Rfc3339).ok()?;
    Some(updated.to_offset(UtcOffset::UTC))
}

/// `2026-01-02T03:04:05.678901`; no fraction where there is none.
fn date_time(time: OffsetDateTime) -> String {
    let (hour, minute, second) = time.to_hms();
    let whole = format!("{}T{hour:02}:{minute:02}:{second:02}", time.date());
    match time.microsecond() {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

#[cfg(test)]
mod tests;
