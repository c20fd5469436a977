//! Where a server is and how to log in, by libpq's conventions.
//!
//! A conninfo (URI or key=value) is laid over the service file, the PG* variables and the
//! defaults, and validated. What isn't supported is an error that names the key, never ignored.
//! Nothing here shows a password: not `Debug`, not the errors, which never quote what was written.
//!
//! This folder uses nothing of the rest of the program.

mod error;
mod keys;
mod layers;
mod outside;
mod parameters;
mod parse;
pub mod passfile;
mod require_auth;
mod service;
mod tls;
mod validate;
mod values;

pub use error::ConninfoError;
pub use layers::resolve;
pub use outside::Outside;
pub use parameters::{
    ChannelBinding, Conninfo, FileChoice, HostPlace, HostSpec, KEEPALIVES, Keepalives, RootCert,
    SslMode, TargetSessionAttrs, TlsOptions, TlsVersion,
};
pub use require_auth::{AuthRefused, RequireAuth};
