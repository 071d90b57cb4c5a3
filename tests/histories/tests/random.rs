//! A share of the random histories of which `make soak` plays a million.

use histories::history::Script;
use histories::table::Count;

/// So many are played by every run of the tests.
const HISTORIES: u64 = 2_000;

#[test]
fn random_histories_lose_nothing_and_launch_nothing_twice() {
    let mut launches = 0;
    for seed in 0..HISTORIES {
        let outcome = Script::of(seed).play(false);
        launches += outcome.tally.of(Count::Launches);
        assert_eq!(outcome.violations, [""; 0], "seed {seed}: `soak --seed {seed}` tells the story");
    }
    println!("{HISTORIES} histories, {launches} launches");
    assert!(launches > HISTORIES, "only {launches} launches: the histories are empty");
}

/// So many are played in which a tenth of all events never arrives.
const LOSSY: u64 = 1_000;

#[test]
fn what_no_event_tells_polls_find() {
    let (mut dead, mut unheard) = (0, 0);
    for seed in 0..LOSSY {
        let outcome = Script::lossy(seed).play(false);
        dead += outcome.tally.of(Count::Dead);
        unheard += outcome.tally.of(Count::Unheard);
        assert_eq!(outcome.violations, [""; 0], "seed {seed}: `soak --lossy --seed {seed}` tells the story");
    }
    println!("{LOSSY} histories, {dead} runs whose task died, {unheard} of them without an event");
    assert!(unheard * 20 > dead && dead > unheard, "{unheard} of {dead}: the histories are empty");
}

/// Seeds that broke a promise once, or in which the audit took for broken what nobody could have known.
const FOUND: [u64; 7] = [113_897, 119_770, 123_491, 124_842, 136_423, 176_271, 216_786];

#[test]
fn what_broke_a_promise_once_does_so_no_more() {
    for seed in FOUND {
        let outcome = Script::of(seed).play(false);
        assert_eq!(outcome.violations, [""; 0], "seed {seed}: `soak --seed {seed}` tells the story");
    }
}

#[test]
fn a_seed_tells_the_same_story_again() {
    for seed in 0..50 {
        let (once, again) = (Script::of(seed).play(true), Script::of(seed).play(true));
        assert_eq!(once.story, again.story, "seed {seed}");
        assert!(!once.story.is_empty());
    }
}
