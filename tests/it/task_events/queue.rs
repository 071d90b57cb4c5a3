//! Events come by a queue: each message of a batch is told by itself, and one that could not be told waits there, longer each
//! time, until it is.

use super::scene::Scene;
use super::workers::of_worker;
use crate::prefect::{Phase, Prefect};
use serde_json::{Value, json};
use time::Duration;
use world::ecs::Stop;
use world::sqs::Message;
use world::{Fault, FaultKind};

const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/psa-task-events";
/// As in the template.
const HIDDEN: Duration = Duration::minutes(6);

fn away(prefect: Prefect) -> Fault {
    Fault::new(prefect.service(), "*", FaultKind::DropBefore).always()
}

impl Scene {
    fn queue_up(&self, bodies: &[Value]) {
        let mut state = self.world().lock();
        let now = state.now();
        let queue = state.sqs.queues.entry(QUEUE.into()).or_default();
        for body in bodies {
            queue.send(&body.to_string(), now);
        }
    }

    /// Lambda's event source reads a batch and does what the function answers.
    async fn batch(&self) -> Value {
        let batch = {
            let mut state = self.world().lock();
            let now = state.now();
            state.sqs.batch(QUEUE, HIDDEN, now).expect("a message waits")
        };
        let answer = self.told(batch.clone()).await;
        self.world().lock().sqs.settle(QUEUE, &batch, Some(&answer));
        answer
    }

    fn queued(&self) -> Vec<Message> {
        self.world().lock().sqs.queues[QUEUE].messages.clone()
    }

    /// In how many minutes each message may be received again.
    fn waits(&self) -> Vec<i64> {
        let now = self.world().lock().now();
        self.queued().iter().map(|message| (message.visible_at - now + Duration::seconds(30)).whole_minutes()).collect()
    }
}

#[tokio::test]
async fn every_message_is_told_by_itself() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        scene.world().ecs_stop(&task, &Stop::exited(1));
        let foreign = json!({"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": {}});
        scene.queue_up(&[json!("no event"), scene.world().task_event(&task), foreign]);
        let odd = scene.queued()[0].id.clone();
        let answer = scene.batch().await;
        assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": odd}]}), "{prefect:?}");
        assert_eq!(scene.phase(&run), Phase::Dead, "{prefect:?}");
        assert_eq!(scene.waits(), [1], "{prefect:?}: what is no event stays, for a person in the end");
    }
}

#[tokio::test]
async fn while_prefect_is_away_a_message_waits_longer_each_time_and_is_told_in_the_end() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.running().await;
        scene.world().ecs_stop(&task, &Stop::exited(1));
        scene.queue_up(&[scene.world().task_event(&task)]);
        let before = scene.before(&run);
        scene.world().fault(away(prefect));
        for wait in [1, 2, 4, 8, 15, 15] {
            let answer = scene.batch().await;
            assert_eq!(answer["batchItemFailures"].as_array().map(Vec::len), Some(1), "{prefect:?}: {answer}");
            assert_eq!(scene.waits(), [wait], "{prefect:?}");
            scene.world().advance(std::time::Duration::from_secs(60 * wait.unsigned_abs()));
        }
        scene.is_unchanged(&before);
        scene.world().lock().faults.clear();
        assert_eq!(scene.batch().await, json!({"batchItemFailures": []}), "{prefect:?}");
        assert_eq!((scene.phase(&run), scene.queued().len()), (Phase::Dead, 0), "{prefect:?}");
    }
}

#[tokio::test]
async fn a_workers_task_is_told_by_its_tags_long_after_ecs_forgot_them() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, world::prefect3::POOL).await;
    scene.begin(&run, &task);
    scene.world().ecs_stop(&task, &Stop::exited(1));
    scene.queue_up(&[scene.world().task_event(&task)]);
    scene.world().fault(away(Prefect::Three));
    // Sent again with its tags, it is another message, and the first one is done.
    let first = scene.queued()[0].id.clone();
    assert_eq!(scene.batch().await, json!({"batchItemFailures": []}));
    assert_eq!((scene.queued().len(), scene.waits()), (1, vec![1]));
    assert_ne!(scene.queued()[0].id, first);
    for wait in [1, 1, 2] {
        scene.world().advance(std::time::Duration::from_secs(60 * wait));
        let answer = scene.batch().await;
        assert_eq!(
            answer["batchItemFailures"].as_array().map(Vec::len),
            Some(1),
            "it is not sent a third time: {answer}"
        );
    }
    scene.world().lock().ecs.tasks.clear();
    scene.world().lock().faults.clear();
    scene.world().advance(std::time::Duration::from_mins(4));
    assert_eq!(scene.batch().await, json!({"batchItemFailures": []}));
    assert_eq!((scene.phase(&run), scene.queued().len()), (Phase::Dead, 0));
}

/// Told late, beside its end, it could put the run back.
#[tokio::test]
async fn that_a_workers_task_waits_is_no_news_any_more_when_prefect_is_back() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, world::prefect3::POOL).await;
    scene.world().ecs_set_status(&task, "PENDING");
    let before = scene.before(&run);
    scene.queue_up(&[scene.world().task_event(&task)]);
    scene.world().fault(away(Prefect::Three));
    let first = scene.queued()[0].id.clone();
    assert_eq!(scene.batch().await["batchItemFailures"][0]["itemIdentifier"], first, "the same message stays");
    scene.world().lock().faults.clear();
    scene.world().advance(std::time::Duration::from_mins(1));
    assert_eq!(scene.batch().await, json!({"batchItemFailures": []}));
    assert_eq!(scene.queued().len(), 0);
    scene.is_unchanged(&before);
}

#[tokio::test]
async fn a_queue_that_does_not_answer_gives_the_message_out_again_by_itself() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.running().await;
    scene.world().ecs_stop(&task, &Stop::exited(1));
    scene.queue_up(&[scene.world().task_event(&task)]);
    scene.world().fault(away(Prefect::Three));
    scene.world().fault(Fault::new("sqs", "*", FaultKind::DropBefore).always());
    scene.batch().await;
    assert_eq!(scene.waits(), [6], "as long as the queue hides what was received");
    scene.world().lock().faults.clear();
    scene.world().advance(std::time::Duration::from_mins(6));
    assert_eq!(scene.batch().await, json!({"batchItemFailures": []}));
    assert_eq!(scene.phase(&run), Phase::Dead);
}
