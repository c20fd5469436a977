//! Files in COPY's formats: where rows end, what a header names, and reading and writing them whole or
//! not at all. Knows nothing of jobs or servers.

mod cutter;
pub(crate) mod directory;
pub(crate) mod header;
pub mod layout;
pub mod reader;
pub(crate) mod rows;
pub(crate) mod values;
pub(crate) mod writer;
