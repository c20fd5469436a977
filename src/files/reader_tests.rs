use std::io::Write as _;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// All that a reader of a file with these bytes gives.
fn read(
    name: &str,
    bytes: &[u8],
    layout: &Layout,
) -> Result<(Vec<String>, Vec<u8>, u64), ReadError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut reader = FileReader::start(Input::File(path), layout.clone()).unwrap();
        let names = match layout.header {
            true => reader.header().await?,
            false => Vec::new(),
        };
        let mut all = Vec::new();
        while let Some(block) = reader.next().await? {
            all.extend_from_slice(&block);
        }
        Ok((names, all, reader.counters().rows()))
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn csv() -> Layout {
    Layout::new(FileFormat::Csv)
}

fn headless() -> Layout {
    Layout {
        header: false,
        ..csv()
    }
}

fn long() -> Vec<u8> {
    let row = |n: u32| format!("{n},\"value\n{}\"\n", n * 7);
    let rows: String = (0..8_000).map(row).collect();
    format!("id,v\n{rows}").into_bytes()
}

#[test]
fn compressed_files_are_read_whole_in_members_and_frames() {
    let data = long();
    let (head, tail) = data.split_at(data.len() / 2);
    let gz = [gzip(head), gzip(tail)].concat();
    let zst = [
        zstd::encode_all(head, 3).unwrap(),
        zstd::encode_all(tail, 3).unwrap(),
    ]
    .concat();
    for (name, bytes) in [("a.csv", &data), ("a.csv.gz", &gz), ("a.csv.zst", &zst)] {
        let (names, all, rows) = read(name, bytes, &csv()).unwrap();
        assert_eq!(names, ["id", "v"]);
        assert_eq!(rows, 8_000);
        assert!(all == data, "{name}");
    }
}

#[rstest]
#[case("a.csv.gz", gzip(&long()))]
#[case("a.csv.zst", zstd::encode_all(&long()[..], 3).unwrap())]
fn a_compressed_file_that_is_cut_anywhere_is_an_error(#[case] name: &str, #[case] bytes: Vec<u8>) {
    let step = (bytes.len() / 12).max(1);
    let cuts = (0..bytes.len())
        .step_by(step)
        .chain(bytes.len() - 12..bytes.len());
    for cut in cuts {
        let found = read(name, &bytes[..cut], &csv());
        let is_truncated = matches!(found, Err(ReadError::Rows(Fault::Truncated(_))));
        assert!(is_truncated, "{name} cut at {cut}");
    }
}

#[rstest]
#[case::bom(b"\xef\xbb\xbfid\n1\n", &csv(), b"id\n1\n")]
#[case::end_marker_is_quoted(b"v\n\\.\nb\n", &csv(), b"v\n\"\\.\"\nb\n")]
#[case::end_marker_with_crlf(b"a\r\n\\.\r\n", &headless(), b"a\r\n\"\\.\"\r\n")]
#[case::end_marker_at_the_end(b"a\n\\.", &headless(), b"a\n\"\\.\"")]
#[case::quoted_end_marker(b"\"a\n\\.\n\"\n", &headless(), b"\"a\n\\.\n\"\n")]
#[case::text_ends(b"a\n\\.\n", &Layout::new(FileFormat::Text), b"a\n")]
fn what_is_sent(#[case] bytes: &[u8], #[case] layout: &Layout, #[case] sent: &[u8]) {
    assert_eq!(read("f", bytes, layout).unwrap().1, sent);
}

#[rstest]
#[case::utf16(b"\xff\xfei\0d\0", "UTF-16")]
#[case::empty(b"", "there is no header")]
#[case::header_not_utf8(b"\xe9\n", "not valid UTF-8")]
#[case::open_header(b"\"id\n", "no closing quote")]
fn what_is_no_file_of_rows(#[case] bytes: &[u8], #[case] message: &str) {
    let Err(ReadError::Rows(fault)) = read("f", bytes, &csv()) else {
        panic!("no fault")
    };
    assert!(fault.to_string().contains(message), "{fault}");
}

#[test]
fn a_row_longer_than_a_block_goes_in_pieces() {
    let big = "x".repeat(3 * FILE_BLOCK_BYTES_MAX);
    let data = format!("a\n{big}\n\\.\n\"{big}\n{big}\"\nlast");
    let (_, all, rows) = read("f", data.as_bytes(), &headless()).unwrap();
    assert_eq!(rows, 5);
    assert_eq!(all, data.replace("\n\\.\n", "\n\"\\.\"\n").into_bytes());
    let header = format!("{big}\n1\n");
    assert!(read("f", header.as_bytes(), &csv()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nothing_is_lost(rows in proptest::collection::vec("[a-z\"]{0,3000}", 0..90)) {
        let lines = rows.iter().map(|row| format!("\"{}\"\n", row.replace('"', "\"\"")));
        let data: String = lines.collect();
        let (_, all, count) = read("f", data.as_bytes(), &headless()).unwrap();
        prop_assert_eq!(all, data.into_bytes());
        prop_assert_eq!(count, rows.len() as u64);
    }
}
