//! What is said to come next is what polls do.

use super::*;

#[test]
fn a_cancelled_run_has_its_grace_and_then_a_poll_stops_its_task() {
    let live = || vec![task("RUNNING", 100, &json!({"desiredStatus": "RUNNING"}))];
    let mut begun = further("Cancelling", Phase::Cancelling, 30);
    begun.run.has_run = true;
    let verdict = said(
        &facts(begun.clone(), live()),
        Standing::Cancelling,
        &["cancelling for 30 s", "may end by itself until 14:03:10; then a poll stops its task"],
    );
    assert_eq!(verdict.next_at, Some(before(-110)));
    begun.since = Some(before(91));
    said(&facts(begun, live()), Standing::Cancelling, &["the next poll stops its task"]);
    // What stops already is not stopped again, and a flow that shows no task is given its time as well.
    let mut begun = further("Cancelling", Phase::Cancelling, 30);
    begun.run.has_run = true;
    let stopping = || vec![task("RUNNING", 100, &json!({"desiredStatus": "STOPPED"}))];
    let words = ["until 14:03:10; then a poll ends it as cancelled: its task is stopping already"];
    said(&facts(begun.clone(), stopping()), Standing::Cancelling, &words);
    let words = ["until 14:03:10; then a poll ends it as cancelled: no task runs"];
    said(&facts(begun.clone(), Vec::new()), Standing::Cancelling, &words);
    let mut unseen = facts(begun.clone(), Vec::new());
    unseen.tasks.unknown = vec!["ecs:ListTasks: AccessDenied".into()];
    said(&unseen, Standing::Cancelling, &["then a poll stops its task, if one runs, and ends it"]);
    let mut two = live();
    two.push(task("PENDING", 20, &json!({"desiredStatus": "RUNNING"})));
    let words = ["the next poll stops its task that has not begun; the other may end by itself until 14:03:10"];
    assert_eq!(said(&facts(begun, two), Standing::Cancelling, &words).next_at, Some(before(-50)));
    let never = further("Cancelling", Phase::Cancelling, 30);
    let words = ["the next poll ends it as cancelled: its task is stopping already"];
    said(&facts(never.clone(), stopping()), Standing::Cancelling, &words);
    let mut unasked = facts(never.clone(), Vec::new());
    unasked.tasks.unknown = vec!["ecs:ListTasks: AccessDenied".into()];
    said(&unasked, Standing::Cancelling, &["the next poll stops its task, if one runs, and ends it"]);
    said(&facts(never, Vec::new()), Standing::Cancelling, &["the next poll ends it as cancelled"]);
}

#[test]
fn what_no_poll_does_about_a_cancelled_run_is_not_promised() {
    let pool = || BlockReason::OtherPool { pool: "other".into(), served: "mine".into() };
    let queue = || BlockReason::OtherQueue { queue: "gpu".into(), served: vec!["cpu".into()] };
    let blocked = |reason: BlockReason| {
        facts(RunFacts { block_reasons: vec![reason], ..further("Cancelling", Phase::Cancelling, 600) }, Vec::new())
    };
    let unpromised = |facts: &Facts, why: &str| {
        let verdict = said(facts, Standing::Cancelling, &["no poll of this agent stops its task", why]);
        assert_eq!((verdict.next, verdict.next_at), (None, None));
    };
    for (reason, why) in
        [(pool(), "work pool `other`"), (queue(), "queue `gpu`"), (BlockReason::OtherTenant, "another tenant")]
    {
        unpromised(&blocked(reason), why);
    }
    let labels = BlockReason::Labels { run: vec!["gpu".into()], agent: Vec::new() };
    for reason in [labels, BlockReason::PoolPaused("ecs".into()), BlockReason::DeploymentClosed] {
        said(&blocked(reason), Standing::Cancelling, &["the next poll ends it as cancelled"]);
    }
    let mut undated = blocked(BlockReason::DeploymentClosed);
    undated.run.as_mut().unwrap().since = None;
    unpromised(&undated, "since when");
    // By their marks polls of Prefect 1 know what they may stop; a pool is served whoever launched its runs.
    let foreign = RunFacts { was_ours: false, ..further("Cancelling", Phase::Cancelling, 600) };
    said(&facts(foreign.clone(), Vec::new()), Standing::Cancelling, &["the next poll ends it as cancelled"]);
    unpromised(&of_agent(foreign, |agent| *agent = prefect_1()), "this agent has never claimed it");
}

#[test]
fn a_task_that_outlives_its_cancelled_run_is_stopped_by_a_poll_or_by_hand() {
    let live = |desired: &str| vec![task("RUNNING", 1000, &json!({"desiredStatus": desired}))];
    let cancelled = |seconds, has_run| {
        let mut run = RunFacts { end: Some(RunEnd::Cancelled), ..further("Cancelled", Phase::Ended, seconds) };
        run.run.has_run = has_run;
        run
    };
    let words = ["It ended as Cancelled 30 s ago, and its task", "lives", "until 14:03:10; then a poll stops its task"];
    assert_eq!(said(&facts(cancelled(30, true), live("RUNNING")), Standing::Ended, &words).next_at, Some(before(-110)));
    for (seconds, has_run) in [(30, false), (90, true), (900, true)] {
        let verdict = said(&facts(cancelled(seconds, has_run), live("RUNNING")), Standing::Ended, &["next poll stops"]);
        assert_eq!(verdict.next_at, Some(before(-50)));
    }
    // Nobody looks for it any more, or ever did.
    let by_hand = ["stop it by hand", "no poll of this agent does"];
    said(&facts(cancelled(901, true), live("RUNNING")), Standing::Ended, &by_hand);
    let others = RunFacts { was_ours: false, ..cancelled(90, true) };
    let others = Facts { agent: prefect_1(), ..facts(others, live("RUNNING")) };
    said(&others, Standing::Ended, &by_hand);
    let stops = said(&facts(cancelled(901, true), live("STOPPED")), Standing::Ended, &["It ended as Cancelled"]);
    assert_eq!((stops.next, stops.advice), (None, None));
}

#[test]
fn a_due_run_whose_earlier_task_lives_is_not_launched_beside_it() {
    let due = |status: &str| {
        let run = RunFacts { mark: Some(mark(1, "etl")), ..waiting() };
        facts(run, vec![task(status, 100, &json!({"desiredStatus": "RUNNING"}))])
    };
    let words = ["the next poll does not launch it yet: an earlier task", "launched once it has stopped"];
    said(&due("RUNNING"), Standing::Due, &words);
    said(&due("PENDING"), Standing::Due, &["the next poll gives it the task", "which has not begun"]);
}

#[test]
fn a_claim_that_polls_do_not_look_for_is_not_promised_its_end() {
    let pool = BlockReason::OtherPool { pool: "other".into(), served: "mine".into() };
    let moved = facts(RunFacts { block_reasons: vec![pool], ..claimed(600) }, Vec::new());
    let verdict = said(&moved, Standing::ClaimedWithoutTask, &["no poll of this agent finishes the claim"]);
    assert_eq!((verdict.next, verdict.next_at), (None, None));
    let queue = BlockReason::OtherQueue { queue: "gpu".into(), served: vec!["cpu".into()] };
    let other_queue = facts(RunFacts { block_reasons: vec![queue], ..claimed(600) }, Vec::new());
    said(&other_queue, Standing::ClaimedWithoutTask, &["the next poll finishes the claim"]);
}

#[test]
fn task_runs_that_wait_are_taken_up_by_polls_only_where_polls_do_so() {
    let mut run = further("Running", Phase::Running, 90);
    (run.run.waits_for_task_runs, run.due_at) = (true, Some(before(-100)));
    let of = |run: &RunFacts, tasks| Facts { agent: prefect_1(), ..facts(run.clone(), tasks) };
    let none = said(&of(&run, Vec::new()), Standing::Running, &["a poll starts it again for its task runs"]);
    assert_eq!(none.next_at, Some(before(-110)), "the first poll after their time");
    let live = task("RUNNING", 100, &json!({"desiredStatus": "RUNNING"}));
    let words = ["task runs of it wait, which are due in 100 s; its task", "still runs: it may retry by itself"];
    assert_eq!(said(&of(&run, vec![live]), Standing::Running, &words).next_at, None);
    let waits = task("PENDING", 100, &json!({"desiredStatus": "RUNNING"}));
    said(&of(&run, vec![waits]), Standing::Running, &["a poll after that takes its task"]);
    let mut unknown = of(&run, Vec::new());
    unknown.tasks.unknown = vec!["ecs:ListTasks: AccessDenied".into()];
    said(&unknown, Standing::Running, &["starts it again for them, if no task of it still runs"]);
    let mut off = of(&run, Vec::new());
    off.agent.health = Some(health(AgentStatus::Disabled, None));
    let verdict = said(&off, Standing::Running, &["enabled: true"]);
    assert!(verdict.next_at.is_none() && verdict.also[0].contains("no poll does so now"), "{verdict:?}");
    run.block_reasons = vec![BlockReason::Labels { run: vec!["gpu".into()], agent: Vec::new() }];
    let verdict = said(&of(&run, Vec::new()), Standing::Running, &["the flow itself says how it ends"]);
    assert!(verdict.also[0].contains("no poll of this agent takes them up, its labels do not match"), "{verdict:?}");
}

#[test]
fn a_configuration_says_what_it_says_where_no_poll_is_remembered() {
    let unknown = |change: fn(&mut AgentView)| {
        of_agent(waiting(), |agent| {
            agent.health = None;
            change(agent);
        })
    };
    let off = unknown(|agent| agent.config.enabled = false);
    said(&off, Standing::AgentOff, &["due for 5 s, but agent etl has `enabled: false`", "set `enabled: true`"]);
    let counted = unknown(|agent| agent.max_polls = Some(7));
    said(&counted, Standing::Due, &["the agent's next poll launches it, unless it has had its max_polls of 7"]);
    // A process that polls a file counts for itself.
    let of_file = unknown(|agent| (agent.max_polls, agent.root) = (Some(7), None));
    let verdict = said(&of_file, Standing::Due, &["the agent's next poll launches it"]);
    assert!(!verdict.next.unwrap().contains("max_polls"));
}

#[test]
fn what_was_scheduled_anew_after_the_last_poll_was_not_left_by_it() {
    let anew = RunFacts { due_at: Some(before(300)), since: Some(before(5)), ..waiting() };
    said(&facts(anew.clone(), Vec::new()), Standing::Due, &["the next poll launches it"]);
    let left = RunFacts { since: Some(before(300)), ..anew };
    said(&facts(left, Vec::new()), Standing::LeftByPoll, &["did not take it"]);
}

#[test]
fn a_dead_task_without_an_event_is_a_polls_once_its_run_has_run_for_a_quarter_of_an_hour() {
    let dead = |since: i64| {
        let ended = json!({
            "stopCode": "EssentialContainerExited", "startedAt": before(since).unix_timestamp(),
            "stoppedAt": before(200).unix_timestamp(), "containers": [{"name": "prefect", "exitCode": 1}],
        });
        let mut run = further("Running", Phase::Running, since);
        run.run.claimed_by = ClaimedBy::Us;
        facts(run, vec![task("STOPPED", since + 40, &ended)])
    };
    let soon = said(&dead(800), Standing::TaskDied, &["a poll after 14:03:50 ends the run as Crashed"]);
    assert!(soon.next_at.is_some() && soon.advice.unwrap().contains("No event"));
    said(&dead(900), Standing::TaskDied, &["the next poll ends the run as Crashed"]);
    let mut anothers = dead(900);
    anothers.run.as_mut().unwrap().run.claimed_by = ClaimedBy::Unknown;
    said(&anothers, Standing::TaskDied, &["task-events ends the run as Crashed"]);
}
