//! Logs Insights: `StartQuery`, `GetQueryResults` and `StopQuery`, for queries of `filter ispresent(…) or …`, `stats … by …`,
//! `sort` and `limit`. What is none of these is refused, as a query that cannot be understood.

use super::{Event, Logs};
use crate::{answer::ServiceError, route::Scope};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The longest query.
const LONGEST: usize = 10_000;

/// A query that was started.
#[derive(Debug)]
pub(super) struct Query {
    results: Vec<Row>,
    matched: usize,
    scanned: usize,
    /// So often somebody asks in vain.
    running_for: usize,
    is_stopped: bool,
}

/// Values by field; what a row lacks is not in it.
type Row = BTreeMap<String, Value>;

fn malformed(why: &str) -> ServiceError {
    ServiceError::new("MalformedQueryException", format!("unexpected symbol found {why}"))
}

fn invalid(message: &str) -> ServiceError {
    ServiceError::new("InvalidParameterException", message)
}

impl Logs {
    pub(super) fn start_query(&mut self, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
        let group = input["logGroupName"].as_str().ok_or_else(|| invalid("Provide at least one log group"))?;
        let query = input["queryString"].as_str().filter(|query| query.len() <= LONGEST);
        let query = query.ok_or_else(|| invalid("1 validation error detected: queryString"))?;
        let time = |key: &str| input[key].as_i64().ok_or_else(|| invalid(&format!("{key} must be seconds since 1970")));
        let (from, to) = (time("startTime")?, time("endTime")?);
        if from < 0 || from > to {
            return Err(invalid("Query's end date and time must be after its start"));
        }
        let streams = self.groups.get(&(scope.clone(), group.to_owned())).ok_or_else(|| {
            let message = format!("Log group '{group}' does not exist for account ID '{}'", scope.account);
            ServiceError::new("ResourceNotFoundException", message)
        })?;
        let range = i128::from(from) * 1000..=i128::from(to) * 1000 + 999;
        let events = streams.values().flatten().filter(|event| range.contains(&event.timestamp));
        let rows: Vec<Row> = events.map(fields).collect();
        let (scanned, commands) = (rows.len(), query.split('|').map(str::trim));
        let mut matched = scanned;
        let mut results = rows;
        for command in commands {
            results = run(command, results)?;
            if command.starts_with("filter") {
                matched = results.len();
            }
        }
        let id = crate::ids::uuid().to_string();
        self.queries.insert(id.clone(), Query { results, matched, scanned, running_for: 1, is_stopped: false });
        Ok(json!({"queryId": id}))
    }

    pub(super) fn query_results(&mut self, input: &Value) -> Result<Value, ServiceError> {
        let query = self.query(input)?;
        let statistics = json!({
            "recordsMatched": f64_of(query.matched), "recordsScanned": f64_of(query.scanned), "bytesScanned": 0.0,
        });
        let status = match query {
            Query { is_stopped: true, .. } => "Cancelled",
            Query { running_for: 0, .. } => "Complete",
            _ => "Running",
        };
        if status == "Running" {
            query.running_for -= 1;
        }
        // What is still running shows what it has so far: nothing, as a rule, where it adds up.
        let rows = if status == "Complete" { query.results.as_slice() } else { &[] };
        let cell = |(field, value): (&String, &Value)| json!({"field": field, "value": text(value)});
        let results: Vec<Value> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        Ok(json!({"status": status, "results": results, "statistics": statistics}))
    }

    pub(super) fn stop_query(&mut self, input: &Value) -> Result<Value, ServiceError> {
        let query = self.query(input)?;
        if query.running_for == 0 || query.is_stopped {
            return Err(invalid("The specified query is not running"));
        }
        query.is_stopped = true;
        Ok(json!({"success": true}))
    }

    fn query(&mut self, input: &Value) -> Result<&mut Query, ServiceError> {
        let missing = || ServiceError::new("ResourceNotFoundException", "Query does not exist");
        self.queries.get_mut(input["queryId"].as_str().unwrap_or_default()).ok_or_else(missing)
    }
}

/// The fields that Insights discovers in a line: those of its JSON.
fn fields(event: &Event) -> Row {
    let line: Map<String, Value> = serde_json::from_str(&event.message).unwrap_or_default();
    let is_field = |value: &Value| !value.is_null() && !value.is_object() && !value.is_array();
    line.into_iter().filter(|(_, value)| is_field(value)).collect()
}

fn run(command: &str, rows: Vec<Row>) -> Result<Vec<Row>, ServiceError> {
    let (verb, rest) = command.split_once(' ').ok_or_else(|| malformed(command))?;
    match verb {
        "filter" => filter(rest, rows),
        "stats" => stats(rest, &rows),
        "sort" => sort(rest, rows),
        "limit" => {
            let limit: usize = rest.trim().parse().map_err(|_| malformed(rest))?;
            Ok(rows.into_iter().take(limit).collect())
        }
        _ => Err(malformed(verb)),
    }
}

fn filter(condition: &str, rows: Vec<Row>) -> Result<Vec<Row>, ServiceError> {
    let fields = condition.split(" or ").map(|part| {
        let field = part.trim().strip_prefix("ispresent(").and_then(|rest| rest.strip_suffix(')'));
        field.ok_or_else(|| malformed(part))
    });
    let fields: Vec<&str> = fields.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter(|row| fields.iter().any(|field| row.contains_key(*field))).collect())
}

fn stats(rest: &str, rows: &[Row]) -> Result<Vec<Row>, ServiceError> {
    let (sums, by) = rest.split_once(" by ").ok_or_else(|| malformed(rest))?;
    let by: Vec<&str> = by.split(',').map(str::trim).collect();
    let mut groups: BTreeMap<Vec<Option<String>>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(by.iter().map(|field| row.get(*field).map(text)).collect()).or_default().push(row);
    }
    let sums: Vec<(&str, &str, &str)> =
        sums.split(',').map(|sum| aggregate(sum).ok_or_else(|| malformed(sum))).collect::<Result<_, _>>()?;
    let result = |(names, group): (Vec<Option<String>>, Vec<&Row>)| {
        let names = by.iter().zip(names).filter_map(|(field, name)| Some(((*field).to_owned(), json!(name?))));
        let mut row: Row = names.collect();
        for (function, field, name) in &sums {
            if let Some(value) = value_of(function, field, &group)? {
                row.insert((*name).to_owned(), value);
            }
        }
        Ok(row)
    };
    groups.into_iter().map(result).collect()
}

/// `sum(cost) as usd` → function, field, name.
fn aggregate(sum: &str) -> Option<(&str, &str, &str)> {
    let (call, name) = sum.trim().split_once(" as ")?;
    let (function, field) = call.trim().strip_suffix(')')?.split_once('(')?;
    Some((function, field, name.trim()))
}

/// Of values that nobody has, there is no sum and no maximum.
fn value_of(function: &str, field: &str, group: &[&Row]) -> Result<Option<Value>, ServiceError> {
    let present = || group.iter().filter_map(|row| row.get(field));
    let numbers: Vec<f64> = present().filter_map(number).collect();
    Ok(match function {
        "count" if field == "*" => Some(json!(group.len())),
        "count" => Some(json!(present().count())),
        "count_distinct" => Some(json!(present().map(text).collect::<BTreeSet<_>>().len())),
        "sum" => (!numbers.is_empty()).then(|| json!(numbers.iter().sum::<f64>())),
        "max" => numbers.into_iter().reduce(f64::max).map(|most| json!(most)),
        _ => return Err(malformed(function)),
    })
}

fn sort(rest: &str, mut rows: Vec<Row>) -> Result<Vec<Row>, ServiceError> {
    let field = rest.trim().strip_suffix(" desc").ok_or_else(|| malformed(rest))?;
    let value = |row: &Row| row.get(field).and_then(number).unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|one, other| value(other).total_cmp(&value(one)));
    Ok(rows)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// All values come as texts.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn f64_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::OffsetDateTime;

    fn asked(query: &str) -> Result<Vec<Value>, ServiceError> {
        let mut logs = Logs::default();
        let scope = Scope::default();
        let lines = [
            json!({"task_arn": "a", "cost": 0.5, "flow": "x"}),
            json!({"task_arn": "a", "cost": 0.5, "flow": "x"}),
            json!({"task_arn": "b", "cost": 2, "flow": "y"}),
            json!({"task_arn": "c", "why": "no price"}),
            json!("no line of ours"),
        ];
        logs.write(&scope, ("g", "s"), lines.map(|line| line.to_string()), OffsetDateTime::UNIX_EPOCH);
        let input = json!({"logGroupName": "g", "queryString": query, "startTime": 0, "endTime": 1});
        let started = logs.start_query(&scope, &input)?;
        assert_eq!(logs.query_results(&started).unwrap()["status"], "Running");
        let answer = logs.query_results(&started).unwrap();
        assert_eq!(answer["status"], "Complete");
        Ok(answer["results"].as_array().unwrap().clone())
    }

    fn cell(field: &str, value: &str) -> Value {
        json!({"field": field, "value": value})
    }

    #[test]
    fn what_is_told_twice_counts_once_and_what_has_no_name_has_none() {
        let query = "filter ispresent(cost) or ispresent(why) | stats max(cost) as most by task_arn, flow \
                     | stats sum(most) as usd, count(*) as tasks, count(most) as known by flow | sort usd desc | limit 9";
        let row = |flow: &str, usd: &str| {
            json!([cell("flow", flow), cell("known", "1"), cell("tasks", "1"), cell("usd", usd)])
        };
        let nameless = json!([cell("known", "0"), cell("tasks", "1")]);
        assert_eq!(asked(query).unwrap(), [row("y", "2.0"), row("x", "0.5"), nameless]);
    }

    #[test]
    fn what_is_no_query_of_this_kind_is_refused() {
        for query in ["fields @message", "filter cost > 1", "stats avg(cost) as a by flow", "stats count(*)", "limit x"]
        {
            assert_eq!(asked(query).unwrap_err().code, "MalformedQueryException", "{query}");
        }
        let mut logs = Logs::default();
        let scope = Scope::default();
        for (input, code) in [
            (
                json!({"logGroupName": "x", "queryString": "limit 1", "startTime": 0, "endTime": 1}),
                "ResourceNotFoundException",
            ),
            (
                json!({"logGroupName": "x", "queryString": "limit 1", "startTime": 2, "endTime": 1}),
                "InvalidParameterException",
            ),
            (json!({"queryString": "limit 1"}), "InvalidParameterException"),
        ] {
            assert_eq!(logs.start_query(&scope, &input).unwrap_err().code, code, "{input}");
        }
        assert_eq!(logs.query_results(&json!({"queryId": "x"})).unwrap_err().code, "ResourceNotFoundException");
    }

    #[test]
    fn a_query_that_is_stopped_has_no_results() {
        let mut logs = Logs::default();
        let scope = Scope::default();
        logs.create_group(&scope, "g");
        let input = json!({"logGroupName": "g", "queryString": "limit 1", "startTime": 0, "endTime": 1});
        let started = logs.start_query(&scope, &input).unwrap();
        assert_eq!(logs.stop_query(&started).unwrap(), json!({"success": true}));
        assert_eq!(logs.query_results(&started).unwrap()["status"], "Cancelled");
        assert_eq!(logs.stop_query(&started).unwrap_err().code, "InvalidParameterException");
    }
}
