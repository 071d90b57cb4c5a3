//! Everything that a poll asks for goes wrong in every way, and then the world is well again: what must hold then.
//!
//! - `pairs`: every request of a poll × every fault, from tables; `kinds` has the faults, `scenes` the polls,
//!   `expected` which of them fail the poll, `watch` what must hold after each;
//! - `launches`, `claims`, `outages`, `counter`, `deadlines`: single stories, told in detail.

mod claims;
mod counter;
mod deadlines;
mod expected;
mod kinds;
mod launches;
mod outages;
mod pairs;
mod scenes;
mod watch;
