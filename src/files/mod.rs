//! Files in COPY's formats: finds row ends, reads headers, reads whole files, and replaces files
//! atomically. It does not depend on jobs or servers.

mod cutter;
pub(crate) mod directory;
pub(crate) mod header;
pub mod layout;
pub mod reader;
pub(crate) mod rows;
pub(crate) mod values;
pub(crate) mod writer;
