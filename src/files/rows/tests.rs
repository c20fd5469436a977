use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// The rows that a finder cuts `data` into, given to it in pieces of `step` bytes.
fn rows(layout: &Layout, data: &[u8], step: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let mut finder = RowFinder::new(layout);
    let mut rows = Vec::new();
    let mut row = Vec::new();
    for piece in data.chunks(step.max(1)) {
        let mut at = 0;
        while let Some(end) = finder.next_end(&piece[at..])? {
            row.extend_from_slice(&piece[at..at + end]);
            rows.push(std::mem::take(&mut row));
            at += end;
        }
        row.extend_from_slice(&piece[at..]);
    }
    let open = finder.finish()?;
    if open || !row.is_empty() {
        rows.push(row);
    }
    Ok(rows)
}

fn csv() -> Layout {
    Layout::new(FileFormat::Csv)
}

fn text() -> Layout {
    Layout::new(FileFormat::Text)
}

#[rstest]
#[case::plain("a,b\n1,2\n", &["a,b\n", "1,2\n"])]
#[case::no_last_newline("a\nb", &["a\n", "b"])]
#[case::crlf("a\r\nb\r\n", &["a\r\n", "b\r\n"])]
#[case::cr("a\rb\r", &["a\r", "b\r"])]
#[case::quoted_newline("\"a\nb\",c\nd\n", &["\"a\nb\",c\n", "d\n"])]
#[case::doubled_quotes("\"a\"\"\nb\"\nc\n", &["\"a\"\"\nb\"\n", "c\n"])]
#[case::empty_lines("\n\n", &["\n", "\n"])]
#[case::empty("", &[])]
#[case::quote_in_the_middle("a\"x\ny\"b\nc\n", &["a\"x\ny\"b\n", "c\n"])]
fn csv_rows(#[case] data: &str, #[case] expected: &[&str]) {
    for step in [1, 2, 3, 100] {
        let found = rows(&csv(), data.as_bytes(), step).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|row| std::str::from_utf8(row).unwrap())
            .collect();
        assert_eq!(found, expected, "in pieces of {step}");
    }
}

#[rstest]
#[case::plain("a\tb\n1\t2\n", 2)]
#[case::escaped_newline("a\\\nb\n", 1)]
#[case::escaped_backslash("a\\\\\nb\n", 2)]
#[case::end_marker("a\n\\.\n", 1)]
#[case::end_marker_without_newline("a\n\\.", 1)]
fn text_rows(#[case] data: &str, #[case] count: u64) {
    for step in [1, 2, 100] {
        let mut finder = RowFinder::new(&text());
        for piece in data.as_bytes().chunks(step) {
            let mut at = 0;
            while let Some(end) = finder.next_end(&piece[at..]).unwrap() {
                at += end;
            }
        }
        finder.finish().unwrap();
        assert_eq!(finder.rows(), count);
    }
}

#[rstest]
#[case::open_quote(csv(), "a\n\"b\n", "line 2: the last value has no closing quote")]
#[case::mixed(csv(), "a\nb\r\n", "line 2: an unquoted carriage return")]
#[case::mixed_otherwise(csv(), "a\r\nb\n", "line 2: an unquoted newline")]
#[case::half_newline(csv(), "a\r\nb\r", "line 2: the last newline is incomplete")]
#[case::data_after_the_end(text(), "a\n\\.\nb\n", "line 3: data after the end marker")]
#[case::end_marker_in_a_line(text(), "a\\.\n", "line 1: the end marker \\. is not alone")]
#[case::end_marker_and_more(text(), "\\.x\n", "line 1: the end marker \\. is not alone")]
#[case::backslash_at_the_end(text(), "a\nb\\", "line 2: the data ends after a backslash")]
#[case::lines_in_quotes(csv(), "a\n\"x\ny\nz\"\n\"b", "line 5: the last value")]
fn faults_name_the_line(#[case] layout: Layout, #[case] data: &str, #[case] message: &str) {
    for step in [1, 2, 3, 100] {
        let fault = rows(&layout, data.as_bytes(), step)
            .unwrap_err()
            .to_string();
        assert!(fault.starts_with(message), "{fault}");
    }
}

fn binary(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        data.extend((row.len() as i16).to_be_bytes());
        for field in *row {
            data.extend(field.map_or(-1, |field| field.len() as i32).to_be_bytes());
            data.extend(field.unwrap_or_default());
        }
    }
    data.extend([0xff, 0xff]);
    data
}

#[test]
fn binary_rows_end_with_their_last_field_and_every_cut_is_noticed() {
    let layout = Layout::new(FileFormat::Binary);
    let data = binary(&[&[Some(b"one"), None], &[], &[Some(b"")]]);
    for step in 1..data.len() {
        let found = rows(&layout, &data, step).unwrap();
        // The trailer is what is left.
        assert_eq!(found.len(), 4);
        assert_eq!(found[1], [0, 0]);
        assert_eq!(found[3], [0xff, 0xff]);
    }
    for length in 0..data.len() {
        let cut = rows(&layout, &data[..length], 7);
        assert!(matches!(cut, Err(Fault::Truncated(_))), "{length}: {cut:?}");
    }
    let longer = [&data[..], b"x"].concat();
    assert!(matches!(
        rows(&layout, &longer, 7),
        Err(Fault::Malformed(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_do_not_matter(
        data in proptest::collection::vec(prop::sample::select(&b"a\"\\,.\n\r'"[..]), 0..60),
        step in 1_usize..9,
        escape in prop::sample::select(&b"\"\\'"[..]),
        is_text in any::<bool>(),
    ) {
        let layout = match is_text {
            true => text(),
            false => Layout { escape: Some(escape), ..csv() },
        };
        let whole = rows(&layout, &data, data.len().max(1));
        let pieces = rows(&layout, &data, step);
        prop_assert_eq!(&whole, &pieces);
        if let Ok(rows) = whole {
            prop_assert_eq!(rows.concat(), data);
        }
    }
}
