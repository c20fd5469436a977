//! Where a server is and how to log in, by libpq's conventions.
//!
//! A conninfo (URI or key=value) overrides the service file, the PG* variables and the defaults. An unsupported
//! key is an error that names it. Passwords never appear in `Debug` output or in errors, which do not quote the
//! conninfo.
//!
//! This module uses nothing from the rest of the program.

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
mod without_password;

pub use error::ConninfoError;
pub use layers::resolve;
pub use outside::Outside;
pub use parameters::{
    ChannelBinding, Conninfo, FileChoice, HostPlace, HostSpec, KEEPALIVES, Keepalives, RootCert,
    SslMode, TargetSessionAttrs, TlsOptions, TlsVersion,
};
pub use require_auth::{AuthRefused, RequireAuth};
pub use without_password::without_password;
