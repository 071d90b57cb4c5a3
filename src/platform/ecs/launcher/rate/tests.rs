#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::platform::ecs::testing::{JumpingClock, START};
use futures_util::future::join_all;
use proptest::prelude::*;

fn slots(per_second: f64, calls: usize) -> Vec<OffsetDateTime> {
    let mut slots = Slots::new(per_second).unwrap();
    (0..calls).map(|_| slots.next_slot(START)).collect()
}

#[test]
fn a_burst_of_the_rate_goes_at_once_and_the_next_a_second_later() {
    let slots = slots(20.0, 41);
    assert!(slots[..20].iter().all(|slot| *slot == START), "{slots:?}");
    assert!(slots[20..40].iter().all(|slot| *slot == START + Duration::from_secs(1)), "{slots:?}");
    assert_eq!(slots[40], START + Duration::from_secs(2));
}

#[test]
fn less_than_one_per_second_is_one_each_few_seconds() {
    let seconds: Vec<i64> = slots(0.5, 3).iter().map(|slot| (*slot - START).whole_seconds()).collect();
    assert_eq!(seconds, [0, 2, 4]);
}

#[test]
fn what_is_no_rate_does_not_limit() {
    for rate in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY)] {
        assert!(LaunchRate::new(rate).slots.is_none(), "{rate:?}");
    }
}

#[tokio::test]
async fn waiting_takes_as_long_as_the_rate_says() {
    let (clock, rate) = (JumpingClock::new(), LaunchRate::new(Some(20.0)));
    let deadline = START + Duration::from_mins(1);
    let waits = join_all((0..100).map(|_| rate.wait(&clock, deadline))).await;
    assert!(waits.into_iter().all(|free| free));
    assert_eq!(clock.now(), START + Duration::from_secs(4), "100 launches at 20 per second");
}

#[tokio::test]
async fn nothing_is_taken_past_the_deadline() {
    let (clock, rate) = (JumpingClock::new(), LaunchRate::new(Some(2.0)));
    let deadline = START + Duration::from_millis(500);
    let mut waits = vec![];
    for _ in 0..4 {
        waits.push(rate.wait(&clock, deadline).await);
    }
    assert_eq!(waits, [true, true, false, false]);
    assert_eq!(clock.now(), START, "a refused wait must not wait");
    let later = START + Duration::from_secs(1);
    assert!(rate.wait(&clock, later).await, "the refused calls must not have taken the next window's slots");
    assert!(!LaunchRate::new(None).wait(&clock, START).await, "unlimited, but past the deadline");
}

#[test]
fn the_planner_can_ask_how_many_are_free() {
    let rate = LaunchRate::new(Some(20.0));
    let until = |millis| rate.free_until(START, START + Duration::from_millis(millis));
    assert_eq!((until(0), until(999), until(1000)), (Some(20), Some(20), Some(40)));
    assert_eq!(LaunchRate::new(None).free_until(START, START), None);
}

proptest! {
    #[test]
    fn no_window_of_a_second_has_more_calls_than_the_rate(
        per_second in 1_u32..30,
        gaps in proptest::collection::vec(0_u64..400, 1..200),
    ) {
        let mut slots = Slots::new(f64::from(per_second)).unwrap();
        let mut now = START;
        let taken: Vec<OffsetDateTime> = gaps.iter().map(|gap| {
            now += Duration::from_millis(*gap);
            slots.next_slot(now)
        }).collect();
        for (i, first) in taken.iter().enumerate() {
            let window = taken[i..].iter().filter(|slot| **slot < *first + Duration::from_secs(1)).count();
            prop_assert!(window <= per_second as usize, "{} calls in the second after {}", window, first);
        }
        prop_assert!(taken.is_sorted());
    }
}
