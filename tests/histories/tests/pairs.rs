//! Every call of a poll × everything that can go wrong with it: none left out.

use histories::call::{Call, Generation};
use histories::fault::Fault;
use histories::scene::{Scene, poll_with, settled};

#[test]
fn whatever_goes_wrong_with_whatever_call_every_run_gets_its_one_task() {
    for generation in [Generation::One, Generation::Three] {
        let mut pairs = 0;
        for call in Call::ALL.iter().copied().filter(|call| call.is_sent_by(generation)) {
            let scenes: Vec<Scene> = Scene::ALL.into_iter().filter(|scene| scene.is_of(generation)).collect();
            for fault in Fault::all_of(call) {
                let happened = scenes.iter().filter(|scene| happens(**scene, generation, call, fault)).count();
                assert!(happened > 0, "{call:?} × {fault:?} never happens with {generation:?}");
                pairs += 1;
            }
        }
        println!("{generation:?}: {pairs} pairs");
        assert!(pairs > 130, "only {pairs} pairs with {generation:?}");
    }
}

/// Plays the situation with this fault in the first, then in the second call of its kind. Whether it came to that.
fn happens(scene: Scene, generation: Generation, call: Call, fault: Fault) -> bool {
    let mut happened = false;
    for nth in 0..2 {
        let wrong = scene.play(generation, 0, async |driver| {
            if !poll_with(driver, call, nth, fault).await {
                return None;
            }
            Some(settled(driver).await)
        });
        let Some(wrong) = wrong.unwrap() else { break };
        assert_eq!(wrong, [""; 0], "{scene:?}, {generation:?}: {call:?} number {nth} goes wrong by {fault:?}");
        happened = true;
    }
    happened
}
