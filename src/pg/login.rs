//! What a login needs, read from where a server's configuration says: the conninfo with its
//! layers, and the password.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use super::conninfo::{self, Conninfo, HostPlace, HostSpec, Outside};
use super::passfile::{self, PassfileError, Wanted};
use crate::config::spec::{PasswordSource, ServerSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};

/// A conninfo, and where its passwords come from.
pub struct Login {
    /// Where and how.
    pub conninfo: Conninfo,
    password: Option<SecretString>,
    passfile: Option<SecretString>,
}

impl Login {
    /// Reads the environment and the files that `server` refers to.
    ///
    /// *Errors:* `Config`, naming what is wrong or which file cannot be read; never a password.
    pub fn read(server: &ServerSpec) -> Result<Login> {
        let mut conninfo = resolve(server)?;
        let password = match &server.password {
            PasswordSource::Libpq => conninfo.password.take(),
            PasswordSource::PassFile(path) => {
                conninfo.passfile = Some(path.clone());
                conninfo.passfile_is_explicit = true;
                conninfo.password.take()
            }
            PasswordSource::File(path) => Some(first_line(path, "password_file")?),
            PasswordSource::Env(name) => Some(variable(name)?),
            PasswordSource::Credential(name) => {
                Some(first_line(&credential_path(name)?, "password_credential")?)
            }
        };
        let passfile = match password {
            Some(_) => None,
            None => read_passfile(&conninfo)?,
        };
        Ok(Login {
            conninfo,
            password,
            passfile,
        })
    }

    /// The password for a host.
    pub fn password_for(&self, host: &HostSpec) -> Option<SecretString> {
        if self.password.is_some() {
            return self.password.clone();
        }
        let text = self.passfile.as_ref()?.expose_secret();
        let find = |name: &str| {
            passfile::find(
                text,
                &Wanted {
                    host: name,
                    port: host.port,
                    dbname: &self.conninfo.dbname,
                    user: &self.conninfo.user,
                },
            )
        };
        match &host.place {
            // libpq calls its default directory `localhost` and others by their path.
            HostPlace::Socket(dir) => find(&dir.to_string_lossy()).or_else(|| find("localhost")),
            HostPlace::Name(_) | HostPlace::Address { .. } => find(&host.tls_name()),
        }
    }
}

/// A conninfo over the environment of this process.
///
/// *Errors:* `Config`.
pub fn resolve(server: &ServerSpec) -> Result<Conninfo> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten();
    let vars: std::collections::BTreeMap<_, _> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let outside = Outside {
        home: vars
            .get("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| user.as_ref().map(|user| user.dir.clone())),
        os_user: user.map(|user| user.name),
        vars,
        read: &|path| fs::read_to_string(path),
        exists: &|path| path.exists(),
    };
    conninfo::resolve(server.conninfo.expose_secret(), &outside)
        .map_err(|error| config_error(format!("conninfo: {error}")))
}

fn read_passfile(conninfo: &Conninfo) -> Result<Option<SecretString>> {
    let Some(path) = &conninfo.passfile else {
        return Ok(None);
    };
    match passfile::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if conninfo.passfile_is_explicit => Err(config_error(format!(
            "the passfile {} {error}",
            path.display()
        ))),
        Err(PassfileError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => {
            warn!(passfile = %path.display(), "not used: it {error}");
            Ok(None)
        }
    }
}

fn first_line(path: &Path, key: &str) -> Result<SecretString> {
    let text = fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|error| config_error(format!("{key} {}: {error}", path.display())))?;
    match text.expose_secret().lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line)),
        _ => Err(config_error(format!(
            "{key} {}: its first line is empty",
            path.display()
        ))),
    }
}

fn variable(name: &str) -> Result<SecretString> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(SecretString::from(value)),
        Ok(_) | Err(env::VarError::NotPresent) => Err(config_error(format!(
            "password_env: the environment variable {name} is not set"
        ))),
        Err(env::VarError::NotUnicode(_)) => Err(config_error(format!(
            "password_env: the environment variable {name} is not UTF-8"
        ))),
    }
}

fn credential_path(name: &str) -> Result<PathBuf> {
    let dir = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        config_error(format!(
            "password_credential {name}: $CREDENTIALS_DIRECTORY is not set"
        ))
        .hinted("systemd sets it for a unit with LoadCredential=")
    })?;
    Ok(Path::new(&dir).join(name))
}

fn config_error(message: String) -> Error {
    Error::new(ErrorKind::Config, Phase::Connect, Side::Local, message)
}
