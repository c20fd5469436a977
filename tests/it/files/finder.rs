//! The row finder against PostgreSQL's own answer.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tableferry::files::layout::{FileFormat, Layout};
use tableferry::files::rows::RowFinder;
use tableferry::plan::column::CopyFormat;

use crate::support::{Database, databases};

/// The cases of one run; a fixed seed makes them the same every time.
const CASES: u32 = 300;
const SEED: u64 = 11;

/// Rows that the finder counts, or None where it finds fault.
fn found(layout: &Layout, data: &[u8]) -> Option<u64> {
    let mut finder = RowFinder::new(layout);
    let mut at = 0;
    while let Some(end) = finder.next_end(&data[at..]).ok()? {
        at += end;
    }
    finder.finish().ok()?;
    Some(finder.rows())
}

/// Rows that the server takes, or None where it refuses the data.
fn taken(db: &Database<'_>, layout: &Layout, data: &[u8]) -> Option<u64> {
    let path = db.cluster.write_file("rows", data);
    let options = CopyFormat::File(layout.clone()).options();
    let sql = format!("TRUNCATE t; COPY t FROM '{}' {options}", path.display());
    db.try_sql(&sql).ok()?;
    Some(db.count("t"))
}

#[test]
fn csv_and_text_have_the_rows_that_the_server_finds() {
    let db = databases("finder");
    // The delimiter does not occur, so that every line is one value.
    db.target.sql("CREATE TEMP TABLE t (v text)");
    let data = proptest::collection::vec(prop::sample::select(&b"ab\"'\\.,\n\n\r"[..]), 0..24);
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    };
    let quotes = prop::sample::select(&b"\"'"[..]);
    let escapes = prop::sample::select(&b"\"'\\"[..]);
    let result = TestRunner::new(config).run(&(data, quotes, escapes, any::<bool>()), |case| {
        let (data, quote, escape, is_csv) = case;
        let mut layout = Layout::new(if is_csv {
            FileFormat::Csv
        } else {
            FileFormat::Text
        });
        layout.header = false;
        layout.delimiter = Some(1);
        if is_csv {
            layout.quote = Some(quote);
            layout.escape = Some(escape);
        }
        let ours = found(&layout, &data);
        // The server takes a backslash at the end for a value; here it is half of something.
        if data.ends_with(b"\\") && ours.is_none() {
            return Ok(());
        }
        // A line with the end marker is mended on its way, or ends the data.
        let has_marker = data.windows(2).any(|two| two == b"\\.");
        if has_marker && (is_csv || ours.is_none()) {
            return Ok(());
        }
        let theirs = taken(&db.target, &layout, &data);
        prop_assert_eq!(
            ours,
            theirs,
            "{:?} {:?}",
            layout,
            data.escape_ascii().to_string()
        );
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}
