//! Single flight: many who need the same answer at the same time ask for it once, and share it, good or bad.

use super::LaunchOutcome;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// An answer that is fetched once and remembered.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    /// How many fetches have ended.
    fetches: AtomicU64,
    /// The last one's answer.
    last: Mutex<Option<Result<T, LaunchOutcome>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { fetches: AtomicU64::new(0), last: Mutex::new(None) }
    }
}

impl<T: Clone + Send> SingleFlight<T> {
    /// The remembered answer, or `fetch`'s. A failure is shared by those who waited for it and never remembered.
    pub(crate) async fn get<F>(&self, fetch: F) -> Result<T, LaunchOutcome>
    where
        F: Future<Output = Result<T, LaunchOutcome>> + Send,
    {
        self.run(true, fetch).await
    }

    /// As [`Self::get`], but nothing is remembered: only those who wait at the same time share an answer.
    pub(crate) async fn share<F>(&self, fetch: F) -> Result<T, LaunchOutcome>
    where
        F: Future<Output = Result<T, LaunchOutcome>> + Send,
    {
        self.run(false, fetch).await
    }

    async fn run<F>(&self, remember: bool, fetch: F) -> Result<T, LaunchOutcome>
    where
        F: Future<Output = Result<T, LaunchOutcome>> + Send,
    {
        let before = self.fetches.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        let waited = self.fetches.load(Ordering::Acquire) != before;
        match &*last {
            Some(Ok(value)) if remember || waited => return Ok(value.clone()),
            Some(Err(error)) if waited => return Err(error.clone()),
            _ => {}
        }
        let result = fetch.await;
        *last = Some(result.clone());
        self.fetches.fetch_add(1, Ordering::Release);
        result
    }

    /// Forgets the answer if `unwanted` says so of it.
    pub(crate) async fn forget_if(&self, unwanted: impl Fn(&T) -> bool) {
        let mut last = self.last.lock().await;
        if matches!(&*last, Some(Ok(value)) if unwanted(value)) {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests;
