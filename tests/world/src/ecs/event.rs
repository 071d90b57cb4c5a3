//! "ECS Task State Change": what EventBridge tells of a task.

use super::Task;
use crate::World;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use uuid::Uuid;

const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl World {
    /// The event of a task's last change. The same change always gives the same event.
    ///
    /// # Panics
    /// When there is no such task.
    #[allow(clippy::panic, reason = "a test that asks for nonsense must hear of it at once")]
    pub fn task_event(&self, arn: &str) -> Value {
        let state = self.lock();
        let task = state.ecs.tasks.iter().find(|task| task.arn == arn);
        task.unwrap_or_else(|| panic!("no task {arn}")).event()
    }
}

impl Task {
    /// Its last change, as `EventBridge` delivers it.
    pub fn event(&self) -> Value {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}/{}", self.arn, self.version).as_bytes());
        json!({
            "version": "0",
            "id": id.to_string(),
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "account": self.scope.account,
            "time": spelled(self.changed_at, SECONDS),
            "region": self.scope.region,
            "resources": [self.arn],
            "detail": self.detail(),
        })
    }

    /// As `DescribeTasks` has it, with the times as texts and without tags.
    fn detail(&self) -> Value {
        let mut detail = match self.describe(false) {
            Value::Object(detail) => detail,
            _ => Map::new(),
        };
        detail.remove("tags");
        let mut set_time = |key: &str, time: Option<OffsetDateTime>| {
            if let Some(time) = time {
                detail.insert(key.to_owned(), json!(spelled(time, MILLISECONDS)));
            }
        };
        set_time("createdAt", Some(self.created_at));
        set_time("updatedAt", Some(self.changed_at));
        set_time("pullStartedAt", self.pull_started_at.or(self.started_at));
        set_time("pullStoppedAt", self.pull_stopped_at.or(self.started_at));
        set_time("connectivityAt", self.started_at);
        set_time("startedAt", self.started_at);
        set_time("stoppingAt", self.stopped_at);
        set_time("stoppedAt", self.stopped_at);
        set_time("executionStoppedAt", self.stopped_at.filter(|_| self.started_at.is_some()));
        if self.started_at.is_some() {
            detail.insert("connectivity".to_owned(), json!("CONNECTED"));
        }
        detail.insert("availabilityZone".to_owned(), json!(format!("{}a", self.scope.region)));
        for attachment in detail.get_mut("attachments").and_then(Value::as_array_mut).into_iter().flatten() {
            attachment["type"] = json!("eni");
        }
        self.name_all_containers(&mut detail);
        Value::Object(detail)
    }

    /// The overrides have an entry for every container, also for those of which nothing was changed.
    fn name_all_containers(&self, detail: &mut Map<String, Value>) {
        let Some(overrides) = detail.get_mut("overrides").and_then(|all| all["containerOverrides"].as_array_mut())
        else {
            return;
        };
        for container in &self.containers {
            if !overrides.iter().any(|known| known["name"] == container.name) {
                overrides.push(json!({"name": container.name}));
            }
        }
    }
}

fn spelled(time: OffsetDateTime, as_in: &[BorrowedFormatItem<'_>]) -> String {
    time.to_offset(time::UtcOffset::UTC).format(as_in).unwrap_or_default()
}
