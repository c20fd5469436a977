//! What a program uses: the crate's public face. It runs the same plans as the commands do.

mod blocks;
mod client;
mod driver;
mod encode;
mod format;
mod from_row;
mod job;
mod load;
mod names;
mod read;
mod read_end;
mod row_load;
mod rows;
mod run_handle;

pub use blocks::Blocks;
pub use client::Client;
pub use encode::{RowWriter, ToRow};
pub use format::Format;
pub use from_row::{FromRow, Row};
pub use load::{DataLoad, LoadBuilder};
pub use read::ReadBuilder;
pub use row_load::RowLoad;
pub use rows::Rows;

pub use crate::run::fed::Column;

use crate::error::{Error, ErrorKind, Phase, Side};

/// What the program asked for is wrong.
fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, Phase::Configure, Side::Local, message)
}

fn bug(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Bug, Phase::Prepare, Side::Local, message)
}

/// The load had an error before.
fn spoiled() -> Error {
    let message = "the load had an error before and cannot be continued";
    Error::new(ErrorKind::DataRejected, Phase::CopyIn, Side::Local, message)
}
