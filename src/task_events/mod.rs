//! What follows from a task's change of state: `task-events` tells Prefect of tasks that died.
//!
//! Event → whose task is it → observe the run → decide → perform. All but [`perform`] and [`task_owner::look`] is pure.
//!
//! | file | question |
//! |---|---|
//! | [`queue`] | which messages of a queue was the function given, and how long does one wait that could not be told? |
//! | [`event`] | which events are in what the function was given, and what does each say? |
//! | [`task_owner`] | which agents may know the run that the task is for, and is it of the run's current turn? What does ECS say of those that Prefect has written down, where no event came? |
//! | [`diagnosis`] | why did the task end, can it pass, and what helps? |
//! | [`decision`] | what is to be done about the run? |
//! | [`observer`] | in which words and as which event, where a Prefect worker's observer has its own? |
//! | [`perform`] | reads the run and a container's last words, decides, does it |

pub mod decision;
pub mod diagnosis;
pub mod event;
pub mod observer;
pub mod perform;
pub mod queue;
pub mod task_owner;
#[cfg(test)]
mod testing;
