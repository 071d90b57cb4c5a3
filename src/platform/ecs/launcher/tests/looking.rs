//! Finding and stopping earlier tasks.

use super::*;
use crate::aws::ecs::Task;
use crate::platform::Progress;
use crate::platform::ecs::testing::{refused, task};

async fn live(room: &Room) -> Result<Vec<(String, Progress)>, LaunchOutcome> {
    let found = room.live_tasks(&LaunchTarget::default(), &identity().started_by).await?;
    assert_eq!(found.warning, None);
    Ok(found.deployments.into_iter().map(|task| (task.id, task.progress)).collect())
}

fn pair(arn: &str, progress: Progress) -> (String, Progress) {
    (arn.into(), progress)
}

#[tokio::test]
async fn live_tasks_are_those_that_have_not_stopped() {
    let room = room();
    {
        let mut world = room.ecs.world();
        world.listed = Some(Ok(vec!["running".into(), "stopped".into(), "new".into()]));
        world.tasks.insert("running".into(), task("running", "RUNNING"));
        world.tasks.insert("stopped".into(), task("stopped", "STOPPED"));
    }
    // The one that is not described yet must not be taken for one that is gone.
    assert_eq!(live(&room).await, Ok(vec![pair("running", Progress::Begun), pair("new", Progress::Unknown)]));
}

#[tokio::test]
async fn a_task_that_is_being_stopped_lives_until_it_has_stopped_or_is_forgotten() {
    let room = room();
    {
        let mut world = room.ecs.world();
        world.listed = Some(Ok(vec!["both".into()]));
        world.listed_as_stopped = Some(Ok(vec!["both".into(), "ending".into(), "stopped".into(), "forgotten".into()]));
        world.tasks.insert("ending".into(), Task { desired_status: "STOPPED".into(), ..task("ending", "RUNNING") });
        world.tasks.insert("stopped".into(), task("stopped", "STOPPED"));
    }
    assert_eq!(live(&room).await, Ok(vec![pair("both", Progress::Unknown), pair("ending", Progress::Begun)]));
}

#[tokio::test]
async fn without_the_list_of_stopped_tasks_the_others_are_known_and_a_warning_says_so() {
    let room = room();
    {
        let mut world = room.ecs.world();
        world.listed = Some(Ok(vec!["running".into()]));
        world.listed_as_stopped =
            Some(Err(refused(400, "InvalidParameterException", "startedBy must be the only filter")));
        world.tasks.insert("running".into(), task("running", "RUNNING"));
    }
    let found = room.live_tasks(&LaunchTarget::default(), "x").await.unwrap();
    assert_eq!(found.deployments.len(), 1);
    assert!(found.warning.is_some_and(|warning| warning.contains("only filter")));
    room.ecs.world().listed_as_stopped = Some(Err(refused(400, "ThrottlingException", "Rate exceeded")));
    assert!(matches!(live(&room).await, Err(LaunchOutcome::Transient { .. })), "that passes: it is waited for");
}

#[tokio::test]
async fn a_refused_list_of_running_tasks_is_the_agents_trouble() {
    let room = room();
    room.ecs.world().listed = Some(Err(refused(400, "InvalidParameterException", "startedBy must be the only filter")));
    assert!(matches!(live(&room).await, Err(LaunchOutcome::AgentTrouble(_))));
}

#[tokio::test]
async fn many_tasks_are_described_page_by_page() {
    let room = room();
    room.ecs.world().listed = Some(Ok((0..250).map(|n| format!("t{n}")).collect()));
    assert_eq!(live(&room).await.unwrap().len(), 250);
    assert_eq!(room.ecs.count("DescribeTasks"), 3);
}

#[tokio::test]
async fn no_tasks_need_no_description_and_no_cluster_has_no_tasks() {
    let room = room();
    assert_eq!(live(&room).await, Ok(vec![]));
    assert_eq!(room.ecs.world().calls, ["ListTasks", "ListTasks of stopped ones"]);
    room.ecs.world().listed = Some(Err(refused(400, "ClusterNotFoundException", "Cluster not found.")));
    assert_eq!(live(&room).await, Ok(vec![]), "the launch will say so");
}

#[tokio::test]
async fn a_look_that_fails_is_classified() {
    let room = room();
    room.ecs.world().listed = Some(Err(refused(400, "ThrottlingException", "Rate exceeded")));
    assert!(matches!(live(&room).await, Err(LaunchOutcome::Transient { .. })));
    room.ecs.world().listed = Some(Err(refused(400, "AccessDeniedException", "")));
    assert!(matches!(live(&room).await, Err(LaunchOutcome::AgentTrouble(_))));
}

#[tokio::test]
async fn stopping_what_is_not_there_succeeds() {
    let room = room();
    assert_eq!(
        room.stop(&LaunchTarget { cluster: "c".into(), ..LaunchTarget::default() }, "t1", "superseded").await,
        Ok(())
    );
    room.ecs.world().stop_error = Some(refused(400, "InvalidParameterException", "The referenced task was not found."));
    assert_eq!(
        room.stop(&LaunchTarget { cluster: "c".into(), ..LaunchTarget::default() }, "t1", "superseded").await,
        Ok(())
    );
    room.ecs.world().stop_error = Some(refused(400, "AccessDeniedException", ""));
    assert!(matches!(
        room.stop(&LaunchTarget { cluster: "c".into(), ..LaunchTarget::default() }, "t1", "superseded").await,
        Err(LaunchOutcome::AgentTrouble(_))
    ));
}
