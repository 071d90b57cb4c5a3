//! Locks that a panic elsewhere does not take out of use.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock. What is behind it is valid after every statement, so a poisoned one is as good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
