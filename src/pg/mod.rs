//! PostgreSQL as seen from here: where it is, how to log in, how to name things.

pub mod cancel;
pub mod checked;
pub mod conninfo;
pub mod dial;
pub mod ident;
pub mod login;
pub mod param;
pub mod pins;
pub mod route;
pub mod session;
pub mod settings;
pub mod socket;
pub mod tap;
mod task;
pub mod tls;
pub mod watchdog;

pub use cancel::Canceller;
pub use checked::CheckedRow;
pub use session::Session;
pub use settings::SessionSettings;
pub use tap::TapState;
