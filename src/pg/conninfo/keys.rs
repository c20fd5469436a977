//! The parameter keywords of libpq.

use super::error::ConninfoError;

/// Keys that mean something here.
const SUPPORTED: [&str; 32] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "require_auth",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
    "fallback_application_name",
];

/// Keys of libpq that are not supported, with the values that request nothing and are accepted: no
/// compression, no GSSAPI encryption, UTF8 (which a session pins), at least protocol 3.0.
pub(super) const HARMLESS: [(&str, &[&str]); 18] = [
    ("authtype", &[]),
    (
        "client_encoding",
        &["UTF8", "utf8", "UTF-8", "utf-8", "auto"],
    ),
    ("gssdelegation", &["0"]),
    ("gssencmode", &["disable", "prefer"]),
    // Used only when the server asks for GSSAPI, which ends the login anyway.
    ("gsslib", &["gssapi"]),
    ("krbsrvname", &["postgres"]),
    ("max_protocol_version", &["3.0", "latest"]),
    ("min_protocol_version", &["3.0"]),
    ("oauth_client_id", &[]),
    ("oauth_issuer", &[]),
    ("replication", &["false", "off", "no", "0"]),
    ("requirepeer", &[]),
    ("requiressl", &["0"]),
    ("scram_client_key", &[]),
    ("sslcompression", &["0"]),
    ("sslcrl", &[]),
    ("sslcrldir", &[]),
    ("sslkeylogfile", &[]),
];

/// Is it a key of libpq's?
pub(super) fn is_known(key: &str) -> bool {
    SUPPORTED.contains(&key) || HARMLESS.iter().any(|(name, _)| *name == key)
}

/// Refuses an unknown key, and names the nearest known one.
pub(super) fn check_known(key: &str, place: &str) -> Result<(), ConninfoError> {
    if is_known(key) {
        return Ok(());
    }
    if !is_word(key) {
        return Err(ConninfoError::new(format!(
            "{place} has a key with characters that no key has"
        )));
    }
    let suggestion = match nearest(key) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => String::new(),
    };
    Err(ConninfoError::new(format!(
        "unknown key `{key}` in {place}{suggestion}"
    )))
}

/// The supported key that was most likely meant.
fn nearest(key: &str) -> Option<&'static str> {
    let edits_max = (key.chars().count() / 3).max(1);
    SUPPORTED
        .into_iter()
        .map(|known| (strsim::osa_distance(key, known), known))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, known)| known)
}

/// Does it look like a key? Other text may be a URI without its scheme, including the password.
pub(super) fn is_word(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
