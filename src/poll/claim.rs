//! Claims. One whose answer was lost is resolved by reading the run back and looking for our mark, never by guessing.

use super::context::Context;
use super::prepare::Prepared;
use super::report::RunOutcome;
use crate::clock::Clock;
use crate::model::ErrorKind;
use crate::orchestrator::{Claim, Claimed, DueRun, Orchestrator};
use crate::platform::Platform;

/// A claim is sent at most this often: the first time, and again when reading back shows that it did not arrive.
const ROUNDS: usize = 3;

/// Those of the runs that are in the turn still in which they were seen.
pub(super) async fn still_due<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    runs: Vec<&'r DueRun<O::Detail>>,
) -> Vec<&'r DueRun<O::Detail>> {
    let now = match cx.orchestrator.reread(&runs).await {
        Ok(now) => now,
        Err(error) => {
            cx.report.api_trouble(&error, cx.clock.now());
            for run in runs {
                cx.outcome(run, RunOutcome::Deferred(format!("could not be read again before its claim: {error}")));
            }
            return Vec::new();
        }
    };
    let mut still_due = Vec::new();
    for (run, now) in runs.into_iter().zip(now) {
        match now {
            Some(now) if now.epoch == run.epoch => still_due.push(run),
            Some(now) => {
                cx.outcome(run, RunOutcome::Skipped(format!("changed before its launch: it is {}", now.state)));
            }
            None => cx.outcome(run, RunOutcome::Skipped("was deleted before its launch".to_owned())),
        }
    }
    still_due
}

/// Claims the runs; those that are ours come back.
pub(super) async fn claim<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    prepared: Vec<Prepared<'r, O::Detail, P>>,
) -> Vec<Prepared<'r, O::Detail, P>> {
    let mut ours = Vec::new();
    let count = prepared.len();
    let mut open = prepared;
    let mut unanswered = String::new();
    for round in 0..ROUNDS {
        if open.is_empty() {
            break;
        }
        if let Some(reason) = cx.why_not_claim() {
            defer_all(cx, open, reason);
            return ours;
        }
        let unclear = claim_round(cx, open, round > 0, &mut ours, &mut unanswered).await;
        open = resolve(cx, unclear, &mut ours).await;
    }
    let reason = "the claim was not answered; the run is unchanged";
    if count > 0 && open.len() == count {
        // An API that answers no claim at all is not well, whatever it can still read.
        cx.report.trouble(ErrorKind::ApiError, &format!("no claim was answered: {unanswered}"));
    }
    defer_all(cx, open, reason);
    ours
}

/// Sends the claims once; those whose outcome is unclear come back, and why in `unanswered`. On a replay a refusal is
/// unclear too: the claim that was refused may be our own earlier one.
async fn claim_round<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    prepared: Vec<Prepared<'r, O::Detail, P>>,
    replay: bool,
    ours: &mut Vec<Prepared<'r, O::Detail, P>>,
    unanswered: &mut String,
) -> Vec<Prepared<'r, O::Detail, P>> {
    let claims: Vec<_> = prepared.iter().map(|candidate| Claim { run: candidate.run, mark: &candidate.mark }).collect();
    let answers = cx.orchestrator.claim(&claims).await;
    let mut unclear = Vec::new();
    for (candidate, answer) in prepared.into_iter().zip(answers) {
        match answer {
            Claimed::Ours => ours.push(candidate),
            Claimed::Unknown(reason) => {
                *unanswered = reason;
                unclear.push(candidate);
            }
            Claimed::Refused(_) | Claimed::NotMade(_) if replay => unclear.push(candidate),
            Claimed::Refused(reason) => cx.outcome(candidate.run, RunOutcome::Skipped(reason)),
            Claimed::NotMade(error) => {
                cx.api_trouble(&error);
                cx.outcome(candidate.run, RunOutcome::Deferred(format!("not claimed: {error}")));
            }
        }
    }
    unclear
}

/// Reads unclear runs back. Ours go to `ours`, unchanged ones come back to be claimed again.
async fn resolve<'r, O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    unclear: Vec<Prepared<'r, O::Detail, P>>,
    ours: &mut Vec<Prepared<'r, O::Detail, P>>,
) -> Vec<Prepared<'r, O::Detail, P>> {
    if unclear.is_empty() {
        return unclear;
    }
    let runs: Vec<_> = unclear.iter().map(|candidate| candidate.run).collect();
    let now = match cx.orchestrator.reread(&runs).await {
        Ok(now) => now,
        Err(error) => {
            cx.api_trouble(&error);
            let reason = format!("the claim was not answered and the run cannot be read: {error}");
            defer_all(cx, unclear, &reason);
            return Vec::new();
        }
    };
    let mut unchanged = Vec::new();
    for (candidate, now) in unclear.into_iter().zip(now) {
        match now {
            Some(now) if candidate.mark.is_claim_of(now.mark.as_ref()) => ours.push(candidate),
            Some(now) if now.epoch == candidate.run.epoch => unchanged.push(candidate),
            Some(now) => cx.outcome(candidate.run, RunOutcome::Skipped(format!("it is {} now", now.state))),
            None => cx.outcome(candidate.run, RunOutcome::Skipped("it no longer exists".to_owned())),
        }
    }
    unchanged
}

fn defer_all<O: Orchestrator, P: Platform, C: Clock>(
    cx: &Context<'_, O, P, C>,
    prepared: Vec<Prepared<'_, O::Detail, P>>,
    reason: &str,
) {
    for candidate in prepared {
        cx.outcome(candidate.run, RunOutcome::Deferred(reason.to_owned()));
    }
}
