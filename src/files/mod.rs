//! Files in COPY's formats: where rows end, what a header names, and reading and writing them whole or
//! not at all. Knows nothing of jobs or servers.

mod cutter;
pub mod directory;
pub mod header;
pub mod layout;
pub mod reader;
pub mod rows;
pub mod values;
pub mod writer;
