//! The parameters for TLS.

use std::path::PathBuf;

use secrecy::SecretString;

use super::error::ConninfoError;
use super::outside::Outside;
use super::parameters::{FileChoice, RootCert, SslMode, TlsOptions, TlsVersion};
use super::values::NonEmptySettings;

type Result<T> = std::result::Result<T, ConninfoError>;

/// The mode, where one is given, and everything else.
pub(super) fn tls_options(
    values: &NonEmptySettings<'_>,
    outside: &Outside<'_>,
) -> Result<(Option<SslMode>, TlsOptions)> {
    if values.get("sslmode") == Some("allow") {
        return Err(ConninfoError::new(
            "`sslmode=allow` is not supported: it protects from nothing; use disable or prefer",
        ));
    }
    let mut ssl_mode = values.choice(
        "sslmode",
        &[
            ("disable", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
    )?;
    let file = |key: &str, default: &str| match values.get(key) {
        Some(path) => FileChoice::Explicit(PathBuf::from(path)),
        None => FileChoice::Default(outside.in_home(default)),
    };
    let root = match values.get("sslrootcert") {
        Some("system") => {
            // The system's roots sign certificates for everybody, so only the host name identifies the
            // server.
            if ssl_mode.is_some_and(|mode| mode != SslMode::VerifyFull) {
                return Err(ConninfoError::new(
                    "`sslrootcert=system` needs `sslmode=verify-full`",
                ));
            }
            ssl_mode = Some(SslMode::VerifyFull);
            RootCert::System
        }
        _ => RootCert::File(file("sslrootcert", ".postgresql/root.crt")),
    };
    let direct = values
        .choice("sslnegotiation", &[("postgres", false), ("direct", true)])?
        .unwrap_or(false);
    if direct && matches!(ssl_mode, Some(SslMode::Disable | SslMode::Prefer)) {
        return Err(ConninfoError::new(
            "`sslnegotiation=direct` needs `sslmode=require` or stronger",
        ));
    }
    let key = file("sslkey", ".postgresql/postgresql.key");
    if matches!(&key, FileChoice::Explicit(path) if path.to_string_lossy().contains(':')) {
        return Err(ConninfoError::new(
            "`sslkey` names an OpenSSL engine; only files are supported",
        ));
    }
    let options = TlsOptions {
        root,
        cert: file("sslcert", ".postgresql/postgresql.crt"),
        key,
        key_password: values.get("sslpassword").map(SecretString::from),
        default_crl: outside.in_home(".postgresql/root.crl"),
        sni: values
            .choice("sslsni", &[("0", false), ("1", true)])?
            .unwrap_or(true),
        send_cert: values
            .choice("sslcertmode", &[("disable", false), ("allow", true)])?
            .unwrap_or(true),
        direct,
        min_version: tls_version(values, "ssl_min_protocol_version")?.unwrap_or(TlsVersion::V1_2),
        max_version: tls_version(values, "ssl_max_protocol_version")?,
    };
    if options
        .max_version
        .is_some_and(|max| max < options.min_version)
    {
        return Err(ConninfoError::new(
            "`ssl_max_protocol_version` is older than `ssl_min_protocol_version`",
        ));
    }
    Ok((ssl_mode, options))
}

fn tls_version(values: &NonEmptySettings<'_>, key: &str) -> Result<Option<TlsVersion>> {
    values.choice(
        key,
        &[
            ("TLSv1", TlsVersion::V1_0),
            ("TLSv1.1", TlsVersion::V1_1),
            ("TLSv1.2", TlsVersion::V1_2),
            ("TLSv1.3", TlsVersion::V1_3),
        ],
    )
}
