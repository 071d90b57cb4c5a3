//! Small worlds for the tests.
