#![allow(clippy::unwrap_used)]
use super::super::testing::{agents, codes, launch, survey};
use super::*;
use crate::prefect3::{SurveyedPool, SurveyedQueue, SurveyedWorker};
use serde_json::json;

fn pool(kind: &str, is_paused: bool) -> PoolSurvey {
    let queue = |name: &str, is_paused| SurveyedQueue { name: name.into(), is_paused };
    let worker = |name: &str, is_online| SurveyedWorker { name: name.into(), is_online };
    PoolSurvey {
        pool: SurveyedPool { name: "ecs".into(), kind: kind.into(), is_paused },
        version: Some("3.9.1".into()),
        queues: Ok(vec![queue("default", false), queue("slow", true)]),
        workers: Ok(vec![worker("etl", true), worker("ECSWorker 1", false)]),
        deployments: Vec::new(),
        is_truncated: false,
    }
}

fn three(queues: &str) -> Prefect3Config {
    let agents = agents(&format!("prefect: 3\napi: http://prefect/api\nwork_pool: ecs\nwork_queues: {queues}\n"));
    match &agents.first().unwrap().result.as_ref().unwrap().0.generation {
        GenerationConfig::Three(three) => three.clone(),
        GenerationConfig::One(_) => unreachable!(),
    }
}

#[test]
fn a_pool_hands_out_runs_of_ecs_by_queues_that_are_there() {
    for (survey, queues, found) in [
        (pool("ecs", false), "[default]", &[][..]),
        (pool("ecs", true), "[default]", &["PSA223"]),
        (pool("docker", false), "[default]", &["PSA222"]),
        (pool("ecs:push", false), "[default]", &["PSA222"]),
        (pool("ecs", false), "[default, gpu]", &["PSA224"]),
        (pool("ecs", false), "[default, slow]", &["PSA225"]),
        (pool("ecs", false), "[]", &["PSA225"]),
        (PoolSurvey { queues: Err(ApiError::NoTime.into()), ..pool("ecs", false) }, "[default]", &["PSA299"]),
        (PoolSurvey { workers: Err(ApiError::NoTime.into()), ..pool("ecs", false) }, "[default]", &["PSA299"]),
    ] {
        assert_eq!(codes(&judge_pool("etl", &three(queues), &survey)), found, "{survey:?} {queues}");
    }
    let others = judge_pool("another name", &three("[default]"), &pool("ecs", false));
    assert_eq!(codes(&others), ["PSA228"], "who is online and is not this agent");
}

fn known() -> Survey {
    survey(launch(&json!({}), &json!({})))
}

#[test]
fn with_prefect_1_it_is_flows_that_do_not_render() {
    let broken = SurveyedLaunch {
        rendered: Err(Unrendered { why: "a".into(), is_certain: true }),
        ..launch(&json!({}), &json!({}))
    };
    let looked = judge_rendering("agent etl", &Survey { launches: vec![broken], ..known() });
    assert_eq!((codes(&looked), looked.findings[0].subject.as_str()), (vec!["PSA227"], "flow hello/prod"));
    let looked = judge_rendering("agent etl", &Survey { runs_unread: Some("no".into()), ..known() });
    assert_eq!(codes(&looked), ["PSA299"]);
}

#[test]
fn a_pool_that_is_looked_at_in_part_is_said_to_be() {
    let pool = Some(PoolSurvey { is_truncated: true, ..pool("ecs", false) });
    let looked = judge_rendering("agent etl", &Survey { pool, ..known() });
    assert_eq!(codes(&looked), ["PSA299"]);
    assert!(looked.findings[0].sentence.contains("200") && looked.well.len() == 1, "{looked:?}");
}

#[test]
fn what_is_wrong_with_the_template_is_said_once() {
    let broken = |why: &str, is_certain| SurveyedLaunch {
        rendered: Err(Unrendered { why: why.into(), is_certain }),
        ..launch(&json!({}), &json!({}))
    };
    let well = || launch(&json!({}), &json!({}));
    let unserved = SurveyedLaunch { is_served: false, ..broken("a", true) };
    for (defaults, launches, found) in [
        (well(), vec![well()], &[][..]),
        (well(), vec![well(), broken("a", true)], &["PSA227"]),
        (well(), vec![broken("a", false)], &["PSA299"]),
        (well(), vec![unserved], &[]),
        // A template may leave to every deployment what it has no default for.
        (broken("a", true), vec![well()], &[]),
        (broken("a", true), Vec::new(), &["PSA226"]),
        (broken("a", true), vec![broken("a", true)], &["PSA226"]),
        (broken("a", true), vec![well(), broken("a", true)], &["PSA226"]),
        (broken("a", true), vec![broken("b", true)], &["PSA227", "PSA226"]),
        (broken("a", false), vec![well()], &["PSA299"]),
    ] {
        let pool = Some(pool("ecs", false));
        let survey = Survey { pool, defaults: Some(defaults.clone()), launches: launches.clone(), ..known() };
        let looked = judge_rendering("agent etl", &survey);
        assert_eq!(codes(&looked), found, "{defaults:?} {launches:?}");
    }
}
