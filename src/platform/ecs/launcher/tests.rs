#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod launching;
mod looking;
mod preparing;
mod worker;

use super::*;
use crate::platform::LaunchIdentity;
use crate::platform::ecs::testing::{FakeAws, JumpingClock, RUN, START};
use std::ops::Deref;
use std::time::Duration;

/// A launcher and its world.
struct Room {
    launcher: EcsLauncher<JumpingClock>,
    ecs: FakeAws,
}

impl Deref for Room {
    type Target = EcsLauncher<JumpingClock>;

    fn deref(&self) -> &Self::Target {
        &self.launcher
    }
}

/// A launcher on a new world.
fn room() -> Room {
    with_rate(None)
}

fn with_rate(rate: Option<f64>) -> Room {
    let aws = FakeAws::default();
    let (ecs, ec2) = aws.clients();
    let launcher = EcsLauncher::new(ecs, ec2, JumpingClock::new(), Arc::new(LaunchRate::new(rate)));
    Room { launcher, ecs: aws }
}

fn identity() -> LaunchIdentity {
    LaunchIdentity { flow_run_id: RUN.into(), token: "token".into(), started_by: format!("prefect/etl/{RUN}") }
}

fn deadline() -> OffsetDateTime {
    START + Duration::from_mins(1)
}

#[test]
fn tasks_are_looked_for_in_the_cluster_that_the_launch_names_and_else_in_the_accounts_own() {
    let of = |cluster: &str| LaunchTarget { cluster: cluster.to_owned(), ..LaunchTarget::default() };
    assert_eq!((named(&of("etl")), named(&of(""))), (Some("etl"), None));
}
