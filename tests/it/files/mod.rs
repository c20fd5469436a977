//! Files as sources and targets of jobs, and `tableferry copy`.

mod copy;
mod disk;
mod export;
mod finder;
mod foreign;
mod import;
mod phases;
mod plan_log;
mod rejected;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{self, Databases, Job, Outcome};

/// A configuration with the servers `source`, `target` and the directory `files`.
fn job(db: &Databases<'_>, jobs: &str) -> Job {
    let made = support::job(db, jobs);
    fs::create_dir(directory(&made)).unwrap();
    let path = made.configuration();
    let text = fs::read_to_string(&path).unwrap();
    let server = format!(
        "[daemon]\nstate_dir = {:?}\n[servers.files]\ndir = {:?}\n\n",
        made.directory().join("state"),
        directory(&made)
    );
    fs::write(path, server + &text).unwrap();
    made
}

/// The directory of the server `files`.
fn directory(job: &Job) -> PathBuf {
    job.directory().join("exports")
}

/// Puts a file into the directory.
fn put(job: &Job, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    job.file(&format!("exports/{name}"), contents)
}

/// What is in the directory, in order.
fn listed(job: &Job) -> Vec<String> {
    let entries = fs::read_dir(directory(job)).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Runs job `j`.
#[track_caller]
fn run(job: &Job) -> Outcome {
    job.run(&["run", "j", "--json"])
}

/// A job `j` that reads `public.t` from its file.
fn from_file(mode: &str, of_table: &str) -> String {
    format!(
        "[jobs.j]\nsource = \"files\"\ntarget = \"target\"\nmode = \"{mode}\"\n\
         [jobs.j.table.\"public.t\"]\n{of_table}\n"
    )
}

fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path).unwrap()
}
