//! Prefect 2 and 3: the REST API as a worker uses it.

pub mod api;
