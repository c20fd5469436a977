//! `tableferry init`: looks at two servers and writes a configuration for the tables of the source.
//!
//! What it writes is planned first, so that `check --connect` accepts it: a table that planning refuses is left out,
//! with the reason.

mod decide;
mod settle;
mod survey;
mod text;

use std::io::Write as _;
use std::path::Path;

use secrecy::SecretString;

use self::decide::Choice;
use self::settle::Planner;
use self::survey::{Names, Survey};
use self::text::{Draft, Server};
use super::Exit;
use super::args::InitArgs;
use super::out::{ask, complain, print_text};
use crate::catalog;
use crate::config::spec::{Mode, ServerSpec};
use crate::config::{self, NewFile, Request, one_off};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::conninfo::without_password;
use crate::pg::session::{Session, SessionSettings};
use crate::run::bounds::{CLOSE_WAIT, COMMAND_LOCK_TIMEOUT};
use crate::run::ledger;
use crate::wording::counted;

/// How often a question is repeated.
const QUESTIONS_MAX: usize = 3;

/// How many relations that are not copied are shown. The file names all.
const REASONS_SHOWN_MAX: usize = 10;

pub(super) async fn run(request: &Request, wanted: InitArgs) -> Exit {
    let path = match config::new_file(request) {
        NewFile::At(path) => path,
        NewFile::Exists(path) => {
            complain!(
                "tableferry init: {} exists, and is not overwritten",
                path.display()
            );
            complain!("  hint: name another file: `tableferry --config FILE init`");
            return Exit::Failed;
        }
    };
    let source = conninfo("source", "--source", wanted.source);
    let target = source.and_then(|source| {
        let target = conninfo("target", "--target", wanted.target)?;
        Ok((source, target))
    });
    let (source, target) = match target {
        Ok(both) => both,
        Err(why) => {
            complain!("tableferry init: {why}");
            return Exit::Usage;
        }
    };
    match written(request, &path, [&source, &target]).await {
        Ok(Some(choices)) => {
            say_what_next(
                &path,
                request,
                &choices,
                source.had_password || target.had_password,
            );
            Exit::Done
        }
        Ok(None) => Exit::Failed,
        Err(error) => {
            complain!("tableferry init: {error}");
            if let Some(hint) = error.hint() {
                complain!("  hint: {hint}");
            }
            Exit::Failed
        }
    }
}

/// A server as it was named.
struct Named {
    spec: ServerSpec,
    /// Without a password.
    conninfo: String,
    had_password: bool,
}

/// The conninfo that a flag gives, or a person on a terminal.
fn conninfo(
    name: &'static str,
    flag: &str,
    given: Option<String>,
) -> std::result::Result<Named, String> {
    let named = |text: String| match without_password(&text) {
        Ok((conninfo, had_password)) => Ok(Named {
            spec: ServerSpec {
                conninfo: SecretString::from(text),
                ..one_off::database(name, String::new())
            },
            conninfo,
            had_password,
        }),
        Err(error) => Err(format!("the {name}'s conninfo: {error}")),
    };
    if let Some(text) = given {
        return named(text);
    }
    let question = format!("{name} (postgresql://user@host/database, or key=value): ");
    for _ in 0..QUESTIONS_MAX {
        let answer = ask(&question).map_err(|error| error.to_string())?;
        let Some(answer) = answer else {
            return Err(format!(
                "`{flag} CONNINFO` is needed where standard input is no terminal"
            ));
        };
        match named(answer.trim().to_owned()) {
            _ if answer.trim().is_empty() => {}
            Ok(server) => return Ok(server),
            Err(error) => complain!("{error}"),
        }
    }
    Err(format!("no conninfo of the {name} was given"))
}

/// Looks at both servers, and writes the file. `None`, with the reasons on stderr, if no table can be copied.
async fn written(
    request: &Request,
    path: &Path,
    [source, target]: [&Named; 2],
) -> Result<Option<Vec<Choice>>> {
    let found = look(&source.spec, &target.spec).await?;
    let mut survey = found.survey;
    let servers = [
        server("source", source, found.versions[0]),
        server("target", target, found.versions[1]),
    ];
    let no_ledger = found.no_ledger.as_deref();
    let drafted = |choices: &[Choice], survey: &Survey| {
        text::configuration(&Draft {
            servers: [&servers[0], &servers[1]],
            choices,
            survey,
            no_ledger,
        })
    };
    let pairs = std::mem::take(&mut survey.pairs);
    let planner = Planner {
        request,
        path,
        specs: [&source.spec, &target.spec],
        text: &|choices| drafted(choices, &Survey::default()),
    };
    let (choices, left_out) = planner.settle(&pairs).await?;
    survey.left_out.extend(left_out);
    if choices.is_empty() {
        say_why_nothing(&survey);
        return Ok(None);
    }
    let text = drafted(&choices, &survey);
    write_new(path, &text)?;
    say_some(&not_copied(&survey), "not copied: ");
    Ok(Some(choices))
}

fn server(name: &'static str, named: &Named, version: u32) -> Server {
    Server {
        name,
        conninfo: named.conninfo.clone(),
        had_password: named.had_password,
        found: format!("PostgreSQL {}.{}", version / 10_000, version % 10_000),
    }
}

/// What the two servers have.
struct Found {
    survey: Survey,
    versions: [u32; 2],
    /// Why runs cannot be recorded on the target.
    no_ledger: Option<String>,
}

async fn look(source: &ServerSpec, target: &ServerSpec) -> Result<Found> {
    let source = open(source, Side::Source).await?;
    let target = open(target, Side::Target).await?;
    let found = look_at(&source, &target).await;
    source.close(CLOSE_WAIT).await;
    target.close(CLOSE_WAIT).await;
    found
}

async fn open(server: &ServerSpec, side: Side) -> Result<Session> {
    let settings = SessionSettings {
        encoding: None,
        lock_timeout: COMMAND_LOCK_TIMEOUT,
        application_name: "tableferry init".to_owned(),
        replica: false,
    };
    Session::open(server, side, &settings).await
}

async fn look_at(source: &Session, target: &Session) -> Result<Found> {
    for session in [source, target] {
        session.begin_reading(Phase::Inspect).await?;
    }
    let from = Names::of(catalog::candidates(source).await?);
    let to = Names::of(catalog::candidates(target).await?);
    let common = survey::common(&from, &to);
    let of_source = catalog::read(source, &survey::to_read(&from, &to)).await?;
    let of_target = catalog::read(target, &common).await?;
    let no_ledger = match ledger::check(target).await {
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::Permission => Some(error.message().to_owned()),
        Err(error) => return Err(error),
    };
    Ok(Found {
        survey: survey::survey((&from, &to), of_source, of_target),
        versions: [source.version(), target.version()],
        no_ledger,
    })
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let written = || {
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = std::fs::File::create_new(path)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written
    };
    written().map_err(|error: std::io::Error| {
        let message = format!("{} cannot be written: {error}", path.display());
        Error::new(ErrorKind::Config, Phase::Configure, Side::Local, message).caused_by(error)
    })
}

fn say_what_next(path: &Path, request: &Request, choices: &[Choice], had_password: bool) {
    let jobs: Vec<&str> = text::jobs(choices).map(Mode::as_str).collect();
    print_text(&format!(
        "{}: {} to copy",
        path.display(),
        counted(choices.len(), "table")
    ));
    for job in &jobs {
        let tables = choices
            .iter()
            .filter(|choice| choice.mode.as_str() == *job)
            .count();
        print_text(&format!("  job `{job}`: {}", counted(tables, "table")));
    }
    if had_password {
        print_text("the passwords are not in the file: it says where to put them");
    }
    let flag = match &request.explicit {
        Some(path) => format!(" --config {}", path.display()),
        None => String::new(),
    };
    let jobs = jobs.join(" ");
    print_text("next:");
    print_text(&format!("  tableferry{flag} check --connect"));
    print_text(&format!(
        "  tableferry{flag} run --dry-run {jobs}   # how many rows a run would write"
    ));
    print_text(&format!("  tableferry{flag} run {jobs}"));
}

/// Both servers were looked at, and there is nothing to configure.
fn say_why_nothing(survey: &Survey) {
    if survey.left_out.is_empty() {
        complain!("tableferry init: the source has no tables in this database; nothing is written");
        complain!("  hint: check the database in the conninfo of the source");
        return;
    }
    complain!("tableferry init: no table can be copied; nothing is written");
    say_some(&not_copied(survey), "  ");
}

/// The relations that are not copied, and why.
fn not_copied(survey: &Survey) -> Vec<String> {
    let left_out = survey.left_out.iter();
    left_out
        .map(|(name, why)| format!("{name}: {why}"))
        .collect()
}

fn say_some(reasons: &[String], before: &str) {
    for reason in reasons.iter().take(REASONS_SHOWN_MAX) {
        complain!("{before}{reason}");
    }
    if reasons.len() > REASONS_SHOWN_MAX {
        complain!("{before}{} more", reasons.len() - REASONS_SHOWN_MAX);
    }
}
