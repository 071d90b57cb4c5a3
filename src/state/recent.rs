//! What happened lately to an agent's runs, for people: a part of the status that gives way when there is no room.
//!
//! And its tasks that died lately: `{root}/state/{agent}/deaths`, which `task-events` writes and the page
//! shows. Best effort: of two processes that write at once, one may not see what the other wrote.

use super::{MAX_BYTES, escaped};
use crate::aws::AwsError;
use crate::aws::ssm::Ssm;
use crate::clock::that_can_be_shown;
use crate::config::{Parameter, Root};
use crate::model::ErrorKind;
use crate::redaction::CUT;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// So many polls are remembered.
const POLLS: usize = 8;
/// So many runs that wait. How many there are stands in the counts.
const WAITING: usize = 5;
/// So many runs that failed.
const FAILED: usize = 4;
/// Longest text, characters.
const TEXT: usize = 240;

/// The last polls, the runs that wait and those that failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Recent {
    /// The newest comes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub polls: Vec<PastPoll>,
    /// Runs that were due and have no task, as the last poll left them; those that were to start first come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingRun>,
    /// Runs that polls ended for good; the newest comes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRun>,
}

/// A poll that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastPoll {
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How long it took, milliseconds.
    #[serde(default)]
    pub ms: u64,
    /// Due runs found.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ready: u64,
    /// Launched or adopted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub launched: u64,
    /// Left for a later poll.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deferred: u64,
    /// Failed for good.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// The kind of its own trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorKind>,
}

/// A run that is due and has no task yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRun {
    /// Id of the flow run.
    pub run: String,
    /// For people; never a secret.
    pub reason: String,
    /// When it was to start, where that is known.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub due: Option<OffsetDateTime>,
    /// It was given back: when it is due again.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub again: Option<OffsetDateTime>,
}

/// A run that a poll ended for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// Id of the flow run.
    pub run: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// For people; never a secret.
    pub reason: String,
    /// Its flow had begun, and its task has died: a poll found that, since no event told it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub died: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Recent {
    /// A poll has ended: it comes first, those that wait are `waiting`, and `failed` are new. Runs that earlier polls gave
    /// back and that are not due yet go on waiting, unless `is_known` says that this poll saw them. Texts must be without
    /// secrets: they are cut.
    pub fn add(
        &mut self,
        poll: PastPoll,
        waiting: Vec<WaitingRun>,
        failed: Vec<FailedRun>,
        is_known: impl Fn(&str) -> bool,
    ) {
        let now = poll.at;
        let given_back =
            self.waiting.drain(..).filter(|run| run.again.is_some_and(|at| at > now) && !is_known(&run.run));
        let mut waiting: Vec<_> = waiting.into_iter().chain(given_back).collect();
        // What has no time is no later than what has one.
        waiting.sort_by_key(|run| run.due);
        self.waiting = waiting;
        self.waiting.truncate(WAITING);
        self.polls.insert(0, poll);
        self.polls.truncate(POLLS);
        self.failed.splice(0..0, failed);
        self.failed.truncate(FAILED);
        let waiting = self.waiting.iter_mut().flat_map(|run| [&mut run.run, &mut run.reason]);
        for text in waiting.chain(self.failed.iter_mut().flat_map(|run| [&mut run.run, &mut run.reason])) {
            cut(text);
        }
    }

    /// One entry less, the least of them; false when there is none.
    pub(super) fn shrink(&mut self) -> bool {
        let (polls, waiting, failed) = (self.polls.len(), self.waiting.len(), self.failed.len());
        if polls > 1 && polls >= waiting && polls >= failed {
            self.polls.pop().is_some()
        } else if failed >= waiting {
            self.failed.pop().is_some() || self.polls.pop().is_some()
        } else {
            self.waiting.pop().is_some()
        }
    }

    /// Understands what it can, entry by entry.
    pub(super) fn parse(fields: &Map<String, Value>) -> Self {
        let is_shown = |time: OffsetDateTime| that_can_be_shown(time).is_some();
        let mut recent = Self {
            polls: entries(fields, "polls"),
            waiting: entries(fields, "waiting"),
            failed: entries(fields, "failed"),
        };
        recent.polls.retain(|poll: &PastPoll| is_shown(poll.at));
        recent.waiting.retain(|run: &WaitingRun| [run.due, run.again].into_iter().flatten().all(is_shown));
        recent.failed.retain(|run: &FailedRun| is_shown(run.at));
        recent
    }

    /// Nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.polls.is_empty() && self.waiting.is_empty() && self.failed.is_empty()
    }
}

fn entries<T: DeserializeOwned>(fields: &Map<String, Value>, key: &str) -> Vec<T> {
    let entries = fields.get(key).and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| T::deserialize(entry).ok()).collect()
}

/// As long as a text is remembered.
pub(super) fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(TEXT) {
        text.truncate(end);
        text.push(CUT);
    }
}

/// So many are remembered.
const DEATHS: usize = 6;

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
pub fn deaths_parameter(root: &str, agent: &str) -> String {
    format!("{root}/state/{agent}/deaths")
}

/// The tasks that died, by agent, from the parameters below `{root}/state`. The newest comes first.
pub fn deaths_by_agent(root: &Root, parameters: &[Parameter]) -> BTreeMap<String, Vec<Death>> {
    let state = root.state() + "/";
    let deaths_of = |parameter: &Parameter| {
        let agent = parameter.name.strip_prefix(&state)?.strip_suffix("/deaths")?;
        Some((agent.to_owned(), deaths_in(parameter.value.expose_secret())))
    };
    parameters.iter().filter_map(deaths_of).collect()
}

/// Adds tasks to those that are remembered of an agent: one read and one write, none repeated. Texts must be without secrets.
pub async fn remember_deaths(ssm: &Ssm, root: &str, agent: &str, new: Vec<Death>) -> Result<(), AwsError> {
    let name = deaths_parameter(root, agent);
    let known = ssm.get_parameter(&name, false).await?;
    let known = known.map(|known| deaths_in(known.value.expose_secret())).unwrap_or_default();
    let text = deaths_text(merged(known, new)).map_err(AwsError::NotSent)?;
    ssm.put_parameter(&name, &text, true).await.map(drop)
}

/// Understands what it can.
fn deaths_in(text: &str) -> Vec<Death> {
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
    all.truncate(DEATHS);
    all
}

/// The text of the parameter. What has no room is left out, the oldest first.
fn deaths_text(mut deaths: Vec<Death>) -> Result<String, String> {
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
    use serde_json::json;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 22:00 UTC);

    fn poll(at: OffsetDateTime) -> PastPoll {
        PastPoll { at, ms: 84, ready: 0, launched: 0, deferred: 0, failed: 0, error: None }
    }

    fn waiting(run: &str, due: i64, again: Option<i64>) -> WaitingRun {
        let at = |seconds: i64| NOW + Duration::seconds(seconds);
        WaitingRun { run: run.to_owned(), reason: "no room".to_owned(), due: Some(at(due)), again: again.map(at) }
    }

    fn names(recent: &Recent) -> Vec<&str> {
        recent.waiting.iter().map(|run| run.run.as_str()).collect()
    }

    #[test]
    fn what_was_given_back_waits_until_it_is_due_again_or_seen() {
        let mut recent = Recent::default();
        let both = vec![waiting("b", -10, Some(90)), waiting("a", -20, Some(200)), waiting("c", -5, None)];
        recent.add(poll(NOW), both, Vec::new(), |_| false);
        assert_eq!(names(&recent), ["a", "b", "c"]);
        recent.add(poll(NOW + Duration::seconds(60)), Vec::new(), Vec::new(), |run| run == "a");
        assert_eq!(names(&recent), ["b"], "a was seen, and c is no longer due");
        recent.add(poll(NOW + Duration::seconds(120)), Vec::new(), Vec::new(), |_| false);
        assert!(recent.waiting.is_empty() && recent.polls.len() == 3, "{recent:?}");
    }

    #[test]
    fn it_is_bounded_in_number_and_in_length() {
        let mut recent = Recent::default();
        for minute in 0..100 {
            let at = NOW + Duration::minutes(minute);
            let long = "é".repeat(1000);
            let failed =
                (0..3).map(|run| FailedRun { run: format!("{minute}-{run}"), at, reason: long.clone(), died: false });
            let many = (0..30).map(|run| WaitingRun { reason: long.clone(), ..waiting("w", run, Some(1)) });
            recent.add(poll(at), many.collect(), failed.collect(), |_| true);
        }
        assert_eq!((recent.polls.len(), recent.waiting.len(), recent.failed.len()), (POLLS, WAITING, FAILED));
        assert_eq!((recent.failed[0].run.as_str(), recent.failed[3].run.as_str()), ("99-0", "98-0"));
        assert_eq!(recent.failed[0].reason.chars().count(), TEXT + 1);
        let mut left = 0;
        while recent.shrink() {
            left += 1;
        }
        assert!(recent.is_empty() && left == POLLS + WAITING + FAILED, "{left}: {recent:?}");
    }

    #[test]
    fn entries_of_another_shape_are_left_out_alone() {
        let fields = json!({
            "polls": [{"at": "2026-11-30T22:00:00Z"}, {"at": "of old"}, 7, {"at": "2026-11-30T22:00:00Z", "error": "of-tomorrow"}],
            "waiting": [{"run": "a", "reason": "r", "due": "9999-12-31T23:59:59-01:00"}, {"run": "b", "reason": "r", "more": 1}],
            "failed": {"run": "c"},
        });
        let recent = Recent::parse(fields.as_object().unwrap());
        assert_eq!(recent.polls, [PastPoll { ms: 0, ..poll(NOW) }]);
        assert_eq!((names(&recent), recent.failed.len()), (vec!["b"], 0));
    }
}

#[cfg(test)]
mod deaths_tests {
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
        let text = deaths_text(vec![again.clone(), death("b", 2)]).unwrap();
        assert!(!text.contains("{{"), "Parameter Store refuses that: {text}");
        assert_eq!(deaths_in(&text), [again, death("b", 2)]);
        let long = (0..20).map(|number| Death { reason: "\u{1F4A5}".repeat(1000), ..death("long", number) }).collect();
        let text = deaths_text(merged(Vec::new(), long)).unwrap();
        assert!(text.len() <= MAX_BYTES && !deaths_in(&text).is_empty(), "{}", text.len());
    }

    #[test]
    fn what_is_odd_is_left_out_alone() {
        assert_eq!(deaths_in("of old"), []);
        assert_eq!(deaths_in("{\"deaths\": {}}"), []);
        let odd = "{\"deaths\": [7, {\"run\": \"a\"}, {\"run\": \"b\", \"at\": \"2026-11-30T22:00:00Z\", \"reason\": \"r\", \"more\": 1}]}";
        assert_eq!(runs(&deaths_in(odd)), ["b"]);
    }
}
