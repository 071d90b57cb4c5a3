//! What has happened, happened longer ago.

use super::Ecs;
use time::Duration;

impl Ecs {
    /// Moves the lives of tasks and of tokens into the past.
    pub(crate) fn grow_older(&mut self, by: Duration) {
        for task in &mut self.tasks {
            task.created_at -= by;
            task.changed_at -= by;
            let pulled = [&mut task.pull_started_at, &mut task.pull_stopped_at];
            for time in pulled.into_iter().chain([&mut task.started_at, &mut task.stopped_at]).flatten() {
                *time -= by;
            }
        }
        self.tokens.grow_older(by);
        for bucket in self.buckets.values_mut() {
            bucket.at -= by;
        }
    }
}
