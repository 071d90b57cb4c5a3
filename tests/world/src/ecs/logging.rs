//! Where the containers of a task write: the streams of their `awslogs` configuration.

use super::Task;
use crate::{World, route::Scope, world::State};

/// A container's log stream, with the account and region that it is in.
struct Stream {
    scope: Scope,
    group: String,
    name: String,
}

/// The stream of a task's container; none when it logs elsewhere, or nowhere.
fn stream(state: &State, arn: &str, container: &str) -> Option<Stream> {
    let task: &Task = state.ecs.tasks.iter().find(|task| task.arn == arn)?;
    let definition = state.ecs.find_definition(&task.scope, &task.definition_arn)?;
    let configuration = &definition.container(container)?["logConfiguration"];
    let option = |key: &str| configuration["options"][key].as_str().map(str::to_owned);
    if configuration["logDriver"] != "awslogs" {
        return None;
    }
    let id = task.arn.rsplit('/').next().unwrap_or_default();
    let name = option("awslogs-stream-prefix").map_or_else(|| id.to_owned(), |it| format!("{it}/{container}/{id}"));
    let region = option("awslogs-region").unwrap_or_else(|| task.scope.region.clone());
    let scope = Scope { region, account: task.scope.account.clone() };
    Some(Stream { scope, group: option("awslogs-group")?, name })
}

impl State {
    /// A container writes lines; false when they go nowhere.
    pub(super) fn container_writes(&mut self, arn: &str, container: &str, lines: Vec<String>) -> bool {
        let Some(stream) = stream(self, arn, container) else { return false };
        let now = self.now();
        self.logs.write(&stream.scope, (&stream.group, &stream.name), lines, now);
        true
    }
}

impl World {
    /// A container of a task writes lines to the stream of its `awslogs` configuration; false when it has none.
    pub fn ecs_container_writes(
        &self,
        arn: &str,
        container: &str,
        lines: impl IntoIterator<Item = impl Into<String>>,
    ) -> bool {
        let lines = lines.into_iter().map(Into::into).collect();
        self.lock().container_writes(arn, container, lines)
    }
}

/// The lines of an output.
pub(super) fn lines(output: &str) -> Vec<String> {
    output.lines().map(str::to_owned).collect()
}
