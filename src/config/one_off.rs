//! A job without a configuration: what `tableferry copy` runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use super::diagnostics::Diagnostics;
use super::error::KeyPath;
use super::layer::Origins;
use super::merge::Stacks;
use super::raw::RawJob;
use super::spec::{JobSpec, Mode, PasswordSource, ServerPlace, ServerSpec, TableSpec};
use crate::pg::ident::Ident;

/// A job of one table, with the defaults of the configuration for the rest. *Errors:* a default has no
/// place in its type, which is a bug.
pub fn job(name: String, mode: Mode, table: TableSpec) -> Result<JobSpec, config::ConfigError> {
    let raw: RawJob = Stacks::new([]).job_of_defaults()?;
    let raw = RawJob {
        source: vec!["source".to_owned()],
        target: Some("target".to_owned()),
        mode: Some(mode),
        ..raw
    };
    let origins = Origins::default();
    let mut diagnostics = Diagnostics::new(&origins);
    let path = KeyPath::from("jobs").child("copy");
    let job = super::job::job(name, raw, &path, &mut diagnostics);
    let mut job = job.ok_or_else(|| config::ConfigError::Message("no job".to_owned()))?;
    job.table = BTreeMap::from([(table.target.clone(), table)]);
    Ok(job)
}

/// The columns of these names; None if there are none. *Errors:* a name does not parse, or occurs twice.
pub fn columns(names: &[String]) -> Result<Option<Vec<Ident>>, String> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let column = Ident::parse(name.trim())
            .map_err(|error| format!("`{name}` is no column's name: {error}"))?;
        if columns.contains(&column) {
            return Err(format!("column {column} is named twice"));
        }
        columns.push(column);
    }
    Ok((!columns.is_empty()).then_some(columns))
}

/// A server of such a job that is files.
pub fn files(name: &str, place: ServerPlace) -> ServerSpec {
    ServerSpec {
        place,
        ..database(name, String::new())
    }
}

/// A server of such a job that is a database.
pub fn database(name: &str, conninfo: String) -> ServerSpec {
    ServerSpec {
        name: name.to_owned(),
        place: ServerPlace::Database,
        conninfo: SecretString::from(conninfo),
        password: PasswordSource::Libpq,
        proxy_command: None,
        max_connections: 4,
        encoding: None,
    }
}

/// The directory of a file, and its name there. *Errors:* the path names no file.
pub fn split(path: &str) -> std::io::Result<(PathBuf, String)> {
    let path = std::path::absolute(path)?;
    let named = path.parent().zip(path.file_name());
    let (directory, name) = named.ok_or_else(|| std::io::Error::other("names no file"))?;
    Ok((directory.to_path_buf(), name.to_string_lossy().into_owned()))
}
