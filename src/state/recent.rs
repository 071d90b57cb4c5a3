//! What happened lately to an agent's runs, for people: a part of the status that gives way when there is no room.

use crate::clock::that_can_be_shown;
use crate::model::ErrorKind;
use crate::redaction::CUT;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
