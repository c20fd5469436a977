//! The library: what a program uses.

mod data;
mod examples;
mod load;
mod read;

use tableferry::{Client, Error, Result};

use crate::support::Database;

/// Runs a program's work, which must not depend on the tests' own runtime.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

async fn client(database: &Database<'_>) -> Client {
    Client::connect(&database.conninfo()).await.unwrap()
}

/// What an error says, with its hint.
fn words(error: &Error) -> String {
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[track_caller]
fn refused<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error,
    }
}
