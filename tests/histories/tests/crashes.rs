//! Every point at which a process waits is one at which it may die.

use histories::call::Generation;
use histories::scene::{Scene, settled};
use histories::table::Count;

/// How often this situation's process is polled until it ends.
fn points(scene: Scene, generation: Generation) -> usize {
    scene
        .play(generation, 0, async |driver| {
            scene.begin(driver, false);
            driver.run_out().await;
            driver.polls_of_last
        })
        .unwrap()
}

#[test]
fn a_process_may_die_at_every_point_of_a_poll() {
    let mut crashes = 0;
    for generation in [Generation::One, Generation::Three] {
        for scene in Scene::ALL.iter().copied().filter(|scene| scene.is_of(generation)) {
            let points = points(scene, generation);
            assert!(points > 2, "{scene:?}, {generation:?}: {points} points are too few");
            for point in 1..points {
                let wrong = scene.play(generation, 0, async |driver| {
                    let kills = driver.tally.of(Count::Kills);
                    let id = scene.begin(driver, false);
                    driver.kill_after(id, point);
                    driver.run_out().await;
                    assert!(
                        driver.tally.of(Count::Kills) > kills,
                        "{scene:?}, {generation:?}: not killed at point {point}"
                    );
                    if scene.is_event() {
                        // Lambda delivers an event again when the function died over it.
                        scene.begin(driver, false);
                        driver.run_out().await;
                    }
                    settled(driver).await
                });
                assert_eq!(wrong.unwrap(), [""; 0], "{scene:?}, {generation:?}, killed at point {point} of {points}");
                crashes += 1;
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 500, "only {crashes} crashes");
}
