#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The fake, asked as workers ask it.
