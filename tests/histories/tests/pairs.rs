//! Every call of a poll × everything that can go wrong with it: none left out.

use histories::call::{Call, Generation};
use histories::fault::Fault;
use histories::scene::{Scene, calls, play_with, settled};
use std::collections::BTreeMap;

/// Of each kind of call, so many of a poll go wrong, one after the other.
const FIRST: usize = 2;

#[test]
fn whatever_goes_wrong_with_whatever_call_every_run_gets_its_one_task() {
    for generation in [Generation::One, Generation::Three] {
        let scenes: Vec<(Scene, BTreeMap<Call, usize>)> = Scene::ALL
            .iter()
            .copied()
            .filter(|scene| scene.is_of(generation))
            .map(|scene| (scene, calls(scene, generation)))
            .collect();
        let mut pairs = 0;
        for call in Call::ALL.iter().copied().filter(|call| call.is_sent_by(generation)) {
            let with_it: Vec<(Scene, usize)> =
                scenes.iter().filter_map(|(scene, calls)| Some((*scene, *calls.get(&call)?))).collect();
            assert!(!with_it.is_empty(), "{call:?} is never sent with {generation:?}");
            for fault in Fault::all_of(call, generation) {
                for (scene, times) in &with_it {
                    (0..FIRST.min(*times)).for_each(|nth| goes_wrong(*scene, generation, (call, nth), fault));
                }
                pairs += 1;
            }
        }
        println!("{generation:?}: {pairs} pairs");
        assert!(pairs > 200, "only {pairs} pairs with {generation:?}");
    }
}

fn goes_wrong(scene: Scene, generation: Generation, (call, nth): (Call, usize), fault: Fault) {
    let wrong = scene.play(generation, 0, async |driver| {
        assert!(
            play_with(scene, driver, call, nth, fault).await,
            "{scene:?}, {generation:?}: no {call:?} number {nth}"
        );
        settled(driver).await
    });
    assert_eq!(wrong.unwrap(), [""; 0], "{scene:?}, {generation:?}: {call:?} number {nth} goes wrong by {fault:?}");
}
