//! What is counted, and the table of what came of many histories.

use crate::fault::Kind;
use crate::history::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

macro_rules! counts {
    ($($name:ident: $row:literal;)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Count { $(#[doc = $row] $name),* }

        impl Count {
            /// The rows of the table, in order.
            const ROWS: &'static [(Self, &'static str)] = &[$((Self::$name, $row)),*];
        }
    };
}

counts! {
    Runs: "runs";
    Polls: "polls";
    Events: "events of tasks delivered";
    Requests: "requests of our processes";
    Claims: "claims";
    Launches: "launches";
    Launched: "runs that got a task, as polls reported";
    Recovered: "recoveries, as polls reported";
    Kills: "processes killed";
    Faults: "faults";
    Bad: "runs failed for what they say themselves";
    GivenUp: "runs failed after all attempts";
    Dead: "runs failed because their task was dead";
    Unheard: "of these, as polls reported, without an event";
    Others: "runs left to others";
    Raced: "writes over a change nobody could have seen";
    Crossed: "launches crossing a run scheduled anew, or given back";
    Duplicates: "DUPLICATES";
    Lost: "LOSSES";
    Wronged: "RUNS FAILED BY A TRANSIENT FAULT";
    Violations: "VIOLATIONS";
}

/// Numbers of what was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Count, u64>, BTreeMap<Kind, u64>);

impl Tally {
    /// So many more.
    pub fn add(&mut self, count: Count, number: usize) {
        *self.0.entry(count).or_default() += u64::try_from(number).unwrap_or(u64::MAX);
    }

    /// A fault more.
    pub fn add_fault(&mut self, kind: Kind) {
        self.add(Count::Faults, 1);
        *self.1.entry(kind).or_default() += 1;
    }

    /// How many.
    pub fn of(&self, count: Count) -> u64 {
        self.0.get(&count).copied().unwrap_or_default()
    }

    /// The other's besides.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(count, number)| *self.0.entry(*count).or_default() += number);
        other.1.iter().for_each(|(kind, number)| *self.1.entry(*kind).or_default() += number);
    }
}

/// Sums over histories.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// How many.
    pub histories: u64,
    /// Seeds of those in which something went wrong that should not have.
    pub failing: Vec<u64>,
    tally: Tally,
    longest: u64,
}

impl Table {
    /// Adds a history.
    pub fn add(&mut self, outcome: &Outcome) {
        self.histories += 1;
        self.failing.extend((!outcome.violations.is_empty()).then_some(outcome.seed));
        self.longest = self.longest.max(outcome.clean_polls);
        self.tally.add_all(&outcome.tally);
    }

    /// The sums of both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.histories += other.histories;
        self.failing.extend(other.failing);
        self.longest = self.longest.max(other.longest);
        self.tally.add_all(&other.tally);
        self
    }

    /// For people.
    pub fn text(&self, took: Duration) -> String {
        let mut text = String::new();
        let mut line = |value: u64, row: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{value:>12}  {row}");
        };
        line(self.histories, "histories");
        for (count, row) in Count::ROWS {
            line(self.tally.of(*count), row);
            if *count == Count::Faults {
                self.tally.1.iter().for_each(|(kind, number)| line(*number, &format!("    {kind:?}")));
            }
        }
        line(self.longest, "clean polls until all was settled, at most");
        line(crate::model::clean_polls(), "clean polls that are allowed for it");
        line(took.as_secs(), "seconds");
        let _ = match self.failing.iter().min() {
            Some(seed) => writeln!(text, "\nThe first failing seed is {seed}: `soak --seed {seed}` tells its story."),
            None => writeln!(text, "\nNo seed fails."),
        };
        text
    }
}
