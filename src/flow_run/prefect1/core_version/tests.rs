#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::flow_run_command;
use crate::config::Rules;

/// Version → is older than 0.13.0 for Prefect 0.15, for Prefect 1.4; `None` = cannot be compared.
const CASES: [(&str, Option<bool>, Option<bool>); 24] = [
    ("", Some(true), Some(true)),
    ("0.9.8", Some(true), Some(true)),
    ("0.12.6", Some(true), Some(true)),
    ("0.13", Some(true), Some(false)),
    ("0.13.0", Some(false), Some(false)),
    ("00.013.0", Some(false), Some(false)),
    ("0.13.0rc1", Some(false), Some(true)),
    ("0.13.0.dev1", Some(false), Some(true)),
    ("0.13.0.post1", Some(false), Some(false)),
    ("0.13.0.post1.dev1", Some(false), Some(false)),
    ("0.13.0-1", Some(false), Some(false)),
    ("0.13.0+1.gabc", Some(false), Some(false)),
    ("0.12.6+3.g1f", Some(true), Some(true)),
    ("1.0a-", Some(false), Some(false)),
    ("1.0.post-dev", Some(false), Some(false)),
    (" 0.12 ", None, Some(true)),
    ("v0.12.0", None, Some(true)),
    ("0!0.1", None, Some(true)),
    ("1!0.1", Some(false), Some(false)),
    ("0.13.a", None, Some(true)),
    ("0.13.0.0.0", Some(false), Some(false)),
    ("0.13.0 beta", Some(false), None),
    ("master", None, None),
    ("1.0+", Some(false), None),
];

#[test]
fn versions_compare_as_each_python_library_does() {
    for (version, loosely, strictly) in CASES {
        for (rules, older) in [(Rules::V0_15, loosely), (Rules::V1, strictly)] {
            let command = flow_run_command(Some(version), rules);
            let expected =
                older.map(|older| if older { "prefect execute cloud-flow" } else { "prefect execute flow-run" });
            assert_eq!(command.ok(), expected, "{version:?} under {rules:?}");
        }
    }
}

#[test]
fn what_cannot_be_compared_is_named() {
    let refusal = |rules| flow_run_command(Some("master"), rules).unwrap_err().0;
    assert_eq!(
        refusal(Rules::V0_15),
        "The flow's core_version 'master' cannot be compared with 0.13.0: '<' not supported between instances of 'str' \
         and 'int'"
    );
    assert_eq!(
        refusal(Rules::V1),
        "The flow's core_version 'master' cannot be compared with 0.13.0: Invalid version: 'master'"
    );
}
