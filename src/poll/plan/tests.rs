#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use proptest::prelude::*;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00:00 UTC);

fn limits(seconds: u64, launch_rate: Option<f64>) -> Limits {
    let stop_claiming = NOW + Duration::from_secs(seconds);
    Limits { stop_claiming, deadline: stop_claiming + Duration::from_secs(9), launch_rate, try_one_first: false }
}

fn starts(offsets_ms: &[i64]) -> Vec<Start> {
    let at = |ms: &i64| NOW + time::Duration::milliseconds(*ms);
    offsets_ms.iter().enumerate().map(|(index, ms)| Start { index, start_time: at(ms) }).collect()
}

#[test]
fn runs_that_are_due_go_first_in_the_order_of_their_start() {
    let plan = plan(NOW, limits(110, None), &starts(&[-1_000, 5_000, -60_000, 0]));
    assert_eq!(plan.batches[0], PlannedBatch { at: NOW, held: false, runs: vec![2, 0, 3] });
    assert_eq!(plan.batches[1], PlannedBatch { at: NOW + Duration::from_secs(5), held: true, runs: vec![1] });
    assert!(plan.deferred.is_empty());
}

#[test]
fn a_fraction_of_a_second_is_rounded_up_never_down() {
    let plan = plan(NOW, limits(110, None), &starts(&[4_001, 4_999, 5_000]));
    assert_eq!(plan.batches, [PlannedBatch { at: NOW + Duration::from_secs(5), held: true, runs: vec![0, 1, 2] }]);
}

#[test]
fn a_run_that_starts_after_the_invocation_is_left_alone() {
    let plan = plan(NOW, limits(30, None), &starts(&[29_000, 30_000]));
    assert_eq!(plan.batches.len(), 1);
    assert_eq!(plan.deferred.len(), 1);
    assert_eq!(plan.deferred[0].0, 1);
    assert!(plan.deferred[0].1.contains("after this invocation ends"), "{}", plan.deferred[0].1);
}

#[test]
fn a_run_of_the_last_second_of_all_is_left_alone() {
    let start = Start { index: 0, start_time: datetime!(9999-12-31 23:59:59.5 UTC) };
    let plan = plan(NOW, limits(30, None), &[start]);
    assert!(plan.deferred[0].1.contains("after this invocation ends"), "{}", plan.deferred[0].1);
}

#[test]
fn nothing_is_claimed_once_the_time_to_stop_has_come() {
    let late = limits(0, None);
    let plan = plan(NOW, late, &starts(&[-1_000]));
    assert!(plan.batches.is_empty());
    assert_eq!(plan.deferred, [(0, "no time is left in this invocation".to_owned())]);
}

#[test]
fn no_more_is_claimed_than_the_launch_rate_can_launch() {
    let plan = plan(NOW, limits(10, Some(20.0)), &starts(&[0; 250]));
    let planned: usize = plan.batches.iter().map(|batch| batch.runs.len()).sum();
    assert_eq!((planned, plan.deferred.len()), (200, 50));
    assert!(plan.deferred[0].1.contains("20 launches per second"), "{}", plan.deferred[0].1);
}

#[test]
fn after_trouble_at_aws_one_run_goes_first() {
    let careful = Limits { try_one_first: true, ..limits(10, None) };
    let plan = plan(NOW, careful, &starts(&[0, 0, 0, 5_000]));
    let batches: Vec<_> = plan.batches.iter().map(|batch| batch.runs.clone()).collect();
    assert_eq!(batches, [vec![0], vec![1, 2], vec![3]]);
}

#[test]
fn batches_are_bounded() {
    let plan = plan(NOW, limits(10, None), &starts(&[0; 250]));
    assert_eq!(plan.batches.iter().map(|batch| batch.runs.len()).collect::<Vec<_>>(), [100, 100, 50]);
}

proptest! {
    #[test]
    fn every_run_goes_exactly_one_way_and_none_goes_early(
        offsets in proptest::collection::vec(-120_000_i64..180_000, 0..400),
        seconds in 0_u64..120,
        rate in proptest::option::of(0.5_f64..50.0),
    ) {
        let starts = starts(&offsets);
        let plan = plan(NOW, limits(seconds, rate), &starts);
        let mut seen: Vec<usize> = plan.batches.iter().flat_map(|batch| batch.runs.clone()).collect();
        seen.extend(plan.deferred.iter().map(|(index, _)| *index));
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..offsets.len()).collect::<Vec<_>>());
        for batch in &plan.batches {
            prop_assert!(batch.runs.len() <= BATCH);
            prop_assert!(batch.at < limits(seconds, rate).stop_claiming);
            prop_assert_eq!(batch.held, batch.at > NOW);
            for run in &batch.runs {
                prop_assert!(batch.at >= starts[*run].start_time, "run {} is early", run);
                prop_assert!(batch.at <= starts[*run].start_time.max(NOW) + Duration::from_secs(1));
            }
        }
    }
}
