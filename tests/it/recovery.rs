//! Polls that are killed half-way, and what the next ones make of the claims that they left: for Prefect 1 and 3.

mod adopting;
mod launching;
mod others;
mod scene;
