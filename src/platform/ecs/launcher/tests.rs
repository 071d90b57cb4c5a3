#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod launching;
mod looking;
mod preparing;
mod worker;

use super::*;
use crate::platform::LaunchIdentity;
use crate::platform::ecs::testing::{FakeAws, JumpingClock, RUN, START};
use std::time::Duration;

type Room = EcsLauncher<FakeAws, FakeAws, JumpingClock>;

/// A launcher on a new world; the world is in its `ecs`.
fn room() -> Room {
    let aws = FakeAws::default();
    EcsLauncher::new(aws.clone(), aws, JumpingClock::new(), Arc::new(LaunchRate::new(None)))
}

fn identity() -> LaunchIdentity {
    LaunchIdentity { flow_run_id: RUN.into(), token: "token".into(), started_by: format!("prefect/etl/{RUN}") }
}

fn deadline() -> OffsetDateTime {
    START + Duration::from_mins(1)
}
