#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use futures_util::future::join_all;
use std::sync::atomic::AtomicUsize;

fn trouble(n: usize) -> LaunchOutcome {
    LaunchOutcome::AgentTrouble(format!("trouble {n}"))
}

async fn fetch(count: &AtomicUsize, ok: bool) -> Result<usize, LaunchOutcome> {
    tokio::task::yield_now().await;
    let n = count.fetch_add(1, Ordering::SeqCst);
    if ok { Ok(n) } else { Err(trouble(n)) }
}

#[tokio::test]
async fn one_fetch_serves_all_and_is_remembered() {
    let (flight, count) = (SingleFlight::default(), AtomicUsize::new(0));
    let all = join_all((0..100).map(|_| flight.get(fetch(&count, true)))).await;
    assert!(all.iter().all(|answer| *answer == Ok(0)), "{all:?}");
    assert_eq!(flight.get(fetch(&count, true)).await, Ok(0));
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_wait_but_not_remembered() {
    let (flight, count) = (SingleFlight::<usize>::default(), AtomicUsize::new(0));
    let all = join_all((0..100).map(|_| flight.get(fetch(&count, false)))).await;
    assert!(all.iter().all(|answer| *answer == Err(trouble(0))), "{all:?}");
    assert_eq!(flight.get(fetch(&count, true)).await, Ok(1), "the next one tries again");
}

#[tokio::test]
async fn sharing_remembers_nothing() {
    let (flight, count) = (SingleFlight::default(), AtomicUsize::new(0));
    let all = join_all((0..100).map(|_| flight.share(fetch(&count, true)))).await;
    assert!(all.iter().all(|answer| *answer == Ok(0)), "{all:?}");
    assert_eq!(flight.share(fetch(&count, true)).await, Ok(1));
}

#[tokio::test]
async fn only_the_unwanted_answer_is_forgotten() {
    let (flight, count) = (SingleFlight::default(), AtomicUsize::new(7));
    assert_eq!(flight.get(fetch(&count, true)).await, Ok(7));
    flight.forget_if(|n| *n == 1).await;
    assert_eq!(flight.get(fetch(&count, true)).await, Ok(7));
    flight.forget_if(|n| *n == 7).await;
    assert_eq!(flight.get(fetch(&count, true)).await, Ok(8));
}

#[tokio::test]
async fn a_fetch_that_is_given_up_hands_over_to_the_next() {
    let (flight, count) = (SingleFlight::default(), AtomicUsize::new(0));
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), flight.get(std::future::pending())).await;
    assert!(given_up.is_err());
    assert_eq!(flight.get(fetch(&count, true)).await, Ok(0));
}
