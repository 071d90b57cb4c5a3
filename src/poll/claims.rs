//! Claims. One whose answer was lost is resolved by reading the run back and looking for our mark, never by guessing.

use super::batch::{Candidate, Job};
use super::ledger::Fate;
use crate::clock::Clock;
use crate::launch::Launcher;
use crate::model::ApiError;
use crate::model::ErrorKind;
use crate::orchestrator::{Claim, Claimed, Orchestrator};

/// A claim is sent at most this often: the first time, and again when reading back shows that it did not arrive.
const ROUNDS: usize = 3;

impl<O: Orchestrator, L: Launcher, C: Clock> Job<'_, '_, O, L, C> {
    /// Claims the runs; those that are ours come back.
    pub(super) async fn claim<'r>(&self, candidates: Vec<Candidate<'r, O::Detail>>) -> Vec<Candidate<'r, O::Detail>> {
        let mut ours = Vec::new();
        let count = candidates.len();
        let mut open = candidates;
        let mut unanswered = String::new();
        for round in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            if let Some(reason) = self.turn.why_not_claim() {
                self.defer_all(open, reason);
                return ours;
            }
            let unclear = self.claim_round(open, round > 0, &mut ours, &mut unanswered).await;
            open = self.resolve(unclear, &mut ours).await;
        }
        let reason = "the claim was not answered; the run is unchanged";
        if count > 0 && open.len() == count {
            // An API that answers no claim at all is not well, whatever it can still read.
            self.turn.ledger.trouble(ErrorKind::ApiError, &format!("no claim was answered: {unanswered}"));
        }
        self.defer_all(open, reason);
        ours
    }

    /// Sends the claims once; those whose outcome is unclear come back, and why in `unanswered`. On a replay a refusal is unclear too: the
    /// claim that was refused may be our own earlier one.
    async fn claim_round<'r>(
        &self,
        candidates: Vec<Candidate<'r, O::Detail>>,
        replay: bool,
        ours: &mut Vec<Candidate<'r, O::Detail>>,
        unanswered: &mut String,
    ) -> Vec<Candidate<'r, O::Detail>> {
        let claims: Vec<_> =
            candidates.iter().map(|candidate| Claim { run: candidate.run, mark: &candidate.mark }).collect();
        let answers = self.turn.orchestrator.claim(&claims).await;
        let mut unclear = Vec::new();
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            match answer {
                Claimed::Ours => ours.push(candidate),
                Claimed::Unknown(reason) => {
                    *unanswered = reason;
                    unclear.push(candidate);
                }
                Claimed::Refused(_) | Claimed::NotMade(_) if replay => unclear.push(candidate),
                Claimed::Refused(reason) => self.fate(candidate.run, Fate::Skipped(reason)),
                Claimed::NotMade(error) => {
                    self.api_trouble(&error);
                    self.fate(candidate.run, Fate::Deferred(format!("not claimed: {error}")));
                }
            }
        }
        unclear
    }

    /// Reads unclear runs back. Ours go to `ours`, unchanged ones come back to be claimed again.
    async fn resolve<'r>(
        &self,
        unclear: Vec<Candidate<'r, O::Detail>>,
        ours: &mut Vec<Candidate<'r, O::Detail>>,
    ) -> Vec<Candidate<'r, O::Detail>> {
        if unclear.is_empty() {
            return unclear;
        }
        let runs: Vec<_> = unclear.iter().map(|candidate| candidate.run).collect();
        let now = match self.turn.orchestrator.reread(&runs).await {
            Ok(now) => now,
            Err(error) => {
                self.api_trouble(&error);
                let reason = format!("the claim was not answered and the run cannot be read: {error}");
                self.defer_all(unclear, &reason);
                return Vec::new();
            }
        };
        let mut unchanged = Vec::new();
        for (candidate, now) in unclear.into_iter().zip(now) {
            match now {
                Some(now) if candidate.mark.is_claim_of(now.mark.as_ref()) => ours.push(candidate),
                Some(now) if now.epoch == candidate.run.epoch => unchanged.push(candidate),
                Some(now) => self.fate(candidate.run, Fate::Skipped(format!("it is {} now", now.state))),
                None => self.fate(candidate.run, Fate::Skipped("it no longer exists".to_owned())),
            }
        }
        unchanged
    }

    fn defer_all(&self, candidates: Vec<Candidate<'_, O::Detail>>, reason: &str) {
        for candidate in candidates {
            self.fate(candidate.run, Fate::Deferred(reason.to_owned()));
        }
    }

    /// The API itself has trouble: said once, and nothing more is claimed in this turn.
    pub(super) fn api_trouble(&self, error: &ApiError) {
        if matches!(error, ApiError::Throttled { .. }) {
            self.turn.ledger.throttled();
        }
        self.turn.halt();
        self.turn.ledger.api_trouble(error, self.turn.clock.now());
    }
}
