//! A panic is a bug of this program. It ends what it happened in, one agent's poll or one event, and nothing else;
//! locks stay in use after it.

use futures_util::FutureExt;
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, MutexGuard, PoisonError};

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// File, line and column, where [`note`] is the hook.
    place: Option<String>,
    /// Its words, where they stand in the code. What is put into words at run time may hold a secret.
    words: Option<&'static str>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("an unknown place");
        write!(f, "a bug of this program: a panic at {place}")?;
        if let Some(words) = self.words {
            write!(f, ": {words}")?;
        }
        f.write_str("; please report it")
    }
}

/// Lets the process note and log where it panics, in place of the standard hook, which prints words that may hold
/// secrets.
pub fn install() {
    std::panic::set_hook(Box::new(note));
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    PLACE.set(place.clone());
    let panic = Panic { place, words: words(info.payload()) };
    tracing::error!(%panic, "panicked");
}

fn words(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

/// What this comes to, or the panic that it ended in. What a panic leaves half-done must not be used any more.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panic> {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.map_err(|payload| Panic { place: PLACE.take(), words: words(&*payload) })
}

// Locks that a panic elsewhere does not take out of use.

/// The lock. What is behind it is valid after every statement, so a poisoned one is as good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_by_its_words_only_where_they_stand_in_the_code() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let literal = caught(async { panic!("never so") }).await.unwrap_err().to_string();
        assert!(literal.contains("never so") && literal.contains("a bug of this program"), "{literal}");
        let secret = "hunter2".to_owned();
        let formatted = caught(async { panic!("no such key: {secret}") }).await.unwrap_err().to_string();
        assert!(!formatted.contains("hunter2"), "{formatted}");
    }
}
