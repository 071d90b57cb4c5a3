#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use serde_json::json;

#[test]
fn only_a_limit_that_is_reached_is_full() {
    let row = |limit: Value, taken: Value| {
        let row = json!({"concurrency_limit": limit, "active_slots": taken});
        full(row.as_object().unwrap(), "pool".into()).map(|slots| (slots.taken, slots.limit))
    };
    assert_eq!(row(json!(2), json!(2)), Some((2, 2)));
    assert_eq!(row(json!(2), json!(1)), None);
    assert_eq!(row(json!(0), json!(null)), Some((0, 0)), "a limit of 0 lets nothing pass");
    assert_eq!(row(json!(2), json!(null)), None, "servers of Prefect 2 do not tell what is taken");
    assert_eq!(row(json!(null), json!(7)), None);
}
