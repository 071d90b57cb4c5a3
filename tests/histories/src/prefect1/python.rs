//! A Python agent of Prefect 1 on the same queue: it knows no marks and no tokens, and fails runs on a throttle.

use super::client::of_flow_run;
use super::server::{Kind, State};
use crate::call::Call;
use crate::port::{Arrival, Port};
use crate::run::{Config, Flavour, RunId, object};
use prefect_serverless_agent::launch::Definition;
use serde_json::{Map, Value, json};

/// One poll.
pub async fn poll(port: Port) {
    let due = |arrival: &mut Arrival<'_>| {
        let now = arrival.now;
        let is_due = |state: &State| state.kind == Kind::Scheduled && state.start_time.is_none_or(|start| start <= now);
        let rows = arrival.world.one.runs.iter().filter(|(_, row)| is_due(&row.state));
        rows.map(|(run, row)| (*run, row.version, row.state.clone())).collect::<Vec<_>>()
    };
    let Ok(runs) = port.call(Call::DueRuns, due).await else { return };
    for (run, version, received) in runs {
        let claim = |arrival: &mut Arrival<'_>| {
            let set = of_flow_run(run, Some(version), State::submitted(&received, None));
            arrival.world.one.set(&set, arrival.now).is_ok()
        };
        if port.call(Call::Claim, claim).await != Ok(true) {
            continue;
        }
        let launch = |arrival: &mut Arrival<'_>| launch(arrival, run);
        if port.call(Call::RunTask, launch).await != Ok(true) {
            let fail = |arrival: &mut Arrival<'_>| {
                let set = of_flow_run(run, None, State::plain(Kind::Failed));
                arrival.world.one.set(&set, arrival.now).is_ok()
            };
            let _ = port.call(Call::Fail, fail).await;
        }
    }
}

/// Starts a task as Python does. Whether there is one now.
pub(crate) fn launch(arrival: &mut Arrival<'_>, run: RunId) -> bool {
    let Some(body) = request(arrival, run) else { return false };
    let now = arrival.now;
    let done = arrival.world.ecs.run_task(&body, now);
    arrival.world.plan(done.coming);
    let world = &mut *arrival.world;
    if let Some(task) = done.task.as_ref().ok().and_then(|index| world.ecs.tasks.get(*index)) {
        world.audit.started(arrival.actor, task, world.ecs.tasks_of(run));
    }
    done.task.is_ok()
}

/// It registers a definition per run, and sends neither token nor `startedBy`.
fn request(arrival: &mut Arrival<'_>, run: RunId) -> Option<Map<String, Value>> {
    let flavour = arrival.world.flavour(run);
    let rendered = Config::default().render(run, flavour).ok().filter(|_| flavour == Flavour::Good)?;
    let Definition::Own(mut definition) = rendered.spec.definition else { return None };
    definition.insert("family".into(), json!("prefect-python"));
    let arn = arrival.world.ecs.families.register(&definition);
    let mut body = object(json!({"taskDefinition": arn}));
    body.extend(rendered.spec.run_task);
    Some(body)
}
