//! The configurations that people start from.

use super::{good, one, three};
use crate::config::{AgentConfig, Backend, Document, Rules, WorkerRules};

const PREFECT_1: &str = include_str!("../../../infra/agent.example.yaml");
const PREFECT_3: &str = include_str!("../../../infra/agent.prefect3.example.yaml");

/// The example with what it shows in comments, and how many keys that were.
fn with_what_is_in_comments(example: &str) -> (AgentConfig, usize) {
    // `# key: value  # why` becomes `key: value  # why`.
    let is_key = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let shown = |line: &str| {
        let (key, _) = line.strip_prefix("# ")?.split_once(": ")?;
        is_key(key).then(|| line[2..].to_owned())
    };
    let mut count = 0;
    let text: Vec<String> = example
        .lines()
        .map(|line| {
            let shown = shown(line);
            count += usize::from(shown.is_some());
            shown.unwrap_or_else(|| line.to_owned())
        })
        .collect();
    (good(&text.join("\n")), count)
}

#[test]
fn the_example_is_accepted() {
    let config = good(PREFECT_1);
    let one = one(&config);
    assert_eq!((one.rules, one.backend), (Rules::V1, Backend::Cloud));
    assert!(matches!(one.task_definition, Some(Document::Inline(_))));
    assert!(matches!(one.run_task_kwargs, Some(Document::Inline(_))));
}

#[test]
fn what_it_shows_in_comments_is_accepted_too() {
    let (config, count) = with_what_is_in_comments(PREFECT_1);
    assert!(count >= 10, "only {count} commented keys were found");
    assert_eq!((config.max_polls, config.region_name.as_deref()), (Some(1000), Some("eu-west-1")));
}

#[test]
fn the_example_for_a_work_pool_is_accepted() {
    let config = good(PREFECT_3);
    let three = three(&config);
    assert_eq!((three.rules, three.work_pool.as_str()), (WorkerRules::Three, "my-ecs-pool"));
    assert_eq!(three.worker_env.len(), 1);
}

#[test]
fn what_it_shows_for_a_work_pool_in_comments_is_accepted_too_and_shows_the_defaults() {
    let (config, count) = with_what_is_in_comments(PREFECT_3);
    assert!(count >= 14, "only {count} commented keys were found");
    let least = good("prefect: 3\napi: https://prefect.example.com/api\nwork_pool: my-ecs-pool");
    assert_eq!((config.orphan_after, config.cancel_grace), (least.orphan_after, least.cancel_grace));
    assert_eq!(
        (config.max_launch_attempts, config.forward_log_lines),
        (least.max_launch_attempts, least.forward_log_lines)
    );
    assert_eq!((config.prefetch, config.spot_fallback_after), (least.prefetch, least.spot_fallback_after));
    assert_eq!(three(&config).image, three(&least).image);
    assert_eq!(three(&config).work_queues, ["urgent", "default"]);
}
