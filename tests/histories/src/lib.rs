//! Histories: the poll's real core in a simulated world, in virtual time.
//!
//! Everything outside of a poll is simulated behind its own seams: the Prefect API ([`Orchestrator`]), ECS and EC2
//! ([`EcsCalls`], [`NetworkCalls`]) and time ([`Clock`]). What happens follows from a seed alone, so that every history can
//! be told again.
//!
//! | part | what it does |
//! |---|---|
//! | [`clock`], [`rng`] | time and chance |
//! | [`call`], [`fault`] | the calls of a poll, and what can go wrong with each |
//! | [`gate`], [`port`] | every call passes the gate twice; the driver decides who goes next |
//! | [`world`], [`prefect1`], [`prefect3`], [`ecs`], [`run`] | what is outside, with the servers' own rules |
//! | [`process`], [`task_events`] | the real cores of the functions `poll` and `task-events` |
//! | [`mail`] | events of tasks on their way |
//! | [`driver`], [`schedule`] | processes side by side, killed, delayed; who goes next |
//! | [`history`], [`op`] | random histories, and what happens in them |
//! | [`audit`], [`model`] | what must hold at every step, and at the end |
//! | [`scene`] | small worlds for the tests |
//! | [`table`] | what came of many histories |
//!
//! [`Orchestrator`]: prefect_serverless_agent::orchestrator::Orchestrator
//! [`EcsCalls`]: prefect_serverless_agent::launch::calls::EcsCalls
//! [`NetworkCalls`]: prefect_serverless_agent::launch::calls::NetworkCalls
//! [`Clock`]: prefect_serverless_agent::clock::Clock

mod answers;
pub mod audit;
pub mod call;
pub mod clock;
pub mod driver;
pub mod ecs;
pub mod fault;
pub mod gate;
pub mod history;
pub mod mail;
pub mod model;
pub mod op;
pub mod port;
pub mod prefect1;
pub mod prefect3;
pub mod process;
pub mod rng;
pub mod run;
pub mod scene;
pub mod schedule;
pub mod table;
pub mod task_events;
pub mod world;
