//! What runs of an agent ask for, read for people who set it up or examine it. Nothing is written.

use super::{Prefect1, queries, states};
use crate::flow_run::prefect1::FlowRun;
use crate::model::ApiError;
use crate::orchestrator::{RenderError, RunDescription};
use crate::transport::shape;
use serde_json::Value;
use std::sync::Arc;

/// What the last flow runs of an agent would be launched from.
pub struct LastRuns {
    /// The name of a flow, and one run for each of its run configurations, or why that cannot be understood.
    pub described: Vec<(String, Result<RunDescription, RenderError>)>,
    /// There are more flow runs than were read, of whichever agent.
    pub is_truncated: bool,
}

/// A run of a flow, or why it cannot be understood.
type LastRun = Result<Arc<FlowRun>, RenderError>;

impl Prefect1 {
    /// What a platform would launch the last flow runs of this agent from, whatever became of them. To be asked after
    /// [`Orchestrator::connect`](crate::orchestrator::Orchestrator::connect).
    pub async fn describe_last(&self) -> Result<LastRuns, ApiError> {
        let session = self.session();
        let answer = self.transport.read(self.sender(&session), &queries::last_runs(&session.scope())).await?;
        let mut found: Vec<(String, LastRun)> = Vec::new();
        let rows = answer.list("flow_run")?;
        for row in rows {
            if let Some((flow, run)) = last_run(row, &session.config.generation.labels)
                && !found.iter().any(|(known_flow, known)| *known_flow == flow && is_same(known, &run))
            {
                found.push((flow, run));
            }
        }
        let described = |run| RunDescription::One(Arc::clone(&session.settings), run);
        let described = found.into_iter().map(|(flow, run)| (flow, run.map(described))).collect();
        Ok(LastRuns { described, is_truncated: rows.len() >= queries::PAGE_ROWS })
    }

    /// What a platform would launch this run from, which the API need not know.
    pub fn describe_imagined(&self, run: FlowRun) -> RunDescription {
        RunDescription::One(Arc::clone(&self.session().settings), Arc::new(run))
    }
}

/// The run of a row and its flow's name; `None` = an agent of these labels does not take it.
fn last_run(row: &Value, labels: &[String]) -> Option<(String, LastRun)> {
    let of_run = match row.get("labels") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(labels)) => labels.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    // Of one whose labels cannot be understood it is not known whose it is.
    if of_run.as_ref().is_some_and(|of_run| !queries::takes(labels, of_run)) {
        return None;
    }
    let run = match (states::flow_run_of(row), of_run) {
        (Ok(run), Some(_)) => return Some((run.flow.name.clone(), Ok(Arc::new(run)))),
        (Ok(_), None) => "its labels are no list of texts".to_owned(),
        (Err((_, why)), _) => why,
    };
    let flow = shape::text_at(row, &["flow", "name"]).unwrap_or("a flow without a name").to_owned();
    Some((flow, Err(RenderError::NotUnderstood(format!("its last flow run: {run}")))))
}

fn is_same(one: &LastRun, other: &LastRun) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one.run_config == other.run_config,
        (one, other) => one.as_ref().err() == other.as_ref().err(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::test_support::{Server, ok, prefect, scheduled_row, setup};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn each_run_configuration_is_there_once_and_what_cannot_be_understood_is_not_passed_over() {
        let row = |labels: Value, change: fn(&mut Value)| {
            let mut row = scheduled_row();
            row["labels"] = labels;
            change(&mut row);
            row
        };
        let rows = json!([
            row(json!(["prod"]), |_| {}),
            row(json!(["prod"]), |_| {}),
            row(json!(["prod"]), |row| row["run_config"]["cpu"] = json!("512")),
            row(json!(["other"]), |row| row["flow"] = json!(7)),
            row(json!(["prod"]), |row| row["version"] = json!("odd")),
            row(json!(["prod"]), |row| row["flow"] = json!(7)),
            row(json!("odd"), |_| {}),
            7,
        ]);
        let server = Server::start(move |_, _| ok(json!({ "flow_run": rows }))).await;
        let found = prefect(setup(&server.api)).describe_last().await.unwrap();
        assert!(!found.is_truncated);
        let found = found.described.into_iter().map(|(flow, described)| match described {
            Ok(_) => (flow, String::new()),
            Err(RenderError::NotUnderstood(why)) => (flow, why),
            Err(other) => panic!("{other:?}"),
        });
        let flow = "My Flow é";
        let expected = [
            (flow, ""),
            (flow, ""),
            (flow, "its last flow run: the run has no version"),
            ("a flow without a name", "its last flow run: the run has no flow"),
            (flow, "its last flow run: its labels are no list of texts"),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected.map(|(flow, why)| (flow.to_owned(), why.to_owned())));
    }

    #[tokio::test]
    async fn a_full_page_may_not_be_all() {
        let server = Server::start(|_, _| ok(json!({ "flow_run": vec![scheduled_row(); queries::PAGE_ROWS] }))).await;
        assert!(prefect(setup(&server.api)).describe_last().await.unwrap().is_truncated);
    }
}
