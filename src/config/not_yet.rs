//! Values that the configuration accepts but this version does not implement.

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::raw::RawDaemon;

/// What `[daemon]` asks for in vain.
pub(super) fn of_daemon(daemon: &RawDaemon, diagnostics: &mut Diagnostics) {
    if let Some(address) = daemon.listen {
        let written = format!("listen = \"{address}\"");
        unavailable(&KeyPath::from("daemon.listen"), &written, diagnostics);
    }
}

fn unavailable(key: &KeyPath, written: &str, diagnostics: &mut Diagnostics) {
    let message = format!("`{written}` is not available in this version");
    diagnostics.error(key, message);
}
