#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod prefect1;
mod prefect3;
mod properties;
