//! What a login needs, as a server's configuration says: the conninfo and the password.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use super::conninfo::passfile::{self, PassfileError, PasswordFor};
use super::conninfo::{
    self, Conninfo, FileChoice, HostPlace, HostSpec, Outside, RootCert, SslMode,
};
use super::{password_command, tls};
use crate::config::spec::{PasswordSource, ServerSpec};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::private::is_open_to_others;

/// A conninfo, and where its passwords come from.
pub struct Login {
    /// Where and how.
    pub conninfo: Conninfo,
    password: Option<SecretString>,
    passfile: Option<SecretString>,
}

impl Login {
    /// Reads the environment and the files that `server` refers to, or runs the program.
    ///
    /// *Errors:* `Config`, naming what is wrong or which file cannot be read; never a password. `Unreachable` if the
    /// program fails.
    pub async fn read(server: &ServerSpec) -> Result<Login> {
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
            PasswordSource::Command(command) => Some(password_command::password(command).await?),
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
                &PasswordFor {
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
    let vars = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let outside = outside(vars, geteuid());
    conninfo::resolve(server.conninfo.expose_secret(), &outside)
        .map_err(|error| config_error(format!("conninfo: {error}")))
}

/// What a conninfo depends on, with the files of this machine.
pub fn outside(vars: BTreeMap<String, String>, uid: Uid) -> Outside<'static> {
    let user = User::from_uid(uid).ok().flatten();
    Outside {
        home: vars
            .get("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
            .or_else(|| user.as_ref().map(|user| user.dir.clone())),
        os_user: user.map(|user| user.name),
        vars,
        read: &|path| fs::read_to_string(path),
        exists: &|path| path.exists(),
    }
}

/// Why a login would fail now, though it may work later: the key of the server, and the reason. Never a
/// password.
pub fn misgivings(
    conninfo: &Conninfo,
    password: &PasswordSource,
    outside: &Outside<'_>,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut note = |key, error: Error| found.push((key, error.message().to_owned()));
    let explicit = |path: &Path| match passfile::read(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(config_error(format!("{} {error}", path.display()))),
    };
    match password {
        PasswordSource::Libpq => {
            if let (Some(path), true, None) = (
                &conninfo.passfile,
                conninfo.passfile_is_explicit,
                &conninfo.password,
            ) && let Err(error) = explicit(path)
            {
                note(
                    "conninfo",
                    config_error(format!("passfile: {}", error.message())),
                );
            }
        }
        PasswordSource::PassFile(path) => {
            if let Err(error) = explicit(path) {
                note("passfile", error);
            }
        }
        PasswordSource::File(path) => {
            if let Err(error) = first_line(path, "it names") {
                note("password_file", error);
            }
            if is_open_to_others(path).unwrap_or(false) {
                note("password_file", read_by_others(path));
            }
        }
        PasswordSource::Env(name) => {
            if outside.var(name).is_none() {
                let message = format!("the environment variable {name} is not set");
                note("password_env", config_error(message));
            }
        }
        PasswordSource::Credential(name) => {
            let dir = outside.var("CREDENTIALS_DIRECTORY");
            let result = match dir {
                Some(dir) => first_line(&Path::new(&dir).join(name), "it names").map(drop),
                None => Err(config_error("$CREDENTIALS_DIRECTORY is not set".to_owned())),
            };
            if let Err(error) = result {
                note("password_credential", error);
            }
        }
        // To run it here would take time, and may have effects.
        PasswordSource::Command(_) => {}
    }
    for mode in modes_with_files(conninfo) {
        if let Err(error) = tls::connector(mode, &conninfo.tls) {
            note("conninfo", config_error(error.to_string()));
            break;
        }
    }
    found
}

/// The sslmodes for which files are named or needed. Checking the system's certificates takes long and finds
/// nothing.
fn modes_with_files(conninfo: &Conninfo) -> impl Iterator<Item = SslMode> {
    let options = &conninfo.tls;
    let is_named = |file: &FileChoice| matches!(file, FileChoice::Explicit(_));
    let root_is_named = matches!(&options.root, RootCert::File(file) if is_named(file));
    let named = root_is_named || is_named(&options.cert) || is_named(&options.key);
    let modes = conninfo.hosts.iter().map(|host| conninfo.ssl_mode(host));
    modes.filter(move |mode| match mode {
        SslMode::Disable => false,
        SslMode::VerifyCa => true,
        SslMode::Prefer | SslMode::Require | SslMode::VerifyFull => named,
    })
}

fn read_by_others(path: &Path) -> Error {
    config_error(format!(
        "{} holds a password and can be read by others than its owner: chmod 600",
        path.display()
    ))
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
