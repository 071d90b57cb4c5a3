//! Histories: the real agent and the real function `task-events` in a simulated world, in virtual time.
//!
//! What is simulated is the network behind the one seam where requests leave ([`Exchange`]), time ([`Clock`]) and chance.
//! Requests are answered by the fakes that the stories use (`tests/world`). What happens follows from a seed alone, so that every history can be
//! told again.
//!
//! | part | what it does |
//! |---|---|
//! | [`clock`], [`rng`] | time and chance |
//! | [`call`], [`fault`] | the requests of a process, by kind, and what can go wrong with each |
//! | [`gate`], [`port`] | every request passes the gate twice; the driver decides who goes next |
//! | [`world`], [`config`], [`tasks`], [`run`] | what is outside: the fakes, what is configured, how tasks live |
//! | [`process`] | processes of the functions `poll` and `task-events` |
//! | [`stranger`] | a Python agent on the same queue |
//! | [`mail`] | events of tasks on their way |
//! | [`driver`], [`schedule`] | processes side by side, killed, delayed; who goes next |
//! | [`history`], [`op`] | random histories, and what happens in them |
//! | [`audit`], [`model`] | what must hold at every step, and at the end |
//! | [`scene`] | small worlds for the tests |
//! | [`table`] | what is counted, what came of many histories |
//!
//! [`Exchange`]: prefect_serverless_agent::http::Exchange
//! [`Clock`]: prefect_serverless_agent::clock::Clock

pub mod audit;
pub mod call;
pub mod clock;
pub mod config;
pub mod driver;
pub mod fault;
pub mod gate;
pub mod history;
pub mod mail;
pub mod model;
pub mod op;
pub mod port;
pub mod process;
pub mod rng;
pub mod run;
pub mod scene;
pub mod schedule;
pub mod stranger;
pub mod table;
pub mod tasks;
pub mod world;

/// JSON, requests and clients are made and dropped all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
