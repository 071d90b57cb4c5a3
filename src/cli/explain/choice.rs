//! Pure: which of several agents a run is for.

use super::{AskedAgent, CliError, Subject};
use crate::config::GenerationConfig;
use crate::orchestrator::run_facts::{BlockReason, RunFacts};

/// How well an agent fits a run: the higher, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Its Prefect could not be asked.
    Unknown,
    /// The run is not its own.
    Foreign,
    /// It would take the run.
    Serves,
    /// It has claimed the run at some time.
    Claimed,
}

fn fit(run: &RunFacts) -> Fit {
    if run.was_ours {
        Fit::Claimed
    } else if run.block_reasons.iter().any(BlockReason::is_foreign) {
        Fit::Foreign
    } else {
        Fit::Serves
    }
}

/// The agent whose run it is, and what is to be said of the others.
pub(super) fn choose<'a>(
    asked: Vec<AskedAgent<'a>>,
    subject: &Subject,
) -> Result<(AskedAgent<'a>, Vec<String>), CliError> {
    let names: Vec<&str> = asked.iter().map(|asked| asked.agent.agent.as_str()).collect();
    let only_one = asked.iter().all(|asked| matches!(asked.config.generation, GenerationConfig::One(_)));
    let nobody = match subject {
        Subject::Name(name) if only_one => CliError::new(
            format!("{name:?} is no id of a flow run, and Prefect 1 is asked by id only"),
            "give the run's id, or the address of its page",
        ),
        _ => CliError::new(
            format!("no Prefect knows a flow run {:?}; asked for these agents: {}", subject.shown(), names.join(", ")),
            "check the id, and --root or --config; a run that was deleted has no story",
        ),
    };
    let mut fitting: Vec<(Fit, AskedAgent<'a>)> = Vec::new();
    for one in asked {
        match &one.answer {
            Ok(Some(run)) => fitting.push((fit(run), one)),
            Ok(None) => {}
            Err(_) => fitting.push((Fit::Unknown, one)),
        }
    }
    let Some(best) = fitting.iter().map(|(fit, _)| *fit).max() else { return Err(nobody) };
    if best == Fit::Unknown
        && let Subject::Name(name) = subject
    {
        let why = fitting.iter().find_map(|(_, one)| one.answer.as_ref().err().cloned()).unwrap_or_default();
        return Err(CliError::new(
            format!("nobody could be asked for a flow run called {name:?}: {why}"),
            "give its id",
        ));
    }
    let (mut chosen, rest): (Vec<_>, Vec<_>) = fitting.into_iter().partition(|(fit, _)| *fit == best);
    if best >= Fit::Serves && chosen.len() > 1 {
        let names: Vec<&str> = chosen.iter().map(|(_, one)| one.agent.agent.as_str()).collect();
        let message = format!("several agents could be meant: {}", names.join(", "));
        return Err(CliError::new(message, "name one with --agent"));
    }
    let first = chosen.remove(0).1;
    let others = chosen.into_iter().chain(rest).filter_map(|(_, one)| match one.answer {
        Ok(_) if best == Fit::Foreign => Some(format!("nor is it agent {}'s: see --agent {0}", one.agent.agent)),
        Ok(_) => None,
        Err(why) => Some(format!("agent {}: its Prefect could not be asked: {why}", one.agent.agent)),
    });
    Ok((first, others.collect()))
}
