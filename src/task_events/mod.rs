//! What follows from a task's change of state: `task-events` tells Prefect of tasks that died.
//!
//! Event → whose task is it → observe the run → decide → perform. All that is here is pure; the performing part reads
//! the run and the task's tags, and does what [`decision::decide`] says.
//!
//! | file | question |
//! |---|---|
//! | [`event`] | what does the event say? |
//! | [`whose`] | which agents may know the run that the task is for? |
//! | [`run`] | how far is the run, and is the task of its current turn? |
//! | [`diagnosis`] | why did the task end, can it pass, and what helps? |
//! | [`decision`] | what is to be done about the run? |
//! | [`observer`] | in which words, where a Prefect worker's observer has its own? |
//! | [`replicated_event`] | how does Prefect 2 or 3 hear of the change? |

pub mod decision;
pub mod diagnosis;
pub mod event;
pub mod observer;
pub mod replicated_event;
pub mod run;
#[cfg(test)]
mod testing;
pub mod whose;
