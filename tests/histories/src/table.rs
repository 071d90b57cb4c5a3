//! The table of what came of many histories.

use crate::fault::Kind;
use crate::history::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Sums over histories.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// How many.
    pub histories: u64,
    /// Seeds of those in which something went wrong that should not have.
    pub failing: Vec<u64>,
    counts: BTreeMap<&'static str, u64>,
    faults: BTreeMap<Kind, u64>,
    longest: u64,
}

/// The rows, in order: the name and whether it has to be 0.
const ROWS: [(&str, bool); 22] = [
    ("runs", false),
    ("polls", false),
    ("events of tasks delivered", false),
    ("requests of our processes", false),
    ("claims", false),
    ("launches", false),
    ("runs that got a task, as polls reported", false),
    ("recoveries, as polls reported", false),
    ("processes killed", false),
    ("faults", false),
    ("runs failed for what they say themselves", false),
    ("runs failed after all attempts", false),
    ("runs failed because their task was dead", false),
    ("runs left to others", false),
    ("writes over a change nobody could have seen", false),
    ("launches crossing a run scheduled anew", false),
    ("DUPLICATES", true),
    ("LOSSES", true),
    ("RUNS FAILED BY A TRANSIENT FAULT", true),
    ("VIOLATIONS", true),
    ("clean polls until all was settled, at most", false),
    ("clean polls that are allowed for it", false),
];

impl Table {
    /// Adds a history.
    pub fn add(&mut self, outcome: &Outcome) {
        self.histories += 1;
        if !outcome.violations.is_empty() {
            self.failing.push(outcome.seed);
        }
        self.longest = self.longest.max(outcome.clean_polls);
        for (kind, number) in &outcome.stats.faults {
            *self.faults.entry(*kind).or_default() += number;
        }
        let (counts, stats) = (&outcome.counts, &outcome.stats);
        let values = [
            outcome.runs,
            stats.polls,
            stats.events,
            stats.calls.values().map(|calls| u64::try_from(*calls).unwrap_or(u64::MAX)).sum(),
            counts.claims,
            counts.launches,
            stats.launched,
            stats.recovered,
            stats.kills,
            stats.faults.values().sum(),
            counts.bad,
            counts.given_up,
            counts.dead,
            outcome.others,
            counts.raced,
            counts.crossed,
            counts.duplicates,
            outcome.lost,
            counts.wronged,
            u64::try_from(outcome.violations.len()).unwrap_or(u64::MAX),
        ];
        for ((row, _), value) in ROWS.iter().zip(values) {
            *self.counts.entry(row).or_default() += value;
        }
    }

    /// The sums of both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.histories += other.histories;
        self.failing.extend(other.failing);
        self.longest = self.longest.max(other.longest);
        for (row, value) in other.counts {
            *self.counts.entry(row).or_default() += value;
        }
        for (kind, value) in other.faults {
            *self.faults.entry(kind).or_default() += value;
        }
        self
    }

    /// Whether all is 0 that has to be.
    pub fn is_well(&self) -> bool {
        self.failing.is_empty() && ROWS.iter().all(|(row, must_be_0)| !must_be_0 || self.value(row) == 0)
    }

    fn value(&self, row: &str) -> u64 {
        self.counts.get(row).copied().unwrap_or_default()
    }

    /// For people.
    pub fn text(&self, took: Duration) -> String {
        let mut text = format!("{:>12}  histories\n", self.histories);
        let mut line = |value: u64, row: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{value:>12}  {row}");
        };
        for (row, _) in &ROWS[..ROWS.len() - 2] {
            line(self.value(row), row);
            if *row == "faults" {
                self.faults.iter().for_each(|(kind, number)| line(*number, &format!("    {kind:?}")));
            }
        }
        line(self.longest, ROWS[ROWS.len() - 2].0);
        line(crate::model::clean_polls(), ROWS[ROWS.len() - 1].0);
        line(took.as_secs(), "seconds");
        let _ = match self.failing.iter().min() {
            Some(seed) => writeln!(text, "\nThe first failing seed is {seed}: `soak --seed {seed}` tells its story."),
            None => writeln!(text, "\nNo seed fails."),
        };
        text
    }
}
