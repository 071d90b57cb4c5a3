//! New identifiers: random ones, or, for worlds that must come out the same again, such as follow from a number.

use std::cell::Cell;
use uuid::Uuid;

thread_local! {
    static NEXT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread's identifiers follow from `first`; `None` makes them random again.
pub fn count_from(first: Option<u64>) {
    NEXT.set(first);
}

/// A new UUID of version 4.
pub fn uuid() -> Uuid {
    let Some(number) = NEXT.get() else { return Uuid::new_v4() };
    NEXT.set(Some(number.wrapping_add(1)));
    // Spread over all bytes, since some are all that a name or a state's id takes.
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    uuid::Builder::from_random_bytes((u128::from(spread) << 64 | u128::from(number)).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_counted_come_again_and_are_none_of_each_others() {
        let some = |first| {
            count_from(Some(first));
            (0..1000).map(|_| uuid()).collect::<Vec<_>>()
        };
        let once = some(7);
        assert_eq!(once, some(7));
        assert!(once.iter().all(|id| id.get_version_num() == 4));
        let all: std::collections::HashSet<_> = once.iter().map(|id| id.as_bytes()[..10].to_vec()).collect();
        assert_eq!(all.len(), once.len());
        count_from(None);
        assert_ne!(uuid(), uuid());
    }
}
