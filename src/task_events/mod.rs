//! What follows from a task's change of state: `task-events` tells Prefect of tasks that died.
//!
//! Event → whose task is it → observe the run → decide → perform. All but [`perform`] is pure.
//!
//! | file | question |
//! |---|---|
//! | [`envelope`] | which events are in what the function was given? |
//! | [`event`] | what does the event say? |
//! | [`task_owner`] | which agents may know the run that the task is for? |
//! | [`run`] | how far is the run, and is the task of its current turn? |
//! | [`diagnosis`] | why did the task end, can it pass, and what helps? |
//! | [`decision`] | what is to be done about the run? |
//! | [`observer`] | in which words, where a Prefect worker's observer has its own? |
//! | [`container_log`] | where are a container's last words? |
//! | [`replicated_event`] | how does Prefect 2 or 3 hear of the change? |
//! | [`perform`] | reads the run, decides, does it |

pub mod decision;
pub mod diagnosis;
pub mod event;
pub mod observer;
pub mod perform;
pub mod task_owner;
#[cfg(test)]
mod testing;
