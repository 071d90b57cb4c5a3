//! The function `task-events`: what becomes of flow runs whose tasks change, for Prefect 1 and for Prefect 3.

mod cancelled;
mod container_log;
mod ends;
mod envelopes;
mod lost;
mod no_effect;
mod queue;
mod scene;
mod second_look;
mod starts;
mod trouble;
mod turns;
mod workers;
