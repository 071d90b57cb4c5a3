//! Which tasks of a run a cluster lists: asked by launches, by `task-events` and by stories alike.

use super::outcome::{is_about_cluster, stopping_tasks};
use crate::aws::AwsError;
use crate::aws::ecs::Ecs;

/// The ARNs of all tasks of one `startedBy` in one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedTasks {
    /// Those that run or are to run. One that is not described yet is too new for that, and lives.
    pub running: Vec<String>,
    /// Those that are to stop or have stopped, and are not among the others. One that is not described has stopped.
    pub stopping: Vec<String>,
    /// What is not listed, for people.
    pub warning: Option<String>,
}

impl ListedTasks {
    /// All of them, each once.
    pub fn arns(&self) -> impl Iterator<Item = &String> {
        self.running.iter().chain(&self.stopping)
    }
}

/// Asks a cluster for the tasks of `started_by`; `None` = ECS does not know the cluster.
pub async fn listed_tasks(ecs: &Ecs, cluster: Option<&str>, started_by: &str) -> Result<Option<ListedTasks>, AwsError> {
    let running = match ecs.list_tasks(cluster, started_by).await {
        Ok(arns) => arns,
        Err(error) if is_about_cluster(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // A task that was asked to stop may run on for minutes, but is listed as one that is to be stopped. Asked second: a
    // task that is told to stop meanwhile is in both lists, and not in neither.
    let (mut stopping, warning) = stopping_tasks(ecs.list_stopping_tasks(cluster, started_by).await)?;
    stopping.retain(|arn| !running.contains(arn));
    Ok(Some(ListedTasks { running, stopping, warning }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::aws::test_server::{Request, Server, json};
    use serde_json::json as value;
    use std::sync::{Arc, Mutex};

    /// What is listed where ECS answers so to the questions for running and for stopping tasks.
    async fn listed(answers: [(u16, serde_json::Value); 2]) -> (Result<Option<ListedTasks>, AwsError>, Vec<String>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let server = Server::start(move |request: &Request| {
            let status = request.json()["desiredStatus"].as_str().unwrap_or("RUNNING").to_owned();
            let (code, body) = &answers[usize::from(status == "STOPPED")];
            seen.lock().unwrap().push(status);
            json(*code, body)
        })
        .await;
        let ecs = server.clients().await.for_agent(None, None).await.ecs.clone();
        let listed = listed_tasks(&ecs, Some("c"), "prefect/etl/1").await;
        (listed, asked.lock().unwrap().clone())
    }

    fn arns(arns: &[&str]) -> (u16, serde_json::Value) {
        (200, value!({ "taskArns": arns }))
    }

    #[tokio::test]
    async fn what_stops_while_it_is_asked_for_is_listed_once_and_as_running() {
        let (found, asked) = listed([arns(&["a", "b"]), arns(&["b", "c"])]).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.arns().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((found.stopping, found.warning), (vec!["c".to_owned()], None));
        assert_eq!(asked, ["RUNNING", "STOPPED"], "one after the other, in this order");
    }

    #[tokio::test]
    async fn no_cluster_is_no_list_and_a_refusal_is_an_error() {
        let refused = |code: &str| (400, value!({ "__type": code, "message": "no" }));
        let (found, asked) = listed([refused("ClusterNotFoundException"), arns(&[])]).await;
        assert_eq!((found, asked.len()), (Ok(None), 1));
        let (denied, _) = listed([arns(&["a"]), refused("AccessDeniedException")]).await;
        assert_eq!(denied.unwrap_err().code(), Some("AccessDeniedException"));
    }
}
