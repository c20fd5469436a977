//! A disk that is full, a directory that may not be written to, a reader that goes away, and renames that fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User, chown, geteuid};
use rstest::rstest;

use super::{bytes, directory, from_file, job, listed, put, run};
use crate::support::{
    Job, Outcome, PATIENCE, assert_committed, assert_refused, databases, wait_until,
};

const EXPORT: &str = "[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"truncate\"\ntables = [\"public.*\"]\n";

const ROWS: &str = "CREATE TABLE z AS SELECT n, md5(n::text) AS v FROM generate_series(1, 50000) n";

/// Runs the job with a file system of this size in the directory, which has an old file. Gives the names of
/// the files there afterwards, and what the old file's place holds; None where no file system can be mounted.
fn run_on_disk(job: Job, size: &str, name: &str) -> Option<(Outcome, Vec<String>, Vec<u8>)> {
    let can_mount = Command::new("unshare")
        .args(["-m", "true"])
        .output()
        .is_ok_and(|done| done.status.success());
    if !can_mount {
        eprintln!("skipped: no file system can be mounted here");
        return None;
    }
    let script = format!(
        "mount -t tmpfs -o size={size} none exports && echo old >exports/{name} || exit 99\n\
         \"$@\"; code=$?; ls -A exports >listing; cp exports/{name} kept; exit $code"
    );
    let job = job.through(&["unshare", "-m", "sh", "-c", &script, "sh"]);
    let outcome = run(&job);
    let listing = fs::read_to_string(job.directory().join("listing")).unwrap();
    let kept = bytes(job.directory().join("kept"));
    Some((outcome, listing.lines().map(str::to_owned).collect(), kept))
}

#[rstest]
#[case::plain("z.csv")]
#[case::gzip("z.csv.gz")]
#[case::zstd("z.csv.zst")]
fn a_full_disk_leaves_the_old_files_and_nothing_else(#[case] name: &str) {
    let db = databases("full_disk");
    db.source.sql(ROWS);
    db.source
        .sql("CREATE TABLE a (id int); INSERT INTO a VALUES (1)");
    let jobs = format!(
        "{EXPORT}[jobs.j.table.\"public.a\"]\nfile = \"a.csv\"\n[jobs.j.table.\"public.z\"]\nfile = \"{name}\"\n"
    );
    let Some((outcome, listing, kept)) = run_on_disk(job(&db, &jobs), "400k", name) else {
        return;
    };
    assert_refused(&outcome, "data_rejected", &[name, "No space left"]);
    assert_eq!(listing, [name]);
    assert_eq!(kept, b"old\n");
    let (outcome, listing, kept) = run_on_disk(job(&db, &jobs), "16m", name).unwrap();
    assert_committed(&outcome);
    assert_eq!(listing, ["a.csv", name]);
    assert_ne!(kept, b"old\n");
}

#[test]
fn a_full_standard_output_and_a_reader_that_goes_away_are_errors() {
    let db = databases("stdout_gone");
    db.source.sql(ROWS);
    let into_full = job(&db, "").through(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"]);
    let outcome = into_full.run(&["copy", "source#public.z", "-"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("No space left"), "{outcome}");
    let script = "{ \"$@\"; echo $? >code; } | head -c 10";
    let into_head = job(&db, "").through(&["sh", "-c", script, "sh"]);
    let outcome = into_head.run(&["copy", "source#public.z", "-"]);
    assert_eq!(outcome.stdout, "n,v\n1,c4ca", "{outcome}");
    assert!(outcome.stderr.contains("Broken pipe"), "{outcome}");
    assert_eq!(bytes(into_head.directory().join("code")), b"1\n");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// The binary run by somebody who may not do everything, in a directory that is not theirs.
fn run_as_nobody(job: Job, mode: u32) -> Option<(Outcome, Job)> {
    set_mode(job.directory(), 0o755);
    set_mode(&directory(&job), mode);
    let job = as_nobody(job)?;
    let outcome = run(&job);
    if !geteuid().is_root() {
        set_mode(&directory(&job), 0o755);
    }
    Some((outcome, job))
}

/// The binary run by somebody who may not do everything.
fn as_nobody(job: Job) -> Option<Job> {
    set_mode(job.directory(), 0o755);
    if !geteuid().is_root() {
        return Some(job);
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let ids = [
        ("--reuid", nobody.uid.as_raw()),
        ("--regid", nobody.gid.as_raw()),
    ];
    let [user, group] = ids.map(|(option, id)| format!("{option}={id}"));
    let through = ["setpriv", &user, &group, "--clear-groups"];
    let reached = Command::new(through[0])
        .args(&through[1..])
        .args([env!("CARGO_BIN_EXE_tableferry"), "--version"])
        .output();
    if !reached.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: `nobody` cannot run the binary here");
        return None;
    }
    let state = job.directory().join("state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(nobody.uid), Some(nobody.gid)).unwrap();
    Some(job.through(&through))
}

#[test]
fn a_directory_that_is_read_only_is_an_error() {
    let db = databases("read_only");
    db.source.sql("CREATE TABLE a (id int)");
    let job = job(&db, EXPORT);
    put(&job, "public.a.csv", "old");
    let Some((outcome, job)) = run_as_nobody(job, 0o555) else {
        return;
    };
    assert_refused(&outcome, "permission", &["public.a.csv", "denied"]);
    assert_eq!(listed(&job), ["public.a.csv"]);
    assert_eq!(bytes(directory(&job).join("public.a.csv")), b"old");
}

/// The files are written and cannot be renamed. The next run removes what is left.
#[test]
fn a_directory_that_is_made_read_only_during_an_export_keeps_the_old_file() {
    let db = databases("read_only_later");
    db.source.sql(ROWS);
    let job = job(&db, &format!("{EXPORT}rate_limit = \"1MB\"\n"));
    put(&job, "public.z.csv", "old");
    let exports = directory(&job);
    set_mode(&exports, 0o777);
    let Some(job) = as_nobody(job) else {
        return;
    };
    let running = job.spawn(&["run", "j", "--json"]);
    // The temporary file is there.
    wait_until(PATIENCE, || listed(&job).len() == 2);
    set_mode(&exports, 0o555);
    let outcome = running.wait(PATIENCE);
    set_mode(&exports, 0o777);
    assert_refused(&outcome, "permission", &["public.z.csv", "denied"]);
    assert_eq!(bytes(exports.join("public.z.csv")), b"old");
    let outcome = run(&job);
    assert_committed(&outcome);
    assert_eq!(listed(&job), ["public.z.csv"]);
}

#[test]
fn a_file_that_may_not_be_read_is_an_error() {
    let db = databases("unreadable");
    db.target.sql("CREATE TABLE t (id int)");
    let job = job(&db, &from_file("append", "file = \"t.csv\""));
    let path = put(&job, "t.csv", "id\n1\n");
    fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
    let Some((outcome, _job)) = run_as_nobody(job, 0o755) else {
        return;
    };
    assert_refused(&outcome, "permission", &["t.csv", "denied"]);
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn a_new_file_belongs_to_its_writer_and_an_old_ones_permissions_stay() {
    let db = databases("permissions");
    db.source
        .sql("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    let job = job(&db, EXPORT);
    let old = put(&job, "public.b.csv", "old");
    fs::set_permissions(&old, PermissionsExt::from_mode(0o604)).unwrap();
    assert_committed(&run(&job));
    let mode = |name: &str| {
        let found = fs::metadata(directory(&job).join(name)).unwrap();
        assert_eq!(
            std::os::unix::fs::MetadataExt::uid(&found),
            Uid::effective().as_raw()
        );
        found.permissions().mode() & 0o7777
    };
    assert_eq!(mode("public.b.csv"), 0o604);
    assert_eq!(mode("public.a.csv") & 0o400, 0o400);
}

#[test]
fn if_a_file_cannot_be_renamed_the_report_says_which_are_new() {
    let db = databases("half_renamed");
    db.source.sql(ROWS);
    db.source
        .sql("CREATE TABLE a (id int); INSERT INTO a VALUES (1)");
    let job = job(&db, &format!("{EXPORT}rate_limit = \"1MB\"\n"));
    put(&job, "public.a.csv", "old");
    put(&job, "public.z.csv", "old");
    let running = job.spawn(&["run", "j", "--json"]);
    // Both temporary files are there: the second one is being written.
    wait_until(PATIENCE, || listed(&job).len() == 4);
    let place = directory(&job).join("public.z.csv");
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    let outcome = running.wait(PATIENCE);
    assert_refused(&outcome, "data_rejected", &["public.z.csv"]);
    let report = outcome.report();
    assert_eq!(report["error"]["phase"], "publish", "{outcome}");
    assert_eq!(report["tables"][0]["committed"], true, "{outcome}");
    assert_eq!(report["tables"][1]["committed"], false, "{outcome}");
    assert_eq!(bytes(directory(&job).join("public.a.csv")), b"id\n1\n");
    assert_eq!(listed(&job), ["public.a.csv", "public.z.csv"]);
    fs::remove_dir(&place).unwrap();
    assert_committed(&run(&job));
}
