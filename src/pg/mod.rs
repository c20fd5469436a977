//! Connections to PostgreSQL: conninfo, login, sessions, quoting.

pub(crate) mod cancel;
pub(crate) mod checked;
pub(crate) mod conninfo;
pub(crate) mod dial;
pub mod ident;
pub(crate) mod login;
pub(crate) mod param;
mod password_command;
pub(crate) mod pins;
pub(crate) mod proxy;
pub(crate) mod route;
pub mod session;
pub(crate) mod settings;
pub(crate) mod socket;
pub(crate) mod tap;
mod task;
pub(crate) mod tls;
pub(crate) mod variables;
pub(crate) mod watchdog;

pub use cancel::CancelRequest;
pub use checked::CheckedRow;
pub use session::Session;
pub use settings::SessionSettings;
pub use tap::TapState;
