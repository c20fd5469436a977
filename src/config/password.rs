//! Finds passwords inside a conninfo.

use std::path::Path;

/// The warning of a file that others can read.
pub(super) fn shared_password(path: &Path) -> String {
    format!(
        "{}: holds a password and can be read by others than its owner: chmod 600, or use `password_file`",
        path.display()
    )
}

/// Does a conninfo hold a password? In a URI's userinfo, or as a key in either form.
pub(super) fn has_password(conninfo: &str) -> bool {
    let in_userinfo = conninfo.split_once("://").is_some_and(|(_, rest)| {
        let before_options = rest.split('?').next().unwrap_or(rest);
        before_options
            .rsplit_once('@')
            .and_then(|(userinfo, _)| userinfo.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty())
    });
    let as_key = conninfo.match_indices("password").any(|(at, word)| {
        conninfo[at + word.len()..].trim_start().starts_with('=')
            && !conninfo[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
    });
    in_userinfo || as_key
}
