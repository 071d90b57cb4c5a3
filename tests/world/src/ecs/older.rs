//! What has happened, happened longer ago.

use super::Ecs;
use time::Duration;

impl Ecs {
    /// Moves the lives of tasks and of tokens into the past.
    pub(crate) fn grow_older(&mut self, by: Duration) {
        for task in &mut self.tasks {
            task.created_at -= by;
            task.changed_at -= by;
            for time in [&mut task.started_at, &mut task.stopped_at].into_iter().flatten() {
                *time -= by;
            }
        }
        self.tokens.grow_older(by);
        for bucket in self.buckets.values_mut() {
            bucket.at -= by;
        }
    }
}
