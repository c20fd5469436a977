//! What the configuration can say and this version cannot do. Each entry goes when it is built.

use super::error::KeyPath;
use super::findings::Findings;
use super::raw::{RawDaemon, RawJob};
use super::spec::OnError;

/// What `[daemon]` asks for in vain.
pub(super) fn of_daemon(daemon: &RawDaemon, findings: &mut Findings) {
    if let Some(address) = daemon.listen {
        let written = format!("listen = \"{address}\"");
        unavailable(&KeyPath::from("daemon.listen"), &written, findings);
    }
}

/// What a job asks for in vain.
pub(super) fn of_job(job: &RawJob, path: &KeyPath, findings: &mut Findings) {
    if job.on_error != OnError::Abort {
        let written = "on_error = \"quarantine\"";
        unavailable(&path.child("on_error"), written, findings);
    }
}

fn unavailable(key: &KeyPath, written: &str, findings: &mut Findings) {
    let message = format!("`{written}` is not available in this version");
    findings.error(key, message);
}
