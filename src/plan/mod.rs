//! Deciding how a table is copied, without any I/O.

pub mod copy;
