//! What the runs of a deployment cost, out of the log of its function `task-events`: the query for `CloudWatch` Logs
//! Insights, and what its answer says.

use crate::aws::AwsError;
use crate::aws::services::QueryRow;
use serde::Serialize;

/// What costs are added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// The deployment (Prefect 2 and 3).
    Deployment,
    /// The flow.
    Flow,
    /// The work pool (Prefect 2 and 3).
    Pool,
    /// The agent.
    Agent,
}

/// Rows of an answer at most. What is beyond them is named as being there.
pub const MOST_ROWS: usize = 1000;

impl By {
    /// The log line's field.
    fn field(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Flow => "flow",
            Self::Pool => "work_pool",
            Self::Agent => "agent",
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            other => other.field(),
        }
    }
}

/// The query. An event may be told twice: each task counts once.
pub fn query(by: By) -> String {
    let field = by.field();
    format!(
        "filter ispresent(estimated_cost) or ispresent(no_estimate) \
         | stats max(estimated_cost) as cost, max(billed_seconds) as seconds by task_arn, flow_run_id, {field} \
         | stats sum(cost) as usd, sum(seconds) as billed, count(*) as tasks, count(cost) as estimated, \
         count_distinct(flow_run_id) as runs by {field} \
         | sort usd desc \
         | limit {MOST_ROWS}"
    )
}

/// What the runs of one name cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Its name; `None` = the log does not tell.
    pub name: Option<String>,
    /// Flow runs.
    pub runs: u64,
    /// Their tasks: a run has one per attempt.
    pub tasks: u64,
    /// Tasks without an estimate: the sum lacks them.
    pub without_estimate: u64,
    /// How long the others were billed, in seconds.
    pub billed_seconds: f64,
    /// What the others cost, in US dollars.
    pub estimated_cost: f64,
}

/// Reads the answer's rows. Sums of nothing are left out by Insights.
pub fn costs(by: By, rows: &[QueryRow]) -> Result<Vec<Cost>, AwsError> {
    rows.iter().map(|row| cost(by, row)).collect()
}

fn cost(by: By, row: &QueryRow) -> Result<Cost, AwsError> {
    let number = |field: &str| match row.get(field).map(|text| text.parse::<f64>()) {
        None => Ok(0.0),
        Some(Ok(number)) if number.is_finite() => Ok(number),
        _ => Err(AwsError::Malformed(format!("the query's `{field}` is no number"))),
    };
    let (tasks, estimated) = (whole(number("tasks")?), whole(number("estimated")?));
    Ok(Cost {
        name: row.get(by.field()).filter(|name| !name.is_empty()).cloned(),
        runs: whole(number("runs")?),
        tasks,
        without_estimate: tasks.saturating_sub(estimated),
        billed_seconds: number("billed")?,
        estimated_cost: number("usd")?,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts; saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// All of them together.
pub fn total(costs: &[Cost]) -> Cost {
    let zero = Cost { name: None, runs: 0, tasks: 0, without_estimate: 0, billed_seconds: 0.0, estimated_cost: 0.0 };
    costs.iter().fold(zero, |sum, cost| Cost {
        name: None,
        runs: sum.runs + cost.runs,
        tasks: sum.tasks + cost.tasks,
        without_estimate: sum.without_estimate + cost.without_estimate,
        billed_seconds: sum.billed_seconds + cost.billed_seconds,
        estimated_cost: sum.estimated_cost + cost.estimated_cost,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(fields: &[(&str, &str)]) -> QueryRow {
        fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn rows_are_read_with_what_they_leave_out() {
        let rows = [
            row(&[
                ("deployment", "nightly"),
                ("usd", "1.25E-2"),
                ("billed", "1800"),
                ("tasks", "3"),
                ("estimated", "2"),
                ("runs", "2"),
            ]),
            row(&[("tasks", "1"), ("estimated", "0"), ("runs", "1")]),
        ];
        let read = costs(By::Deployment, &rows).unwrap();
        let nightly = Cost {
            name: Some("nightly".into()),
            runs: 2,
            tasks: 3,
            without_estimate: 1,
            billed_seconds: 1800.0,
            estimated_cost: 0.0125,
        };
        assert_eq!(read[0], nightly);
        assert_eq!((&read[1].name, read[1].without_estimate, read[1].estimated_cost), (&None, 1, 0.0));
        let sum = total(&read);
        assert_eq!((sum.runs, sum.tasks, sum.without_estimate, sum.estimated_cost), (3, 4, 2, 0.0125));
    }

    #[test]
    fn what_is_no_number_is_no_answer() {
        for odd in ["much", "NaN", "inf", ""] {
            assert!(matches!(costs(By::Flow, &[row(&[("usd", odd)])]), Err(AwsError::Malformed(_))), "{odd}");
        }
    }
}
