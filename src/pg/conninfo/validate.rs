//! Validates keys and values into a [`Conninfo`]. An error names the key.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::error::ConninfoError;
use super::keys::HARMLESS;
use super::outside::Outside;
use super::parameters::{
    CONNECT_TIMEOUT, ChannelBinding, Conninfo, HostPlace, HostSpec, KEEPALIVES, Keepalives,
    TargetSessionAttrs,
};
use super::require_auth::RequireAuth;
use super::tls::tls_options;
use super::values::{NonEmptySettings, RawSettings};

type Result<T> = std::result::Result<T, ConninfoError>;

const PORT: u16 = 5432;

/// The socket directories of Debian and Red Hat, and PostgreSQL's default.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Every key is known by now.
pub(super) fn validate(settings: &RawSettings, outside: &Outside<'_>) -> Result<Conninfo> {
    let values = NonEmptySettings(settings);
    for (key, harmless) in HARMLESS {
        values.refuse_unless(key, harmless)?;
    }
    let user = values
        .get("user")
        .map(str::to_owned)
        .or_else(|| outside.os_user.clone())
        .ok_or_else(|| {
            ConninfoError::new(
                "no `user`, and the operating system has no name for the current user",
            )
        })?;
    let passfile = values.get("passfile").map(PathBuf::from);
    let (ssl_mode, tls) = tls_options(&values, outside)?;
    let (channel_binding, require_auth) = authentication(&values)?;
    Ok(Conninfo {
        hosts: hosts(&values, outside)?,
        dbname: values.get("dbname").unwrap_or(&user).to_owned(),
        user,
        password: values.get("password").map(SecretString::from),
        passfile_is_explicit: passfile.is_some(),
        passfile: passfile.or_else(|| outside.in_home(".pgpass")),
        ssl_mode,
        tls,
        channel_binding,
        require_auth,
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

/// `channel_binding` and `require_auth`.
fn authentication(values: &NonEmptySettings<'_>) -> Result<(ChannelBinding, Option<RequireAuth>)> {
    let channel_binding = values
        .choice(
            "channel_binding",
            &[
                ("disable", ChannelBinding::Disable),
                ("prefer", ChannelBinding::Prefer),
                ("require", ChannelBinding::Require),
            ],
        )?
        .unwrap_or(ChannelBinding::Prefer);
    let require_auth = values
        .get("require_auth")
        .map(RequireAuth::parse)
        .transpose()?;
    let without_scram = require_auth
        .as_ref()
        .is_some_and(|auth| !auth.allows_scram());
    if channel_binding == ChannelBinding::Require && without_scram {
        return Err(ConninfoError::new(
            "`channel_binding=require` needs scram-sha-256, which `require_auth` does not allow",
        ));
    }
    Ok((channel_binding, require_auth))
}

fn hosts(values: &NonEmptySettings<'_>, outside: &Outside<'_>) -> Result<Vec<HostSpec>> {
    let names = values.list("host");
    let addresses = values.list("hostaddr");
    let ports = values.list("port");
    let count = names.len().max(addresses.len());
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(ConninfoError::new(format!(
            "could not match {} host names to {} hostaddr values",
            names.len(),
            addresses.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count.max(1) {
        return Err(ConninfoError::new(format!(
            "could not match {} port numbers to {} hosts",
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
    // libpq has one directory compiled in. It is not known with which one the server was built.
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

fn keepalives(values: &NonEmptySettings<'_>) -> Result<Option<Keepalives>> {
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
