//! Whatever arrives, and in whatever state the run is.

use crate::model::{ClaimedBy, Generation, Phase, Run};
use crate::task_events::decision::{Action, Decision, Look, Observation, decide};
use crate::task_events::event::TaskEvent;
use crate::task_events::task_owner::{
    LaunchedBy, Owner, OwnerCandidate, Tags, by_started_by, by_tags, definition_to_deregister,
};
use crate::task_events::testing::{CLAIMED, NOW, RUN_ID, TASK_ARN, rules, state_change};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::fs;
use std::sync::LazyLock;

const AGENTS: [OwnerCandidate<'_>; 2] =
    [OwnerCandidate { agent: "etl", work_pool: None }, OwnerCandidate { agent: "new", work_pool: Some("my-pool") }];

/// Events and tags of the golden cases.
static CASES: LazyLock<Vec<(Value, Tags)>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v3-observer");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let case = |path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let cases = paths.into_iter().map(case);
    cases.map(|case| (case["event"].clone(), serde_json::from_value(case["task_tags"].clone()).unwrap())).collect()
});

/// Replaces one value somewhere in an event, or removes it.
#[derive(Debug, Clone)]
struct Mutation {
    place: usize,
    by: Option<Value>,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let texts = vec![
        "",
        "STOPPED",
        "PENDING",
        "TaskFailedToStart",
        "x/y::z",
        "prefect/etl/",
        "2026-01-01T00:00:00Z",
        "prefect",
    ];
    let own = format!("prefect/etl/{RUN_ID}");
    let by = prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        proptest::sample::select(texts).prop_map(|text| Some(json!(text))),
        Just(Some(json!(own))),
        any::<i64>().prop_map(|number| Some(json!(number))),
        ".{0,12}".prop_map(|text| Some(json!(text))),
        Just(Some(json!([]))),
        Just(Some(json!([null, {}, "x"]))),
        Just(Some(json!({"name": "prefect", "exitCode": 0}))),
        Just(Some(json!(1.5))),
    ];
    (any::<usize>(), by).prop_map(|(place, by)| Mutation { place, by })
}

/// An event of ECS with keys that the golden ones lack, then mutated.
fn mutated() -> impl Strategy<Value = (Value, Tags)> {
    let case = (0..CASES.len()).prop_map(|index| CASES[index].clone());
    (case, any::<bool>(), proptest::collection::vec(mutation(), 0..4)).prop_map(
        |((mut event, tags), ours, mutations)| {
            event["detail"]["createdAt"] = json!("2026-01-02T03:04:01Z");
            event["detail"]["version"] = json!(3);
            if ours {
                event["detail"]["startedBy"] = json!(format!("prefect/etl/{RUN_ID}"));
            }
            for Mutation { place, by } in mutations {
                let mut pointers = Vec::new();
                list(&event, String::new(), &mut pointers);
                mutate(&mut event, &pointers[place % pointers.len()], by);
            }
            (event, tags)
        },
    )
}

fn list(value: &Value, here: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| list(value, format!("{here}/{key}"), pointers)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| list(value, format!("{here}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(here);
}

fn mutate(event: &mut Value, pointer: &str, by: Option<Value>) {
    if let Some(by) = by {
        *event.pointer_mut(pointer).unwrap() = by;
    } else if let Some((parent, key)) = pointer.rsplit_once('/') {
        match event.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(Map::shift_remove(map, key)),
            Some(Value::Array(items)) => drop(items.remove(key.parse().unwrap())),
            _ => {}
        }
    }
}

fn any_run() -> impl Strategy<Value = Run> {
    let phases = vec![Phase::Waiting, Phase::Claimed, Phase::Running, Phase::Cancelling, Phase::Ended];
    let claimed = proptest::option::of((-100_i64..100).prop_map(|seconds| CLAIMED + time::Duration::seconds(seconds)));
    let pid = proptest::option::of(proptest::sample::select(vec![
        format!("c::{TASK_ARN}"),
        "c::arn:other".into(),
        "7".into(),
    ]));
    let rest = (proptest::option::of(1_u32..7), any::<bool>(), any::<bool>());
    (proptest::sample::select(phases), claimed, pid, rest).prop_map(
        |(phase, claimed_at, infrastructure_pid, (attempt, has_run, waits_for_task_runs))| Run {
            phase,
            claimed_at,
            infrastructure_pid,
            attempt,
            // A mark with an attempt is ours.
            claimed_by: ClaimedBy::of_mark(attempt.map_or(has_run.then_some(false), |_| Some(true))),
            has_run,
            waits_for_task_runs,
        },
    )
}

/// From an event to what is decided, as the function does it; `None` = ignored.
fn decided(
    event: &Value,
    tags: &Tags,
    run: &Run,
    generation: Generation,
    look: Look,
) -> Option<(TaskEvent, Owner, Decision)> {
    let event = TaskEvent::read(event).ok()?;
    let _ = definition_to_deregister(&event, tags, &AGENTS);
    let owner = by_started_by(&event, &AGENTS).ok()?.or_else(|| by_tags(tags, &AGENTS).ok())?;
    let seen = Observation { now: NOW, tags, run: Some(run), task_version: None, look };
    let decision = decide(&event, &owner, &seen, &rules(generation));
    Some((event, owner, decision))
}

fn generation() -> impl Strategy<Value = Generation> {
    proptest::sample::select(&[Generation::One, Generation::TwoOrThree][..])
}

fn any_look() -> impl Strategy<Value = Look> {
    proptest::sample::select(&[Look::First, Look::Second][..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn runs_that_ended_wait_or_belong_to_another_turn_are_never_changed(
        (event, tags) in mutated(), run in any_run(), generation in generation(), look in any_look(),
    ) {
        if let Some((event, owner, decision)) = decided(&event, &tags, &run, generation, look) {
            let untouchable = matches!(run.phase, Phase::Ended | Phase::Waiting) || run.is_of_earlier_turn(&event, owner.launched);
            if untouchable {
                prop_assert!(decision.actions.iter().all(|action| matches!(action, Action::PostEvent(_))), "{:?}", decision);
            }
            prop_assert!(!decision.why.is_empty());
        }
    }

    #[test]
    fn each_phase_has_its_own_ways_out(
        (event, tags) in mutated(), run in any_run(), generation in generation(), look in any_look(),
    ) {
        if let Some((event, owner, decision)) = decided(&event, &tags, &run, generation, look) {
            let fits = match state_change(&decision) {
                None => true,
                Some(Action::ProposePending { .. }) => run.phase == Phase::Claimed && !event.is_stopped(),
                Some(Action::Cancelled { .. }) => run.phase == Phase::Cancelling && event.is_stopped(),
                Some(Action::GiveBack { .. }) => {
                    run.phase == Phase::Claimed && event.is_stopped() && owner.launched == LaunchedBy::Here
                        && run.attempt.is_some_and(|attempt| attempt < 5)
                }
                Some(_) => matches!(run.phase, Phase::Claimed | Phase::Running) && event.is_stopped(),
            };
            prop_assert!(fits, "{:?}", decision);
        }
    }

    #[test]
    fn a_repeated_event_decides_the_same_and_nothing_once_the_run_has_ended(
        (event, tags) in mutated(), run in any_run(), generation in generation(), look in any_look(),
    ) {
        let once = decided(&event, &tags, &run, generation, look);
        prop_assert_eq!(&once, &decided(&event, &tags, &run, generation, look));
        if once.as_ref().and_then(|(_, _, decision)| state_change(decision)).is_some() {
            let ended = Run { phase: Phase::Ended, ..run };
            let again = decided(&event, &tags, &ended, generation, look);
            prop_assert!(again.is_none_or(|(_, _, decision)| state_change(&decision).is_none()));
        }
    }
}
