//! What a run asks of ECS otherwise than with Python's worker or agent, as people read it. Pure.

use crate::cli::output::{printable, some_of};
use crate::platform::ecs::definitions::HASH_TAG;
use crate::survey::difference::{Difference, REGISTER, RUN_TASK};
use crate::survey::{RenderedLaunch, SurveyedDefinition, SurveyedLaunch};
use serde_json::Value;
use std::fmt::Write;

/// Differences that are shown, of each request.
const SHOWN: usize = 20;

/// Deployments that are named beside one.
const NAMED: usize = 3;

/// One block: each difference once, with whose it is where it is not everybody's. Nothing where no launch is known.
/// `theirs`: `worker` or `agent`.
pub(super) fn text<'a>(launches: impl Iterator<Item = &'a SurveyedLaunch>, theirs: &str) -> String {
    let known: Vec<(&str, &RenderedLaunch, &[Difference])> = launches
        .filter(|launch| launch.is_served)
        .filter_map(|launch| {
            let rendered = launch.rendered.as_ref().ok()?;
            Some((launch.asker.as_str(), rendered, rendered.differences.as_deref()?))
        })
        .collect();
    let mut text = String::new();
    let heads =
        [(RUN_TASK, "A run's RunTask is"), (REGISTER, "The RegisterTaskDefinition of a run's own definition is")];
    for (request, head) in heads {
        let sends = |rendered: &RenderedLaunch| {
            request == RUN_TASK || matches!(rendered.definition, SurveyedDefinition::Register(_))
        };
        let (mut all, mut groups) = (0, Vec::<(&Difference, Vec<&str>)>::new());
        for (asker, _, differences) in known.iter().filter(|(_, rendered, _)| sends(rendered)) {
            all += 1;
            for difference in differences.iter().filter(|difference| difference.request == request) {
                match groups.iter_mut().find(|(known, _)| *known == difference) {
                    Some((_, askers)) => askers.push(asker),
                    None => groups.push((difference, vec![asker])),
                }
            }
        }
        if groups.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{head} the {theirs}'s, but for:");
        for (difference, askers) in groups.iter().take(SHOWN) {
            let whose = if askers.len() < all {
                format!("; {} only", some_of(askers.iter().copied(), NAMED))
            } else {
                String::new()
            };
            let _ = writeln!(text, "  {}{}", line(difference), printable(&whose));
        }
        if let Some(more) = groups.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(text, "  and {more} more, see --json");
        }
    }
    text
}

fn line(difference: &Difference) -> String {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let said = match (&difference.theirs, &difference.ours) {
        (theirs, None) => format!("not sent, theirs is {}", theirs.as_ref().map(shown).unwrap_or_default()),
        (None, Some(ours)) => shown(ours),
        (Some(theirs), Some(ours)) => format!("{}, theirs is {}", shown(ours), shown(theirs)),
    };
    let why = why(difference).map(|why| format!(" ({why})")).unwrap_or_default();
    printable(&format!("{}: {said}{why}", difference.path))
}

/// What it is good for.
fn why(difference: &Difference) -> Option<&'static str> {
    let Difference { path, theirs, ours, .. } = difference;
    match path.as_str() {
        "clientToken" => Some("a launch happens once"),
        "startedBy" => Some("its task is found again"),
        "executionRoleArn" => Some("a definition with secrets names its role"),
        path if path.strip_prefix("tags.") == Some(HASH_TAG) => Some("found again, it is not registered again"),
        path if path.contains(".environment") && ours.is_none() => Some("a container secret holds it"),
        path if path.contains(".secrets") && theirs.is_none() => Some("a secret is not in the task's environment"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::survey::{Home, Unrendered};
    use serde_json::{Map, json};

    fn of(request: &'static str, path: &str, theirs: Value, ours: Value) -> Difference {
        let sent = |value: Value| (value != Value::Null).then_some(value);
        Difference { request, path: path.to_owned(), theirs: sent(theirs), ours: sent(ours) }
    }

    fn launch(asker: &str, registers: bool, differences: Option<Vec<Difference>>) -> SurveyedLaunch {
        let named = || SurveyedDefinition::Named { name: "team:1".into(), described: Err("no".into()) };
        let rendered = RenderedLaunch {
            place: Home::new(Ok("123456789012".into()), "eu-west-1").place(),
            definition: if registers { SurveyedDefinition::Register(Map::new()) } else { named() },
            run_task: Map::new(),
            network: None,
            flow_container: "prefect".into(),
            deregisters: false,
            warning: None,
            differences,
            judgement: None,
        };
        SurveyedLaunch { asker: asker.into(), deployment_id: None, is_served: true, rendered: Ok(rendered) }
    }

    fn shown(launches: &[SurveyedLaunch]) -> String {
        text(launches.iter(), "worker")
    }

    #[test]
    fn each_difference_is_shown_once_with_whose_it_is() {
        let token = || of(RUN_TASK, "clientToken", Value::Null, json!("[hash]"));
        let tag = || of(REGISTER, &format!("tags.{HASH_TAG}"), Value::Null, json!("[hash]"));
        let variable = || of(RUN_TASK, "o.environment.KEY", json!("[redacted]"), Value::Null);
        let secret = || of(REGISTER, "containerDefinitions[0].secrets.KEY", Value::Null, json!("arn"));
        let launches = [
            launch("f/a", true, Some(vec![token(), tag()])),
            launch("f/b", true, Some(vec![variable(), token(), secret(), tag()])),
            launch("f/c", false, Some(vec![token(), of(RUN_TASK, "count", json!(1), json!(2))])),
            launch("f/unknown", false, None),
            SurveyedLaunch { is_served: false, ..launch("f/unserved", true, Some(vec![variable()])) },
        ];
        let expected = "\
A run's RunTask is the worker's, but for:
  clientToken: [hash] (a launch happens once)
  o.environment.KEY: not sent, theirs is [redacted] (a container secret holds it); f/b only
  count: 2, theirs is 1; f/c only
The RegisterTaskDefinition of a run's own definition is the worker's, but for:
  tags.prefect-serverless-agent:definition: [hash] (found again, it is not registered again)
  containerDefinitions[0].secrets.KEY: arn (a secret is not in the task's environment); f/b only
";
        assert_eq!(shown(&launches), expected);
    }

    #[test]
    fn many_are_counted_and_what_others_wrote_is_no_command_to_the_terminal() {
        let many = (0..25).map(|number| of(RUN_TASK, &format!("x{number}\u{1b}[2J"), Value::Null, json!(1)));
        let five = (0..5).map(|number| launch(&format!("f/{number}"), false, Some(many.clone().collect())));
        let launches: Vec<_> = five.chain([launch("g", false, Some(vec![]))]).collect();
        let shown = shown(&launches);
        assert!(
            shown.contains("; f/0, f/1, f/2 and 2 more only\n") && shown.ends_with("and 5 more, see --json\n"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn where_no_launch_is_known_nothing_is_shown() {
        let refused = Unrendered { why: "no".into(), is_certain: true };
        let broken = SurveyedLaunch { rendered: Err(refused), ..launch("f/a", true, None) };
        assert_eq!(shown(&[broken, launch("f/b", false, None)]), "");
    }
}
