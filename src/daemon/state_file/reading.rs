//! Reads `past.jsonl` at start-up. A damaged file does not prevent the daemon from starting: readable lines
//! count, and the file is kept under another name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Header, Line, STATE_FILE_VERSION};
use crate::daemon::job_table::SavedJob;

/// Damaged files that are kept; the oldest is deleted.
const DAMAGED_FILES_MAX: usize = 5;

/// Which lines of a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Damage {
    /// The first line that is damaged, from 1.
    line: usize,
    lines: usize,
    why: String,
}

/// Reads the file, if there is one. *Errors:* it cannot be opened, or a newer
/// tableferry has written it. Each names the file and what to do.
pub(super) fn load(path: &Path) -> io::Result<BTreeMap<String, SavedJob>> {
    let (jobs, what) = match fs::read(path) {
        Ok(text) => match parse(&text).map_err(|why| refused(path, &why))? {
            (jobs, None) => return Ok(jobs),
            (jobs, Some(Damage { line, lines, why })) => {
                let others = match lines - 1 {
                    0 => String::new(),
                    others => format!(", and so are {others} more"),
                };
                (jobs, format!("line {line} is damaged{others}: {why}"))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            (BTreeMap::new(), "it is a directory".to_owned())
        }
        Err(error) => return Err(refused(path, &error.to_string())),
    };
    let aside = set_aside(path).map_err(|why| refused(path, &format!("{what}; {why}")))?;
    tracing::error!(
        file = %path.display(), set_aside = %aside.display(), jobs = jobs.len(),
        "the state file {} is damaged: {what}; it is kept as {}, the daemon continues with what can be read of it, and with history = \"target\" the ledger knows what has committed",
        path.display(), aside.display()
    );
    Ok(jobs)
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!(
        "{}: {why} (to start without this file, move it away)",
        path.display()
    ))
}

/// All lines that can be read. *Errors:* another version.
fn parse(text: &[u8]) -> Result<(BTreeMap<String, SavedJob>, Option<Damage>), String> {
    // Text after the last line break is a line that was not finished before a crash.
    let whole = text.split_inclusive(|byte| *byte == b'\n');
    let mut lines = whole.filter(|line| line.ends_with(b"\n")).enumerate();
    let mut jobs = BTreeMap::new();
    let mut damage: Option<Damage> = None;
    let mut damaged = |index: usize, why: String| match &mut damage {
        Some(damage) => damage.lines += 1,
        None => {
            damage = Some(Damage {
                line: index + 1,
                lines: 1,
                why,
            });
        }
    };
    match lines.next() {
        None => damaged(0, "there is no whole line".to_owned()),
        Some((index, first)) => match serde_json::from_slice(first) {
            Ok(Header {
                version: STATE_FILE_VERSION,
            }) => {}
            Ok(Header { version }) => {
                return Err(format!(
                    "another version of tableferry has written it (its format is {version}, not {STATE_FILE_VERSION})"
                ));
            }
            Err(error) => damaged(index, error.to_string()),
        },
    }
    for (index, line) in lines {
        match serde_json::from_slice(line) {
            Ok(Line { job, saved }) => {
                jobs.insert(job.into_owned(), saved);
            }
            Err(error) => damaged(index, error.to_string()),
        }
    }
    Ok((jobs, damage))
}

/// Gives the file another name; the first of these is the newest.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = |n: usize| path.with_extension(format!("jsonl.damaged.{n}"));
    for n in (1..DAMAGED_FILES_MAX).rev() {
        match fs::rename(aside(n), aside(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside(1))?;
    Ok(aside(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const HEADER: &str = "{\"version\":1}\n";
    const A: &str = "{\"job\":\"a\",\"due_at\":\"2026-01-01T00:00:00Z\"}\n";
    const B: &str = "{\"job\":\"b\",\"due_at\":\"2026-01-01T00:00:00Z\"}\n";

    #[rstest]
    #[case::sound([HEADER, A, B].concat(), "a b", None)]
    #[case::a_torn_end([HEADER, A, "{\"job\":\"b\",\"due"].concat(), "a", None)]
    #[case::zeros_at_the_end([HEADER, A, "\0\0\0\0"].concat(), "a", None)]
    #[case::no_json([HEADER, "what?\n", A, B].concat(), "a b", Some((2, 1)))]
    #[case::cut_in_the_middle([HEADER, &A[..20], "\n", B].concat(), "b", Some((2, 1)))]
    #[case::zeros([HEADER, A, "\0\0\0\0\n", "\0\n"].concat(), "a", Some((3, 2)))]
    #[case::zeros_before_a_line([HEADER, "\0\0\0", A, B].concat(), "b", Some((2, 1)))]
    #[case::no_time([HEADER, A, "{\"job\":\"b\",\"due_at\":\"soon\"}\n"].concat(), "a", Some((3, 1)))]
    #[case::no_header([A, B].concat(), "b", Some((1, 1)))]
    #[case::header_is_damaged(["{\"vers\n", A].concat(), "a", Some((1, 1)))]
    #[case::empty(String::new(), "", Some((1, 1)))]
    fn what_can_be_read_counts(
        #[case] text: String,
        #[case] jobs: &str,
        #[case] damage: Option<(usize, usize)>,
    ) {
        let (found, damaged) = parse(text.as_bytes()).unwrap();
        let found: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(found.join(" "), jobs);
        assert_eq!(damaged.map(|d| (d.line, d.lines)), damage);
    }

    #[test]
    fn bytes_that_are_no_text_cost_their_line_only() {
        let text = [HEADER.as_bytes(), b"{\"job\":\"\xff\"}\n", A.as_bytes()].concat();
        let (found, damage) = parse(&text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(damage.map(|d| d.line), Some(2));
    }

    #[test]
    fn damaged_files_are_kept_and_not_more_than_a_few() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("past.jsonl");
        for n in 0..=DAMAGED_FILES_MAX {
            fs::write(&path, format!("{HEADER}{n}\n{A}")).unwrap();
            assert_eq!(load(&path).unwrap().len(), 1);
            assert!(!path.exists());
        }
        let kept =
            |n: usize| fs::read_to_string(dir.path().join(format!("past.jsonl.damaged.{n}")));
        assert_eq!(
            kept(1).unwrap(),
            format!("{HEADER}{DAMAGED_FILES_MAX}\n{A}")
        );
        assert_eq!(kept(DAMAGED_FILES_MAX).unwrap(), format!("{HEADER}1\n{A}"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), DAMAGED_FILES_MAX);
    }

    #[test]
    fn a_directory_in_its_place_is_set_aside_with_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("past.jsonl");
        fs::create_dir_all(path.join("kept")).unwrap();
        assert_eq!(load(&path).unwrap().len(), 0);
        assert!(dir.path().join("past.jsonl.damaged.1/kept").exists());
    }

    #[test]
    fn what_a_newer_version_wrote_is_left_alone_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("past.jsonl");
        fs::write(&path, "{\"version\":2}\n").unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(
            error.contains("past.jsonl") && error.contains("move it away"),
            "{error}"
        );
        assert!(path.exists());
    }
}
