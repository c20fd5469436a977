//! PostgreSQL as seen from here: where it is, how to log in, how to name things.

pub mod ident;
