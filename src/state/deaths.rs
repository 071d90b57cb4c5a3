//! Tasks of an agent that died lately, for people: `{root}/state/{agent}/deaths`, which `task-events` writes and the page
//! shows. Best effort: of two processes that write at once, one may not see what the other wrote.

use super::recent::cut;
use super::status::{MAX_BYTES, escaped};
use crate::aws::AwsError;
use crate::aws::ssm::Ssm;
use crate::clock::that_can_be_shown;
use crate::config::{Parameter, Root};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// So many are remembered.
const KEPT: usize = 6;

/// A task that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Id of the flow run.
    pub run: String,
    /// When the task stopped, or when that was told where nobody knows.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What Prefect was told; never a secret.
    pub reason: String,
    /// The run is launched again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// What the parameter holds.
#[derive(Serialize)]
struct Deaths<'a> {
    deaths: &'a [Death],
}

/// Name of the parameter of an agent.
pub fn parameter_name(root: &str, agent: &str) -> String {
    format!("{root}/state/{agent}/deaths")
}

/// The tasks that died, by agent, from the parameters below `{root}/state`. The newest comes first.
pub fn by_agent(root: &Root, parameters: &[Parameter]) -> BTreeMap<String, Vec<Death>> {
    let state = root.state() + "/";
    let deaths_of = |parameter: &Parameter| {
        let agent = parameter.name.strip_prefix(&state)?.strip_suffix("/deaths")?;
        Some((agent.to_owned(), parse(parameter.value.expose_secret())))
    };
    parameters.iter().filter_map(deaths_of).collect()
}

/// Adds tasks to those that are remembered of an agent: one read and one write, none repeated. Texts must be without secrets.
pub async fn remember(ssm: &Ssm, root: &str, agent: &str, new: Vec<Death>) -> Result<(), AwsError> {
    let name = parameter_name(root, agent);
    let known = ssm.get_parameter(&name, false).await?;
    let known = known.map(|known| parse(known.value.expose_secret())).unwrap_or_default();
    let text = render(merged(known, new)).map_err(AwsError::NotSent)?;
    ssm.put_parameter(&name, &text, true).await.map(drop)
}

/// Understands what it can.
fn parse(text: &str) -> Vec<Death> {
    let fields: Value = serde_json::from_str(text).unwrap_or_default();
    let entries = fields.get("deaths").and_then(Value::as_array).into_iter().flatten();
    let deaths = entries.filter_map(|entry| Death::deserialize(entry).ok());
    deaths.filter(|death| that_can_be_shown(death.at).is_some()).collect()
}

/// The newest of both. An event that came twice is one death.
fn merged(known: Vec<Death>, new: Vec<Death>) -> Vec<Death> {
    let mut all: Vec<Death> = Vec::new();
    for mut death in new.into_iter().chain(known) {
        if all.iter().all(|other| (&other.run, other.at) != (&death.run, death.at)) {
            [&mut death.run, &mut death.reason].into_iter().for_each(cut);
            all.push(death);
        }
    }
    all.sort_by_key(|death| std::cmp::Reverse(death.at));
    all.truncate(KEPT);
    all
}

/// The text of the parameter. What has no room is left out, the oldest first.
fn render(mut deaths: Vec<Death>) -> Result<String, String> {
    loop {
        let text = serde_json::to_string(&Deaths { deaths: &deaths }).map_err(|error| error.to_string())?;
        let text = escaped(&text);
        if text.len() <= MAX_BYTES || deaths.pop().is_none() {
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 22:00 UTC);

    fn death(run: &str, minutes_ago: i64) -> Death {
        Death { run: run.to_owned(), at: NOW - Duration::minutes(minutes_ago), reason: "died".to_owned(), again: false }
    }

    fn runs(deaths: &[Death]) -> Vec<&str> {
        deaths.iter().map(|death| death.run.as_str()).collect()
    }

    #[test]
    fn the_newest_come_first_each_once_and_there_are_never_many() {
        let known = vec![death("b", 2), death("c", 3)];
        let all = merged(known.clone(), vec![death("a", 1), death("b", 2), death("d", 4)]);
        assert_eq!(runs(&all), ["a", "b", "c", "d"]);
        assert_eq!(runs(&merged(known, vec![death("b", 1)])), ["b", "b", "c"], "two tasks of one run");
        let many = (0..100).map(|number| death(&number.to_string(), number)).collect();
        assert_eq!(runs(&merged(Vec::new(), many)), ["0", "1", "2", "3", "4", "5"]);
    }

    #[test]
    fn it_fits_into_a_parameter_and_is_read_as_it_was_written() {
        let again = Death { again: true, reason: "{{ quoted }} by \"ECS\"".to_owned(), ..death("a", 1) };
        let text = render(vec![again.clone(), death("b", 2)]).unwrap();
        assert!(!text.contains("{{"), "Parameter Store refuses that: {text}");
        assert_eq!(parse(&text), [again, death("b", 2)]);
        let long = (0..20).map(|number| Death { reason: "\u{1F4A5}".repeat(1000), ..death("long", number) }).collect();
        let text = render(merged(Vec::new(), long)).unwrap();
        assert!(text.len() <= MAX_BYTES && !parse(&text).is_empty(), "{}", text.len());
    }

    #[test]
    fn what_is_odd_is_left_out_alone() {
        assert_eq!(parse("of old"), []);
        assert_eq!(parse("{\"deaths\": {}}"), []);
        let odd = "{\"deaths\": [7, {\"run\": \"a\"}, {\"run\": \"b\", \"at\": \"2026-11-30T22:00:00Z\", \"reason\": \"r\", \"more\": 1}]}";
        assert_eq!(runs(&parse(odd)), ["b"]);
    }
}
