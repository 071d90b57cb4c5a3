//! Pure: what runs cost, as a table and as JSON.

use super::{Cell, Palette, Tone, plain, table};
use crate::costs::query::{By, Cost, total};
use crate::costs::shown;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the log has no name for.
const NAMELESS: &str = "–";
const SECONDS_PER_HOUR: f64 = 3600.0;

/// One row per name, and what it comes to.
pub(in crate::cli) fn as_text(by: By, costs: &[Cost], palette: Palette) -> String {
    if costs.is_empty() {
        return "No task of a flow run has stopped in that time.\n".to_owned();
    }
    let mut rows: Vec<Vec<Cell>> =
        costs.iter().map(|cost| row(cost.name.as_deref().unwrap_or(NAMELESS), Tone::Plain, cost)).collect();
    let total = total(costs);
    rows.push(row("total", Tone::Heading, &total));
    let name = by.name().to_uppercase();
    let text = table(&[name.as_str(), "RUNS", "TASKS", "BILLED", "USD"], rows, palette);
    if total.without_estimate > 0 {
        let (count, are) = match total.without_estimate {
            1 => ("1 task".to_owned(), "is"),
            count => (format!("{count} tasks"), "are"),
        };
        return format!(
            "{text}{count} without an estimate {are} not in the sum: the field no_estimate of the log says why, and the key \
             `prices` of an agent's configuration sets prices\n"
        );
    }
    text
}

fn row(name: &str, tone: Tone, cost: &Cost) -> Vec<Cell> {
    let is_unknown = cost.tasks > 0 && cost.tasks == cost.without_estimate;
    let known = |text: String| if is_unknown { NAMELESS.to_owned() } else { text };
    let partly = if cost.without_estimate > 0 && !is_unknown { " and more" } else { "" };
    vec![
        Cell(name.to_owned(), tone),
        plain(cost.runs),
        plain(cost.tasks),
        plain(known(format!("{:.2} h", cost.billed_seconds / SECONDS_PER_HOUR))),
        Cell(known(format!("{}{partly}", shown(cost.estimated_cost))), tone),
    ]
}

/// For programs.
pub(in crate::cli) fn as_json(by: By, costs: &[Cost], (since, until): (OffsetDateTime, OffsetDateTime)) -> Value {
    let text = |at: OffsetDateTime| at.format(&Rfc3339).ok();
    json!({
        "by": by.name(),
        "since": text(since),
        "until": text(until),
        "currency": "USD",
        "costs": costs,
        "total": total(costs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(name: Option<&str>, tasks: u64, without_estimate: u64, estimated_cost: f64) -> Cost {
        let billed_seconds = estimated_cost * 18_000.0;
        Cost { name: name.map(str::to_owned), runs: 1, tasks, without_estimate, billed_seconds, estimated_cost }
    }

    #[test]
    fn people_read_what_each_cost_and_what_is_not_in_the_sum() {
        let costs =
            [cost(Some("nightly"), 2, 0, 1.5), cost(Some("odd\u{1b}[31m"), 2, 1, 0.0123), cost(None, 1, 1, 0.0)];
        let text = as_text(By::Deployment, &costs, Palette::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..5],
            [
                "DEPLOYMENT  RUNS  TASKS  BILLED  USD",
                "nightly     1     2      7.50 h  1.50",
                "odd [31m    1     2      0.06 h  0.0123 and more",
                "–           1     1      –       –",
                "total       3     5      7.56 h  1.51 and more",
            ]
        );
        assert!(lines[5].starts_with("2 tasks without an estimate are not in the sum"), "{text}");
        assert!(as_text(By::Flow, &[], Palette::Plain).starts_with("No task"));
    }

    #[test]
    fn programs_read_numbers() {
        let (since, until) = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH + time::Duration::DAY);
        let told = as_json(By::Pool, &[cost(None, 1, 0, 0.5)], (since, until));
        assert_eq!((&told["by"], &told["until"]), (&json!("pool"), &json!("1970-01-02T00:00:00Z")));
        assert_eq!((&told["costs"][0]["name"], &told["total"]["estimated_cost"]), (&Value::Null, &json!(0.5)));
    }
}
