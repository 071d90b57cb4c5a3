//! What is made of a text and costs time, kept for when the text comes again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// So many are kept at most.
const MOST: usize = 256;

/// What was made of texts.
pub(crate) struct Kept<T>(Mutex<BTreeMap<String, T>>);

impl<T: Clone> Kept<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// What is made of this text.
    pub(crate) fn get_or(&self, text: &str, make: impl FnOnce() -> T) -> T {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned();
        known.unwrap_or_else(|| {
            let new = make();
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MOST {
                kept.clear();
            }
            kept.insert(text.to_owned(), new.clone());
            new
        })
    }
}
