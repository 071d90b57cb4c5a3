//! Pure: a run's story as text and as JSON.

use super::{Palette, Tone, coloured, printable};
use crate::explain::facts::Facts;
use crate::explain::story::Event;
use crate::explain::verdict::{RunVerdict, Standing};
use crate::explain::words;
use serde_json::{Value, json};
use std::fmt::Write;
use time::format_description::well_known::Rfc3339;

/// Events that are shown; between the first and the last ones the others are left out.
const SHOWN: usize = 60;

/// A story and what was not to be had of it.
pub(in crate::cli) struct Explanation<'a> {
    pub(in crate::cli) events: Vec<Event>,
    pub(in crate::cli) verdict: RunVerdict,
    /// What could not be asked, and why.
    pub(in crate::cli) unknown: Vec<String>,
    pub(in crate::cli) facts: &'a Facts,
}

/// As people read it. All times are UTC.
pub(in crate::cli) fn as_text(told: &Explanation<'_>, palette: Palette) -> String {
    let Explanation { events, verdict, unknown, facts } = told;
    let name = facts.run.as_ref().map_or_else(|_| String::new(), |run| format!(" \"{}\"", run.name));
    let now = words::clock(facts.now, facts.now);
    let title = format!(
        "Flow run {}{name}, agent {} (Prefect {}), at {now} UTC",
        facts.flow_run_id,
        facts.agent.config.agent,
        facts.agent.config.generation.prefect()
    );
    let mut text = format!("{}\n\n", coloured(&printable(&title), Tone::Heading, palette));
    let left_out = events.len().saturating_sub(SHOWN);
    for (index, event) in events.iter().enumerate() {
        let is_left_out = index >= SHOWN / 2 && index < SHOWN / 2 + left_out;
        if is_left_out {
            if index == SHOWN / 2 {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  … {left_out} events more, which --json shows");
            }
            continue;
        }
        let at = event.at.map_or_else(|| "–".to_owned(), |at| words::clock(at, facts.now));
        let _ = writeln!(text, "  {at:<8}  {:<7}  {}", event.source.name(), printable(&event.what));
    }
    if !events.is_empty() {
        text.push('\n');
    }
    let mut say = |word: &str, what: &str, tone| {
        let _ = writeln!(text, "{} {}", coloured(&format!("{word:<6}"), tone, palette), printable(what));
    };
    say("now:", &verdict.now, tone(verdict.standing));
    if let Some(next) = &verdict.next {
        let at = verdict
            .next_at
            .filter(|at| *at >= facts.now)
            .map(|at| format!(" (about {}, {})", words::clock(at, facts.now), words::relative(at, facts.now)));
        say("next:", &format!("{next}{}", at.unwrap_or_default()), Tone::Plain);
    }
    if let Some(advice) = &verdict.advice {
        say("do:", advice, Tone::Plain);
    }
    for also in &verdict.also {
        say("also:", also, Tone::Doubtful);
    }
    for what in unknown {
        say("not asked:", what, Tone::Doubtful);
    }
    text
}

fn tone(standing: Standing) -> Tone {
    match standing {
        Standing::Running | Standing::Launched | Standing::Due | Standing::ScheduledLater => Tone::Good,
        Standing::TaskDied | Standing::AgentFailing | Standing::AgentOff | Standing::NotOurs => Tone::Bad,
        Standing::Ended => Tone::Heading,
        Standing::TaskStopping
        | Standing::ClaimedWithoutTask
        | Standing::Claimed
        | Standing::ClaimedElsewhere
        | Standing::Cancelling
        | Standing::Paused
        | Standing::NotScheduled
        | Standing::GivenBack
        | Standing::WaitsForSlot
        | Standing::HeldBack
        | Standing::Maintenance
        | Standing::BadPoll
        | Standing::LeftByPoll
        | Standing::Unknown => Tone::Doubtful,
    }
}

/// The events and the verdict as data.
pub(in crate::cli) fn as_json(told: &Explanation<'_>) -> Value {
    let Explanation { events, verdict, unknown, facts } = told;
    let run = facts.run.as_ref().ok();
    json!({
        "flow_run": {
            "id": facts.flow_run_id, "name": run.map(|run| &run.name), "state": run.map(|run| &run.state),
        },
        "agent": facts.agent.config.agent,
        "prefect": facts.agent.config.generation.prefect(),
        "at": facts.now.format(&Rfc3339).ok(),
        "events": events,
        "verdict": verdict,
        "not_asked": unknown,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::explain::story::StorySource;
    use crate::explain::testing::{before, facts, waiting};
    use crate::explain::verdict::verdict;

    /// The lines about so many events, and how many JSON has.
    fn shown(count: usize) -> (Vec<String>, usize) {
        let facts = facts(waiting(), Vec::new());
        let event = |number: usize| Event {
            at: Some(before(0)),
            source: StorySource::Prefect,
            what: format!("event {number}"),
        };
        let told = Explanation {
            events: (1..=count).map(event).collect(),
            verdict: verdict(&facts),
            unknown: Vec::new(),
            facts: &facts,
        };
        let text = as_text(&told, Palette::Plain);
        let lines = text.lines().filter(|line| line.contains("event")).map(|line| line.trim().to_owned());
        (lines.collect(), as_json(&told)["events"].as_array().unwrap().len())
    }

    #[test]
    fn of_a_long_story_the_beginning_and_the_end_are_shown_and_how_many_are_not() {
        let (all, _) = shown(60);
        assert_eq!((all.len(), all.iter().any(|line| line.contains("events more"))), (60, false));
        for count in [61, 75] {
            let (lines, in_json) = shown(count);
            assert_eq!((lines.len(), in_json), (61, count), "one line stands for those that are left out");
            assert!(lines[29].ends_with(" event 30") && lines[60].ends_with(&format!(" event {count}")), "{lines:#?}");
            assert_eq!(lines[30], format!("… {} events more, which --json shows", count - 60));
            assert!(lines[31].ends_with(&format!(" event {}", count - 29)), "{lines:#?}");
        }
    }
}
