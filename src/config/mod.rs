//! The configuration: read in two stages, raw and validated.

pub mod spec;
