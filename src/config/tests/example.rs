//! The configuration that people start from.

use super::{good, one};
use crate::config::{Backend, Document, Rules};

const EXAMPLE: &str = include_str!("../../../infra/agent.example.yaml");

#[test]
fn the_example_is_accepted() {
    let config = good(EXAMPLE);
    let one = one(&config);
    assert_eq!((one.rules, one.backend), (Rules::V1, Backend::Cloud));
    assert!(matches!(one.task_definition, Some(Document::Inline(_))));
    assert!(matches!(one.run_task_kwargs, Some(Document::Inline(_))));
}

#[test]
fn what_it_shows_in_comments_is_accepted_too() {
    // `# key: value  # why` becomes `key: value  # why`.
    let is_key = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let shown = |line: &str| {
        let (key, _) = line.strip_prefix("# ")?.split_once(": ")?;
        is_key(key).then(|| line[2..].to_owned())
    };
    let mut count = 0;
    let text: Vec<String> = EXAMPLE
        .lines()
        .map(|line| {
            let shown = shown(line);
            count += usize::from(shown.is_some());
            shown.unwrap_or_else(|| line.to_owned())
        })
        .collect();
    assert!(count >= 10, "only {count} commented keys were found");
    let config = good(&text.join("\n"));
    assert_eq!((config.max_polls, config.region_name.as_deref()), (Some(1000), Some("eu-west-1")));
}
