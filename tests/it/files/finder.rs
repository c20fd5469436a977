//! What a reader sends, against PostgreSQL's own answer to the same bytes.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tableferry::files::layout::{FileFormat, Layout};
use tableferry::files::reader::{FileReader, Input};
use tableferry::plan::column::CopyFormat;

use crate::support::{Database, databases};

/// The cases of one run; a fixed seed makes them the same every time.
const CASES: u32 = 400;
const SEED: u64 = 11;

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    })
}

/// The rows that the reader of a file counts, and what it sends; None where it finds fault.
fn sent(layout: &Layout, data: &[u8]) -> Option<(usize, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows");
    std::fs::write(&path, data).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let mut reader = FileReader::start(Input::File(path), layout.clone()).unwrap();
        let mut sent = Vec::new();
        while let Some(block) = reader.next().await.ok()? {
            sent.extend_from_slice(&block);
        }
        let rows = usize::try_from(reader.counters().rows()).unwrap();
        Some((rows, sent))
    })
}

/// The values that the server takes, or None where it refuses the data.
fn taken(db: &Database<'_>, layout: &Layout, data: &[u8]) -> Option<Vec<Option<String>>> {
    let path = db.cluster.write_file(&format!("rows_{}", db.name()), data);
    let options = CopyFormat::File(layout.clone()).options();
    let sql = format!("TRUNCATE t; COPY t FROM '{}' {options}", path.display());
    db.try_sql(&sql).ok()?;
    let rows = db.rows("SELECT v FROM t ORDER BY ctid");
    Some(rows.into_iter().map(|mut row| row.remove(0)).collect())
}

/// Arbitrary bytes, of which most mean something to COPY.
fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(&b"ab\"'\\.,;\t\n\n\r"[..]);
    let piece = prop_oneof![
        12 => special.prop_map(|byte| vec![byte]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => Just(b"\n\\.\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn some_layout() -> impl Strategy<Value = Layout> {
    let quotes = prop::sample::select(&b"\"'"[..]);
    let escapes = prop::sample::select(&b"\"'\\a"[..]);
    // The first does not occur, so that every line is one value.
    let delimiters = prop::sample::select(&b"\x01\x01,;\t"[..]);
    (quotes, escapes, delimiters, any::<bool>()).prop_map(|(quote, escape, delimiter, is_csv)| {
        let format = if is_csv {
            FileFormat::Csv
        } else {
            FileFormat::Text
        };
        Layout {
            header: false,
            delimiter: Some(delimiter),
            quote: is_csv.then_some(quote),
            escape: is_csv.then_some(escape),
            // Every byte but NUL is a character.
            encoding: Some("LATIN1".to_owned()),
            ..Layout::new(format)
        }
    })
}

#[test]
fn csv_and_text_arrive_as_the_server_itself_reads_them() {
    let db = databases("finder");
    for side in [&db.source, &db.target] {
        side.sql("CREATE TEMP TABLE t (v text)");
        let is_old = side.cluster.version() < 180_000;
        let result = runner().run(&(some_bytes(), some_layout()), |(data, layout)| {
            let shown = format!("{layout:?} {:?}", data.escape_ascii().to_string());
            let is_csv = layout.format == FileFormat::Csv;
            let has_marker = data.windows(2).any(|two| two == b"\\.");
            let theirs = taken(side, &layout, &data);
            let sent = sent(&layout, &data);
            let ours = match &sent {
                None => None,
                Some((rows, bytes)) => {
                    let arrived = taken(side, &layout, bytes);
                    if let Some(arrived) = &arrived {
                        prop_assert_eq!(*rows, arrived.len(), "{}", shown);
                    }
                    arrived
                }
            };
            // Servers before 18 end CSV at a line `\.` and ignore what follows; for us it is data.
            if is_csv && is_old && has_marker {
                let lines = data.split(|byte| b"\r\n".contains(byte));
                let markers = lines.filter(|line| line == b"\\.").count();
                let arrived = ours.iter().flatten().flatten();
                let as_data = arrived.filter(|value| value.contains("\\.")).count();
                let has_quote = data.contains(&layout.quote());
                prop_assert!(
                    ours.is_none() || has_quote || as_data >= markers,
                    "{}",
                    shown
                );
                return Ok(());
            }
            // They also take half of an escape at the end, and in text what comes with the end marker.
            let is_strict = !is_csv && (has_marker || data.ends_with(b"\\"));
            if is_strict && sent.is_none() {
                return Ok(());
            }
            prop_assert_eq!(ours, theirs, "{}", shown);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

/// Three rows of binary COPY, in which one byte is another, and which end early.
#[test]
fn binary_arrives_as_the_server_itself_reads_it() {
    let db = databases("finder_binary");
    let layout = Layout::new(FileFormat::Binary);
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for value in [&b"one"[..], b"", b"\\."] {
        data.extend([0, 1]);
        data.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        data.extend(value);
    }
    data.extend([0xff, 0xff]);
    let cases = (0..data.len(), prop::option::of(any::<u8>()), 0..=data.len());
    for side in [&db.source, &db.target] {
        side.sql("CREATE TEMP TABLE t (v text)");
        let result = runner().run(&cases, |(at, byte, length)| {
            let mut data = data.clone();
            match byte {
                Some(byte) => data[at] = byte,
                None => data.truncate(length),
            }
            let theirs = taken(side, &layout, &data);
            let ours = sent(&layout, &data);
            let shown = data.escape_ascii().to_string();
            match (ours, theirs) {
                (Some((rows, bytes)), Some(values)) => {
                    prop_assert_eq!(rows, values.len(), "{}", shown);
                    prop_assert_eq!(bytes, data, "{}", shown);
                }
                // The server misses no trailer, and does not know columns by their bytes.
                (None, Some(_)) => prop_assert!(!data.ends_with(&[0xff, 0xff]), "{}", shown),
                (_, None) => {}
            }
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}
