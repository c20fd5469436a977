//! Keys and values to a [`Conninfo`]: every value is understood, or an error names its key.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::parse::RawSettings;
use super::{
    CONNECT_TIMEOUT, ChannelBinding, Conninfo, ConninfoError, FileChoice, HostPlace, HostSpec,
    KEEPALIVES, Keepalives, Outside, RootCert, SslMode, TargetSessionAttrs, TlsOptions, TlsVersion,
};

type Result<T> = std::result::Result<T, ConninfoError>;

const PORT: u16 = 5432;

/// Where servers put their sockets: Debian's and Red Hat's place, and PostgreSQL's own.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Keys that mean something here.
const SUPPORTED: [&str; 31] = [
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

/// Keys of libpq's that we don't do, with the values that ask for nothing and may hence stay:
/// no compression, no GSSAPI encryption, UTF8 (which a session pins), protocol 3.0 at the least.
const HARMLESS: [(&str, &[&str]); 19] = [
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
    ("require_auth", &[]),
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

/// Refuses a key that nobody knows, and names the nearest one.
pub(super) fn check_known(key: &str, place: &str) -> Result<()> {
    if is_known(key) {
        return Ok(());
    }
    let nearest = SUPPORTED
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    let suggestion = match nearest {
        Some((_, known)) => format!("; did you mean `{known}`?"),
        None => String::new(),
    };
    Err(ConninfoError::new(format!(
        "unknown key `{key}` in {place}{suggestion}"
    )))
}

/// Every key is known by now.
pub(super) fn validate(settings: &RawSettings, outside: &Outside<'_>) -> Result<Conninfo> {
    let values = Values(settings);
    for (key, harmless) in HARMLESS {
        values.refuse_unless(key, harmless)?;
    }
    let user = values
        .get("user")
        .map(str::to_owned)
        .or_else(|| outside.os_user.clone())
        .ok_or_else(|| ConninfoError::new("no `user`, and the system has no name for us"))?;
    let passfile = values.get("passfile").map(PathBuf::from);
    let (ssl_mode, tls) = tls_options(&values, outside)?;
    Ok(Conninfo {
        hosts: hosts(&values, outside)?,
        dbname: values.get("dbname").unwrap_or(&user).to_owned(),
        user,
        password: values.get("password").map(SecretString::from),
        passfile_is_explicit: passfile.is_some(),
        passfile: passfile.or_else(|| outside.in_home(".pgpass")),
        ssl_mode,
        tls,
        channel_binding: values
            .choice(
                "channel_binding",
                &[
                    ("disable", ChannelBinding::Disable),
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                ],
            )?
            .unwrap_or(ChannelBinding::Prefer),
        target_session_attrs: values
            .choice(
                "target_session_attrs",
                &[
                    ("any", TargetSessionAttrs::Any),
                    ("read-write", TargetSessionAttrs::ReadWrite),
                    ("read-only", TargetSessionAttrs::ReadOnly),
                    ("primary", TargetSessionAttrs::Primary),
                    ("standby", TargetSessionAttrs::Standby),
                    ("prefer-standby", TargetSessionAttrs::PreferStandby),
                ],
            )?
            .unwrap_or(TargetSessionAttrs::Any),
        load_balance_hosts: values
            .choice(
                "load_balance_hosts",
                &[("disable", false), ("random", true)],
            )?
            .unwrap_or(false),
        connect_timeout: match values.number::<i64>("connect_timeout")? {
            None => Some(CONNECT_TIMEOUT),
            Some(seconds) => u64::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        },
        keepalives: keepalives(&values)?,
        tcp_user_timeout: values
            .number::<u32>("tcp_user_timeout")?
            .filter(|millis| *millis > 0)
            .map(|millis| Duration::from_millis(u64::from(millis))),
        options: values.get("options").map(str::to_owned),
        application_name: values
            .get("application_name")
            .or_else(|| values.get("fallback_application_name"))
            .map(str::to_owned),
    })
}

fn hosts(values: &Values<'_>, outside: &Outside<'_>) -> Result<Vec<HostSpec>> {
    let names = values.list("host");
    let addresses = values.list("hostaddr");
    let ports = values.list("port");
    let count = names.len().max(addresses.len());
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(ConninfoError::new(format!(
            "`host` names {} hosts and `hostaddr` {}",
            names.len(),
            addresses.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count.max(1) {
        return Err(ConninfoError::new(format!(
            "`port` has {} values for {} hosts",
            ports.len(),
            count.max(1)
        )));
    }
    let mut specs = Vec::new();
    for index in 0..count.max(1) {
        let port = match ports.get(index).or(ports.first()).copied().unwrap_or("") {
            "" => PORT,
            text => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(ConninfoError::new(
                        "`port` is not a number between 1 and 65535",
                    ));
                }
            },
        };
        let name = names.get(index).copied().unwrap_or("");
        let address = addresses.get(index).copied().unwrap_or("");
        specs.extend(
            places(name, address, outside)?
                .into_iter()
                .map(|place| HostSpec { place, port }),
        );
    }
    Ok(specs)
}

fn places(name: &str, address: &str, outside: &Outside<'_>) -> Result<Vec<HostPlace>> {
    if !address.is_empty() {
        let address = address
            .parse::<IpAddr>()
            .map_err(|_| ConninfoError::new("`hostaddr` is not an IP address"))?;
        let name = (!name.is_empty()).then(|| name.to_owned());
        return Ok(vec![HostPlace::Address { name, address }]);
    }
    if name.starts_with(['/', '@']) {
        return Ok(vec![HostPlace::Socket(PathBuf::from(name))]);
    }
    if !name.is_empty() {
        return Ok(vec![HostPlace::Name(name.to_owned())]);
    }
    // libpq has one directory compiled in; we can't know which one the server was built with.
    let dirs = SOCKET_DIRS.map(PathBuf::from);
    let there: Vec<_> = dirs
        .iter()
        .filter(|dir| (outside.exists)(dir))
        .cloned()
        .collect();
    let chosen = if there.is_empty() {
        dirs.to_vec()
    } else {
        there
    };
    Ok(chosen.into_iter().map(HostPlace::Socket).collect())
}

fn keepalives(values: &Values<'_>) -> Result<Option<Keepalives>> {
    // libpq takes 0 for "the system's value", which is what we replace.
    let seconds = |key, default| -> Result<Duration> {
        Ok(match values.number::<u32>(key)? {
            None | Some(0) => default,
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
        })
    };
    let keepalives = Keepalives {
        idle: seconds("keepalives_idle", KEEPALIVES.idle)?,
        interval: seconds("keepalives_interval", KEEPALIVES.interval)?,
        retries: match values.number::<u32>("keepalives_count")? {
            None | Some(0) => KEEPALIVES.retries,
            Some(count) => count,
        },
    };
    let wanted = values.number::<u32>("keepalives")?.unwrap_or(1) != 0;
    Ok(wanted.then_some(keepalives))
}

fn tls_options(
    values: &Values<'_>,
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
            // The system's roots vouch for the whole world: only a host name tells who it is.
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

fn tls_version(values: &Values<'_>, key: &str) -> Result<Option<TlsVersion>> {
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

/// Typed reading of raw settings; an empty value is an absent one.
struct Values<'s>(&'s RawSettings);

impl<'s> Values<'s> {
    fn get(&self, key: &str) -> Option<&'s str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn list(&self, key: &str) -> Vec<&'s str> {
        match self.get(key) {
            Some(value) => value.split(',').map(str::trim).collect(),
            None => Vec::new(),
        }
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)
            .map(|value| value.trim().parse::<T>())
            .transpose()
            .map_err(|_| ConninfoError::new(format!("`{key}` is not a number in its range")))
    }

    fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match choices.iter().find(|(name, _)| *name == value) {
            Some((_, chosen)) => Ok(Some(*chosen)),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                Err(ConninfoError::new(format!(
                    "`{key}` must be one of {}",
                    names.join(", ")
                )))
            }
        }
    }

    fn refuse_unless(&self, key: &str, harmless: &[&str]) -> Result<()> {
        match self.get(key) {
            Some(value) if !harmless.contains(&value) => {
                let advice = match (key, harmless) {
                    ("client_encoding", _) => {
                        "; for a SQL_ASCII database set `encoding` on the server".to_owned()
                    }
                    (_, []) => String::new(),
                    (_, values) => format!(" (only {})", values.join(", ")),
                };
                Err(ConninfoError::new(format!(
                    "`{key}` is not supported{advice}"
                )))
            }
            _ => Ok(()),
        }
    }
}
