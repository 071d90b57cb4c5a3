//! Every point at which a poll waits is one at which its process may die.

use histories::call::Generation;
use histories::scene::{INVOCATION, PLAIN, Scene, settled};

/// How often a poll of this situation is polled until it ends.
fn points(scene: Scene, generation: Generation) -> usize {
    scene
        .play(generation, 0, async |driver| {
            driver.poll(INVOCATION, false, PLAIN);
            driver.run_out().await;
            driver.polls_of_last
        })
        .unwrap()
}

#[test]
fn a_process_may_die_at_every_point_of_a_poll() {
    let mut crashes = 0;
    for generation in [Generation::One, Generation::Three] {
        for scene in Scene::ALL.into_iter().filter(|scene| scene.is_of(generation)) {
            let points = points(scene, generation);
            assert!(points > 5, "{scene:?}, {generation:?}: a poll of {points} points is none");
            for point in 1..points {
                let wrong = scene.play(generation, 0, async |driver| {
                    let id = driver.poll(INVOCATION, false, PLAIN);
                    driver.kill_after(id, point);
                    driver.run_out().await;
                    assert!(driver.stats.kills > 0, "{scene:?}, {generation:?}: not killed at point {point}");
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
