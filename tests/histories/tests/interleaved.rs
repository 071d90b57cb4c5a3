//! Pollers side by side: in every order to a depth, then by seeds.

use histories::call::Generation;
use histories::rng::Rng;
use histories::scene::{INVOCATION, PLAIN, Scene, settled};
use histories::schedule::{Paths, Schedule};

/// Plays all orders of so many pollers, as far as the first `depth` choices make them. How many there are.
fn all_orders(scene: Scene, generation: Generation, pollers: usize, depth: usize) -> usize {
    let mut paths = Paths::new(depth);
    let mut played = 0;
    while let Some(path) = paths.next_path() {
        let (path, wrong) = scene
            .play(generation, pollers, async |driver| {
                driver.schedule = Schedule::Path(path.clone());
                for _ in 0..pollers {
                    scene.begin(driver, true);
                }
                driver.run_out().await;
                let taken = std::mem::replace(&mut driver.schedule, Schedule::First);
                (taken, settled(driver).await)
            })
            .unwrap();
        assert_eq!(wrong, [""; 0], "{scene:?}, {generation:?}, {pollers} pollers in the order {path:?}");
        let Schedule::Path(path) = path else { panic!("another schedule") };
        paths.done(path);
        played += 1;
    }
    played
}

/// All orders of two in all situations. The first requests of a poll only read: what follows them is reached by more
/// choices.
fn two_in_all_scenes(depth: usize, depth_of_due: usize) -> usize {
    let mut played = 0;
    for generation in [Generation::One, Generation::Three] {
        for scene in Scene::ALL.iter().copied().filter(|scene| scene.is_of(generation) && !scene.is_event()) {
            let depth = if scene == Scene::Due { depth_of_due } else { depth };
            played += all_orders(scene, generation, 2, depth);
        }
    }
    println!("{played} orders of two pollers");
    played
}

#[test]
fn two_pollers_in_every_order() {
    assert!(two_in_all_scenes(6, 9) > 2_000);
}

#[test]
#[ignore = "minutes: `make soak` plays it"]
fn two_pollers_in_every_order_much_deeper() {
    assert!(two_in_all_scenes(12, 15) > 50_000);
}

#[test]
fn three_pollers_in_every_order() {
    for generation in [Generation::One, Generation::Three] {
        let played = all_orders(Scene::Due, generation, 3, 6);
        assert!(played >= 700, "only {played} orders with {generation:?}");
    }
}

#[test]
fn three_pollers_and_a_python_agent_by_seeds() {
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let generation = rng.pick(Generation::One, &[Generation::Three]);
        let scene = Scene::ALL[rng.index(Scene::ALL.len())];
        if !scene.is_of(generation) {
            continue;
        }
        let wrong = scene.play(generation, 3, async |driver| {
            driver.schedule = Schedule::Random(rng.fork());
            scene.begin(driver, true);
            for _ in 0..2 {
                driver.poll(INVOCATION, true, PLAIN);
            }
            if rng.chance(500) {
                driver.python();
            }
            driver.run_out().await;
            driver.schedule = Schedule::First;
            settled(driver).await
        });
        assert_eq!(wrong.unwrap(), [""; 0], "{scene:?}, {generation:?}, seed {seed}");
    }
}
