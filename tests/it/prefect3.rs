//! Prefect 2 and 3: an agent that serves an `ecs` work pool, against the fake of the REST API.

mod access;
mod accounts;
mod cancelling;
mod claims;
mod delivery;
mod dry_run;
mod giving_back;
mod guardrails;
mod launching;
mod odd_answers;
mod once;
mod pool;
mod prefect2;
mod recovery;
mod scene;
mod shapes;
mod telling;
mod turns;
