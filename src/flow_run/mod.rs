//! What a flow run asks for, whatever platform it runs on, by the rules of its generation of Prefect. Pure.

pub mod prefect1;
pub mod prefect3;
