//! `[servers.NAME]`.

use std::path::PathBuf;

use secrecy::SecretString;

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::password::has_password;
use super::raw::RawServer;
use super::spec::{PasswordSource, ServerPlace, ServerSpec};
use crate::pg::conninfo::{self, Conninfo, ConninfoError, HostPlace, HostSpec, Outside};
use crate::pg::login::misgivings;
use crate::pg::proxy;

/// A server whose conninfo is right as far as that can be told without a connection.
pub(super) fn server(
    name: String,
    raw: RawServer,
    outside: &Outside<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<ServerSpec> {
    let path = KeyPath::from("servers").child(&name);
    let password = password_source(&raw, &path, diagnostics);
    if let Some(directory) = raw.dir.clone() {
        return Some(files(name, directory, &raw, &path, diagnostics));
    }
    let key = path.child("conninfo");
    let conninfo = diagnostics.require(&key, raw.conninfo)?;
    match resolve(&conninfo, outside) {
        Ok(resolved) => {
            if raw.proxy_command.is_some() {
                check_proxy(&resolved, &path.child("proxy_command"), diagnostics);
            }
            for (key, misgiving) in misgivings(&resolved, &password, outside) {
                diagnostics.warn(&path.child(key), misgiving);
            }
        }
        Err(error) if error.may_pass() => diagnostics.warn(&key, error.to_string()),
        Err(error) => diagnostics.error(&key, error.to_string()),
    }
    Some(ServerSpec {
        name,
        place: ServerPlace::Database,
        conninfo: SecretString::from(conninfo),
        password,
        // The words were checked with their layer.
        proxy_command: raw.proxy_command.and_then(|text| proxy::words(&text).ok()),
        max_connections: raw.max_connections,
        encoding: raw.encoding,
    })
}

/// A server that is a directory. What only a database has is an error beside it.
fn files(
    name: String,
    directory: PathBuf,
    raw: &RawServer,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> ServerSpec {
    let of_databases = [
        "conninfo",
        "password_file",
        "password_env",
        "password_credential",
        "password_command",
        "passfile",
        "proxy_command",
        "encoding",
        "max_connections",
    ];
    for key in of_databases {
        let key = path.child(key);
        if diagnostics.is_set(&key) {
            diagnostics.error(&key, "excludes `dir`: a directory is no database");
        }
    }
    if !directory.is_absolute() {
        let message = "must be an absolute path: the daemon and you start in different directories";
        diagnostics.error(&path.child("dir"), message);
    }
    ServerSpec {
        name,
        place: ServerPlace::Directory(directory),
        conninfo: SecretString::from(String::new()),
        password: PasswordSource::Libpq,
        proxy_command: None,
        max_connections: raw.max_connections,
        encoding: None,
    }
}

/// A proxy is told which host to connect to.
fn check_proxy(conninfo: &Conninfo, key: &KeyPath, diagnostics: &mut Diagnostics) {
    let is_socket = |host: &HostSpec| matches!(host.place, HostPlace::Socket(_));
    if conninfo.hosts.iter().any(is_socket) {
        let message =
            "needs a `host` in the conninfo, for %h: it has none, or one that is a Unix socket";
        diagnostics.error(key, message);
    }
}

/// The first source that is given; any other is an error.
fn password_source(
    raw: &RawServer,
    path: &KeyPath,
    diagnostics: &mut Diagnostics,
) -> PasswordSource {
    use PasswordSource::{Command, Credential, Env, File, Libpq, PassFile};
    let in_conninfo = raw.conninfo.as_deref().is_some_and(has_password);
    let sources = [
        ("conninfo", in_conninfo.then_some(Libpq)),
        ("password_file", raw.password_file.clone().map(File)),
        ("password_env", raw.password_env.clone().map(Env)),
        (
            "password_credential",
            raw.password_credential.clone().map(Credential),
        ),
        (
            "password_command",
            raw.password_command.clone().map(Command),
        ),
        ("passfile", raw.passfile.clone().map(PassFile)),
    ];
    let mut given = sources
        .into_iter()
        .filter_map(|(key, source)| Some((key, source?)));
    let Some((first, source)) = given.next() else {
        return Libpq;
    };
    let first = match first {
        "conninfo" => "the password in `conninfo`".to_owned(),
        key => format!("`{key}`"),
    };
    for (other, _) in given {
        let message = format!("excludes {first}: a server has at most one source of its password");
        diagnostics.error(&path.child(other), message);
    }
    if let Command(words) = &source
        && words.first().is_some_and(String::is_empty)
    {
        let message = "begins with an empty text: name a program";
        diagnostics.error(&path.child("password_command"), message);
    }
    source
}

/// Combines the conninfo with the service file and the PG* variables, and reports their errors.
fn resolve(text: &str, outside: &Outside<'_>) -> Result<Conninfo, ConninfoError> {
    let without_variables = Outside {
        vars: Default::default(),
        home: outside.home.clone(),
        os_user: outside.os_user.clone(),
        ..*outside
    };
    conninfo::resolve(text, outside).map_err(|error| {
        match conninfo::resolve(text, &without_variables) {
            Ok(_) => error.within("the conninfo with the environment's PG* variables"),
            Err(_) => error,
        }
    })
}
