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

/// The rows of what a program writes.
fn read_stream(bytes: &[u8], layout: &Layout) -> Result<u64, Fault> {
    let (sender, mut items) = mpsc::channel(100);
    let counters = Arc::new(Counters::default());
    let mut reading = ReaderThread {
        layout,
        sender: &sender,
        counters: &counters,
    };
    match reading.stream(bytes) {
        Ok(()) => Ok(counters.rows()),
        Err(Stop::Error(ReadError::Rows(fault))) => Err(fault),
        Err(Stop::Error(error)) => panic!("{error:?}"),
        Err(Stop::Unwanted) => panic!("{:?}", items.try_recv()),
    }
}

/// The cuts after which the rest looks like all of it, each with the number of its rows.
#[rstest]
#[case::csv(csv(), b"id,v\n1,a\n2,\"b\nc\"\n", &[(5, 0), (9, 1), (17, 2)])]
#[case::crlf(csv(), b"id,v\r\n1,\"a\"\"\"\r\n2,b\r\n", &[(6, 0), (15, 1), (20, 2)])]
#[case::cr(csv(), b"id\r1\r2\r", &[(5, 1), (7, 2)])]
#[case::no_header(headless(), b"1,a\n2,b\n", &[(0, 0), (4, 1), (8, 2)])]
#[case::text(
    Layout::new(FileFormat::Text), b"1\ta\\\nb\n2\t\\N\n\\.\n", &[(0, 0), (7, 1), (12, 2), (14, 2), (15, 2)]
)]
#[case::text_crlf(Layout::new(FileFormat::Text), b"1\ta\r\n2\tb\r\n", &[(0, 0), (5, 1), (10, 2)])]
#[case::binary(
    Layout { header: false, ..Layout::new(FileFormat::Binary) },
    b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x01a\xff\xff\xff\xff\xff\xff",
    &[(32, 1)]
)]
fn what_a_program_writes_may_be_cut_only_where_a_row_ends(
    #[case] layout: Layout,
    #[case] bytes: &[u8],
    #[case] clean: &[(usize, u64)],
) {
    for cut in 0..=bytes.len() {
        let found = read_stream(&bytes[..cut], &layout);
        let expected = clean.iter().find(|(at, _)| *at == cut);
        match (found, expected) {
            (Ok(rows), Some((_, expected))) => assert_eq!(rows, *expected, "cut at {cut}"),
            (Err(Fault::Truncated(_)), None) => {}
            (found, _) => panic!("cut at {cut}: {found:?}"),
        }
    }
}

/// Only between two members or frames, where a row ends, the rest looks like all of it.
#[rstest]
#[case::gzip(gzip)]
#[case::zstd(|bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap())]
fn what_a_program_compresses_may_be_cut_only_between_two_frames(
    #[case] pack: fn(&[u8]) -> Vec<u8>,
) {
    let (first, second) = (pack(b"1,a\n2,b\n"), pack(b"3,c\n"));
    let both = [&first[..], &second].concat();
    for cut in 1..both.len() {
        let found = read_stream(&both[..cut], &headless());
        if cut == first.len() {
            assert_eq!(found, Ok(2));
        } else {
            assert!(
                matches!(found, Err(Fault::Truncated(_))),
                "cut at {cut}: {found:?}"
            );
        }
    }
    let within = [pack(b"1,a\n2,"), pack(b"b\n")].concat();
    assert_eq!(read_stream(&within, &headless()), Ok(2));
    let cut = &within[..pack(b"1,a\n2,").len()];
    assert!(read_stream(cut, &headless()).is_err());
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
#[case::utf16_big_endian(b"\xfe\xff\0i\0d", "UTF-16")]
#[case::utf16_without_a_mark(b"i\0d\0\n\0", "UTF-16")]
#[case::utf16_big_endian_without_a_mark(b"\0i\0d\0\n", "UTF-16")]
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
