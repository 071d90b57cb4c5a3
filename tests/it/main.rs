//! Integration tests.

mod golden_prefect1;
