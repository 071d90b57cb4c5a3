//! What the tests of this room are made of.
