use super::{problems, read};

#[test]
fn near_misses_get_a_hint() {
    for (key, meant) in [
        ("label", "labels"),
        ("lables", "labels"),
        ("Labels", "labels"),
        ("max-polls", "max_polls"),
        ("maxPolls", "max_polls"),
        ("taskRoleArn", "task_role_arn"),
        ("poll_interval", "poll_interval_seconds"),
        ("env", "env_vars"),
        ("log_level", "logging_level"),
        ("region", "region_name"),
        ("work_pol", "work_pool"),
    ] {
        let found = problems(read(&format!("{key}: 5")));
        assert_eq!(found[0].1, format!("an unknown key (did you mean `{meant}`?)"), "{key}");
    }
}

#[test]
fn what_resembles_nothing_gets_none() {
    for key in ["colour", "x", "zzzzzzzzzzzzzz", "é", "'a b'", "''"] {
        let found = problems(read(&format!("{key}: 5")));
        assert_eq!((found.len(), found[0].1.as_str()), (1, "an unknown key"), "{key}");
    }
}
