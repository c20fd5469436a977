//! The precedence of libpq: conninfo, service file, PG* variables, defaults.

use std::io;
use std::path::{Path, PathBuf};

use super::error::ConninfoError;
use super::outside::Outside;
use super::parameters::Conninfo;
use super::values::RawSettings;
use super::{keys, parse, service, validate};

/// Debian, Fedora and most others keep `pg_service.conf` here.
const SYSCONF_DIR: &str = "/etc/postgresql-common";

/// The environment variables of the keys. `PGCLIENTENCODING`, `PGTZ` and `PGDATESTYLE` are left out: they
/// are for terminals, and a session pins these settings.
const VARIABLES: [(&str, &str); 33] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSSLMODE", "sslmode"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLCOMPRESSION", "sslcompression"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLSNI", "sslsni"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version"),
    ("PGMAXPROTOCOLVERSION", "max_protocol_version"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGKRBSRVNAME", "krbsrvname"),
    ("PGGSSLIB", "gsslib"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
];

/// Parses a conninfo, combines it with the other layers, and validates the result.
pub fn resolve(text: &str, outside: &Outside<'_>) -> Result<Conninfo, ConninfoError> {
    let mut settings = parse::parse(text)?;
    for key in settings.keys() {
        keys::check_known(key, "the conninfo")?;
    }
    if let Some(name) = take(&mut settings, "service").or_else(|| outside.var("PGSERVICE")) {
        let explicit = take(&mut settings, "servicefile");
        lay_under(&mut settings, read_service(&name, explicit, outside)?);
    }
    settings.remove("servicefile");
    for (variable, key) in VARIABLES {
        // If sslmode is set, the older requiressl does not apply.
        let said = key == "requiressl" && settings.contains_key("sslmode");
        if let (Some(value), false) = (outside.var(variable), said) {
            settings.entry(key.to_owned()).or_insert(value);
        }
    }
    validate::validate(&settings, outside)
}

fn take(settings: &mut RawSettings, key: &str) -> Option<String> {
    settings.remove(key).filter(|value| !value.is_empty())
}

fn lay_under(settings: &mut RawSettings, below: RawSettings) {
    for (key, value) in below {
        settings.entry(key).or_insert(value);
    }
}

/// The service is looked for in the user's file, then in the system's.
fn read_service(
    name: &str,
    explicit: Option<String>,
    outside: &Outside<'_>,
) -> Result<RawSettings, ConninfoError> {
    let in_home = outside
        .home
        .as_ref()
        .map(|home| home.join(".pg_service.conf"));
    let chosen = explicit
        .or_else(|| outside.var("PGSERVICEFILE"))
        .map(PathBuf::from);
    let must_exist = chosen.is_some();
    let system_dir = outside.var("PGSYSCONFDIR");
    let system = Path::new(system_dir.as_deref().unwrap_or(SYSCONF_DIR)).join("pg_service.conf");
    let mut looked_in = Vec::new();
    for (path, must_exist) in [(chosen.or(in_home), must_exist), (Some(system), false)] {
        let Some(path) = path else { continue };
        let text = match (outside.read)(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                looked_in.push(path.display().to_string());
                continue;
            }
            Err(error) => {
                return Err(ConninfoError::passing(format!(
                    "the service file {} cannot be read: {error}",
                    path.display()
                )));
            }
        };
        if let Some(found) = service::find(&text, name)
            .map_err(|error| ConninfoError::new(format!("{}: {error}", path.display())))?
        {
            for key in found.keys() {
                keys::check_known(key, &format!("service `{name}` in {}", path.display()))?;
            }
            return Ok(found);
        }
        looked_in.push(path.display().to_string());
    }
    Err(ConninfoError::passing(format!(
        "there is no service `{name}` in {}",
        looked_in.join(" or ")
    )))
}

#[cfg(test)]
mod tests;
