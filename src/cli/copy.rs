//! `tableferry copy FROM TO`: one copy without a configuration. It becomes a job in memory, which runs
//! like any other.

use std::sync::Arc;

use super::args::CopyArgs;
use super::out::complain;
use super::run::{Foreground, finish};
use super::signals::InterruptWatch;
use super::{Exit, complain_of};
use crate::config::spec::{FileSpec, JobSpec, Mode, OnError, ServerPlace, ServerSpec};
use crate::config::spec::{TableInput, TableSpec};
use crate::config::{self, Request, is_name, one_off};
use crate::files::layout::{FileFormat, FileOptions, format_of};
use crate::pg::ident::{Ident, QualifiedName};
use crate::run::{self, RunContext};

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    /// `-`.
    Standard,
    /// A path.
    File(String),
    /// `SERVER#schema.table`.
    Server(String, Option<QualifiedName>),
    /// `postgresql://…#schema.table`.
    Uri(String, Option<QualifiedName>),
}

/// Why there is nothing to run.
enum Wrong {
    Usage(String),
    Config(config::ConfigErrors),
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Wrong::Usage(message)
    }
}

pub(super) async fn run(request: &Request, wanted: CopyArgs) -> Exit {
    let json = wanted.json;
    let run = match planned_run(request, wanted) {
        Ok(run) => run,
        Err(Wrong::Usage(message)) => {
            complain!("tableferry copy: {message}");
            return Exit::Usage;
        }
        Err(Wrong::Config(errors)) => {
            complain_of(&errors);
            return Exit::Config;
        }
    };
    let (canceller, cancelled) = run::cancellation();
    let Some(_watch) = InterruptWatch::start(canceller) else {
        return Exit::Failed;
    };
    let mut report = run::run(&run, &cancelled).await;
    "copy".clone_into(&mut report.job);
    let is_quiet = run.context.target.place == ServerPlace::Standard;
    finish(&report, json, is_quiet)
}

fn planned_run(request: &Request, wanted: CopyArgs) -> Result<RunContext, Wrong> {
    let from = endpoint(&wanted.from, wanted.query.is_some())?;
    let to = endpoint(&wanted.to, false)?;
    let is_file = |end: &Endpoint| matches!(end, Endpoint::Standard | Endpoint::File(_));
    let (reads_file, writes_file) = (is_file(&from), is_file(&to));
    check(&wanted, reads_file, writes_file)?;
    if wanted.json && to == Endpoint::Standard {
        return Err("`--json` and the rows would both go to the standard output"
            .to_owned()
            .into());
    }
    let mode = match (wanted.mode.as_deref(), writes_file) {
        (None, false) => Mode::Append,
        (None | Some("truncate"), true) => Mode::Truncate,
        (Some("swap"), true) => Mode::Swap,
        (Some(mode), true) => {
            return Err(format!("`--mode {mode}` needs a table: a file is written whole").into());
        }
        (Some(mode), false) => mode_of(mode)?,
    };
    let target = match (&to, &from) {
        (Endpoint::Server(_, Some(name)) | Endpoint::Uri(_, Some(name)), _) => name.clone(),
        (Endpoint::Server(..) | Endpoint::Uri(..), _) => {
            return Err(format!("{}: name a table behind `#`", shown(&wanted.to)).into());
        }
        (_, Endpoint::Server(_, Some(name)) | Endpoint::Uri(_, Some(name))) => name.clone(),
        _ => QualifiedName::new("public", "query"),
    };
    let input = match (&wanted.query, &from) {
        (Some(query), _) => TableInput::Query(query.clone()),
        (None, Endpoint::Server(_, Some(name)) | Endpoint::Uri(_, Some(name))) => {
            TableInput::Relation(name.clone())
        }
        (None, Endpoint::Server(..) | Endpoint::Uri(..)) => {
            let message = format!(
                "{}: name a table behind `#`, or give `--query`",
                shown(&wanted.from)
            );
            return Err(message.into());
        }
        (None, _) => TableInput::Relation(target.clone()),
    };
    let mut file = FileSpec::default();
    let source = server("source", from, request, &mut file)?;
    let target_server = server("target", to, request, &mut file)?;
    if reads_file || writes_file {
        file.format = Some(format(wanted.format.as_deref(), file.name.as_deref())?);
        file.name.get_or_insert_with(|| "-".to_owned());
        file.options = options(&wanted)?;
    }
    let table = TableSpec {
        target: target.clone(),
        input,
        columns: columns("--columns", &wanted.columns)?,
        filter: wanted.filter.clone(),
        key: columns("--key", &wanted.key)?,
        file,
        ..TableSpec::whole(&target)
    };
    // Two copies exclude each other where they write the same table.
    let name = format!("copy {}", table.target);
    let job = one_off::job(name, mode, table);
    let mut job = job.map_err(|error| error.to_string())?;
    set_aside(&wanted, &mut job)?;
    if let Some(text) = &wanted.stall_timeout {
        let wrong = |why| format!("`--stall-timeout {text}` is no duration such as 30s or 2h{why}");
        job.stall_timeout = match config::duration(text) {
            Ok(duration) if !duration.is_zero() => duration,
            Ok(_) => return Err(wrong("").into()),
            Err(why) if why.is_empty() => return Err(wrong("").into()),
            Err(why) => return Err(wrong(&format!(": {why}")).into()),
        };
    }
    if [&source.place, &target_server.place].contains(&&ServerPlace::Standard) {
        // What has been read cannot be read again, and what has been written cannot be taken back.
        job.retry.max = 0;
    }
    if let Err(message) = config::files::layout(&job, &job.table[&target]).map(drop)
        && (reads_file || writes_file)
    {
        return Err(message.into());
    }
    let listener = Arc::new(Foreground::new());
    Ok(RunContext::one_off(
        job,
        source,
        target_server,
        wanted.rows,
        listener,
    ))
}

/// What an argument names. `has_query`: a server needs no table.
fn endpoint(text: &str, has_query: bool) -> Result<Endpoint, String> {
    if text == "-" {
        return Ok(Endpoint::Standard);
    }
    let table = |name: &str| match name {
        "" => Ok(None),
        name => QualifiedName::parse(name)
            .map(Some)
            .map_err(|error| format!("`{name}` is no table's name: {error}")),
    };
    if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        let (uri, name) = text.rsplit_once('#').unwrap_or((text, ""));
        return Ok(Endpoint::Uri(uri.to_owned(), table(name)?));
    }
    match text.split_once('#') {
        Some((server, name)) if is_name(server) => {
            Ok(Endpoint::Server(server.to_owned(), table(name)?))
        }
        None if has_query && is_name(text) => Ok(Endpoint::Server(text.to_owned(), None)),
        _ => Ok(Endpoint::File(text.to_owned())),
    }
}

/// An argument without a password.
fn shown(endpoint: &str) -> &str {
    match endpoint.contains("://") {
        true => "the URI",
        false => endpoint,
    }
}

/// Options that mean nothing for these ends.
fn check(wanted: &CopyArgs, reads_file: bool, writes_file: bool) -> Result<(), String> {
    if reads_file && writes_file {
        return Err(
            "both ends are files: one of them has to be a table, SERVER#schema.table or \
             postgresql://…#schema.table"
                .to_owned(),
        );
    }
    let of_files = [
        ("--format", wanted.format.is_some()),
        ("--header", wanted.header.is_some()),
        ("--delimiter", wanted.delimiter.is_some()),
        ("--null", wanted.null.is_some()),
        ("--quote", wanted.quote.is_some()),
        ("--escape", wanted.escape.is_some()),
        ("--encoding", wanted.encoding.is_some()),
        ("--force-null", !wanted.force_null.is_empty()),
    ];
    let from_tables = [
        ("--query", wanted.query.is_some()),
        ("--where", wanted.filter.is_some()),
    ];
    let into_tables = [
        ("--key", !wanted.key.is_empty()),
        ("--force-null", !wanted.force_null.is_empty()),
        ("--on-error", wanted.on_error.is_some()),
        ("--reject-limit", wanted.reject_limit.is_some()),
    ];
    let is_given = |options: &[(&'static str, bool)]| {
        let mut given = options.iter().filter(|(_, given)| *given);
        given.next().map(|(name, _)| *name)
    };
    let refused = [
        (
            !reads_file && !writes_file,
            is_given(&of_files),
            "both ends are tables",
        ),
        (reads_file, is_given(&from_tables), "the source is a file"),
        (writes_file, is_given(&into_tables), "the target is a file"),
    ];
    for (applies, option, why) in refused {
        if let (true, Some(option)) = (applies, option) {
            return Err(format!("`{option}` has no meaning here: {why}"));
        }
    }
    if wanted.query.is_some() && wanted.filter.is_some() {
        return Err("put the condition of `--where` into the query".to_owned());
    }
    Ok(())
}

fn server(
    name: &str,
    end: Endpoint,
    request: &Request,
    file: &mut FileSpec,
) -> Result<ServerSpec, Wrong> {
    Ok(match end {
        Endpoint::Standard => one_off::files(name, ServerPlace::Standard),
        Endpoint::File(path) => {
            let resolved = match name {
                // Symbolic links are the caller's own here.
                "source" => std::fs::canonicalize(&path)
                    .map(|path| path.to_string_lossy().into_owned())
                    .map_err(|error| format!("{path}: {error}"))?,
                _ => path.clone(),
            };
            let split = one_off::split(&resolved);
            let (directory, found) = split.map_err(|error| format!("{path}: {error}"))?;
            file.name = Some(found);
            one_off::files(name, ServerPlace::Directory(directory))
        }
        Endpoint::Uri(uri, _) => one_off::database(name, uri),
        Endpoint::Server(server, _) => {
            let config = config::load(request).map_err(Wrong::Config)?;
            let known: Vec<&str> = config.servers.keys().map(String::as_str).collect();
            let found = config.servers.get(&server).ok_or_else(|| {
                let known = known.join(", ");
                format!("there is no server `{server}` in the configuration; there are: {known}")
            })?;
            match found.is_database() {
                true => found.clone(),
                false => {
                    let message =
                        format!("server `{server}` is a directory: name the file by its path");
                    return Err(message.into());
                }
            }
        }
    })
}

/// What happens to rows that the target rejects.
fn set_aside(wanted: &CopyArgs, job: &mut JobSpec) -> Result<(), String> {
    job.on_error = match wanted.on_error.as_deref() {
        None | Some("abort") => OnError::Abort,
        Some("quarantine") => OnError::Quarantine,
        Some(other) => return Err(format!("`--on-error {other}` is none of abort, quarantine")),
    };
    let Some(limit) = &wanted.reject_limit else {
        return Ok(());
    };
    if job.on_error == OnError::Abort {
        return Err("`--reject-limit` needs `--on-error quarantine`".to_owned());
    }
    job.reject_limit = config::reject_limit(limit).map_err(|_| {
        format!("`--reject-limit {limit}` is neither a number of rows nor a share like 0.1%")
    })?;
    Ok(())
}

fn mode_of(mode: &str) -> Result<Mode, String> {
    Mode::named(mode)
        .ok_or_else(|| format!("`--mode {mode}` is none of {}", Mode::NAMES.join(", ")))
}

fn format(wanted: Option<&str>, file: Option<&str>) -> Result<FileFormat, String> {
    match (wanted, file) {
        (Some("csv"), _) | (None, None) => Ok(FileFormat::Csv),
        (Some("text"), _) => Ok(FileFormat::Text),
        (Some("binary"), _) => Ok(FileFormat::Binary),
        (Some(other), _) => Err(format!("`--format {other}` is none of csv, text, binary")),
        (None, Some(name)) => format_of(name).ok_or_else(|| {
            format!("{name}: the ending says no format: give `--format csv`, `text` or `binary`")
        }),
    }
}

fn options(wanted: &CopyArgs) -> Result<FileOptions, String> {
    let byte = |option: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(None),
        Some("\\t") => Ok(Some(b'\t')),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(Some(*byte)),
            _ => Err(format!("`{option}` has to be one ASCII character")),
        },
    };
    Ok(FileOptions {
        header: wanted.header,
        delimiter: byte("--delimiter", &wanted.delimiter)?,
        null: wanted.null.clone(),
        quote: byte("--quote", &wanted.quote)?,
        escape: byte("--escape", &wanted.escape)?,
        force_null: columns("--force-null", &wanted.force_null)?,
        encoding: wanted.encoding.clone(),
    })
}

fn columns(option: &str, names: &[String]) -> Result<Option<Vec<Ident>>, String> {
    one_off::columns(names).map_err(|message| format!("`{option}`: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn table(name: &str) -> Option<QualifiedName> {
        Some(QualifiedName::parse(name).unwrap())
    }

    #[rstest]
    #[case("-", Endpoint::Standard)]
    #[case("./a.csv", Endpoint::File("./a.csv".to_owned()))]
    #[case("/x/a#b.csv", Endpoint::File("/x/a#b.csv".to_owned()))]
    #[case("shop#public.t", Endpoint::Server("shop".to_owned(), table("public.t")))]
    #[case("postgresql://u@h/d?x=1#s.\"T\"", Endpoint::Uri("postgresql://u@h/d?x=1".to_owned(), table("s.\"T\"")))]
    #[case("postgres://h/d", Endpoint::Uri("postgres://h/d".to_owned(), None))]
    fn ends_of_a_copy(#[case] text: &str, #[case] expected: Endpoint) {
        assert_eq!(endpoint(text, false).unwrap(), expected);
    }

    #[test]
    fn a_query_needs_only_a_server() {
        let shop = Endpoint::Server("shop".to_owned(), None);
        assert_eq!(endpoint("shop", true).unwrap(), shop);
        assert!(endpoint("shop#no table", false).is_err());
    }
}
