//! The format of a file: COPY's format and options, and the compression.

use crate::pg::ident::{Ident, quote_literal};

/// COPY's formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// `FORMAT csv`.
    Csv,
    /// `FORMAT text`.
    Text,
    /// `FORMAT binary`.
    Binary,
}

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    Plain,
    /// gzip; the contents of several members are concatenated.
    Gzip,
    /// zstd; the contents of several frames are concatenated.
    Zstd,
}

/// COPY's options that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The first line names the columns.
    pub header: Option<bool>,
    /// DELIMITER, one byte.
    pub delimiter: Option<u8>,
    /// NULL, the text of null values.
    pub null: Option<String>,
    /// QUOTE, one byte.
    pub quote: Option<u8>,
    /// ESCAPE, one byte.
    pub escape: Option<u8>,
    /// FORCE_NULL: columns in which the NULL text is null even if it is quoted.
    pub force_null: Option<Vec<Ident>>,
    /// The file's encoding.
    pub encoding: Option<String>,
}

impl FileOptions {
    /// Combines these options with those of `below`; these take precedence.
    #[must_use]
    pub fn over(&self, below: &FileOptions) -> Self {
        let FileOptions {
            header,
            delimiter,
            null,
            quote,
            escape,
            force_null,
            encoding,
        } = self.clone();
        FileOptions {
            header: header.or(below.header),
            delimiter: delimiter.or(below.delimiter),
            null: null.or_else(|| below.null.clone()),
            quote: quote.or(below.quote),
            escape: escape.or(below.escape),
            force_null: force_null.or_else(|| below.force_null.clone()),
            encoding: encoding.or_else(|| below.encoding.clone()),
        }
    }
}

/// A file's format, and the options of COPY that differ from the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub format: FileFormat,
    /// The first line names the columns.
    pub header: bool,
    /// DELIMITER, one byte.
    pub delimiter: Option<u8>,
    /// NULL, the text of null values.
    pub null: Option<String>,
    /// QUOTE, one byte.
    pub quote: Option<u8>,
    /// ESCAPE, one byte.
    pub escape: Option<u8>,
    /// FORCE_NULL: columns in which the NULL text is null even if it is quoted.
    pub force_null: Vec<Ident>,
    /// The file's encoding; by default UTF8.
    pub encoding: Option<String>,
}

impl FileFormat {
    /// As in SQL and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            FileFormat::Csv => "csv",
            FileFormat::Text => "text",
            FileFormat::Binary => "binary",
        }
    }
}

impl Layout {
    /// COPY's defaults; a CSV file has a header.
    pub fn new(format: FileFormat) -> Self {
        Layout {
            format,
            header: format == FileFormat::Csv,
            delimiter: None,
            null: None,
            quote: None,
            escape: None,
            force_null: Vec::new(),
            encoding: None,
        }
    }

    /// The format with these options.
    pub fn with(format: FileFormat, options: FileOptions) -> Self {
        let plain = Layout::new(format);
        Layout {
            format,
            header: options.header.unwrap_or(plain.header),
            delimiter: options.delimiter,
            null: options.null,
            quote: options.quote,
            escape: options.escape,
            force_null: options.force_null.unwrap_or_default(),
            encoding: options.encoding,
        }
    }

    /// The delimiter, set or default.
    pub fn delimiter(&self) -> u8 {
        self.delimiter.unwrap_or(match self.format {
            FileFormat::Csv => b',',
            FileFormat::Text | FileFormat::Binary => b'\t',
        })
    }

    /// The quote, set or default.
    pub fn quote(&self) -> u8 {
        self.quote.unwrap_or(b'"')
    }

    /// The escape, set or default.
    pub fn escape(&self) -> u8 {
        self.escape.unwrap_or_else(|| self.quote())
    }

    /// Is the file's encoding UTF8?
    pub fn is_utf8(&self) -> bool {
        let named = self.encoding.as_deref().unwrap_or("UTF8");
        named.eq_ignore_ascii_case("utf8") || named.eq_ignore_ascii_case("utf-8")
    }

    /// The options of COPY, in parentheses.
    pub fn options(&self) -> String {
        let mut options = vec![format!("FORMAT {}", self.format.as_str())];
        let literal = |text: &str| quote_literal(text).trim_start().to_owned();
        let mut byte = |name: &str, value: Option<u8>| {
            if let Some(byte) = value {
                options.push(format!("{name} {}", literal(&char::from(byte).to_string())));
            }
        };
        byte("DELIMITER", self.delimiter);
        byte("QUOTE", self.quote);
        byte("ESCAPE", self.escape);
        if self.header {
            options.push("HEADER true".to_owned());
        }
        if let Some(null) = &self.null {
            options.push(format!("NULL {}", literal(null)));
        }
        if let Some(encoding) = &self.encoding {
            options.push(format!("ENCODING {}", literal(encoding)));
        }
        if !self.force_null.is_empty() {
            let columns: Vec<String> = self.force_null.iter().map(Ident::sql).collect();
            options.push(format!("FORCE_NULL ({})", columns.join(", ")));
        }
        format!("({})", options.join(", "))
    }

    /// Why COPY, or this program, would refuse these options.
    pub fn complaint(&self) -> Option<String> {
        let (format, name) = (self.format, self.format.as_str());
        let csv_only = [
            ("quote", self.quote.is_some()),
            ("escape", self.escape.is_some()),
            ("force_null", !self.force_null.is_empty()),
        ];
        let not_binary = [
            ("header", self.header),
            ("delimiter", self.delimiter.is_some()),
            ("null", self.null.is_some()),
            ("encoding", self.encoding.is_some()),
        ];
        let foreign = csv_only
            .iter()
            .filter(|_| format != FileFormat::Csv)
            .chain(not_binary.iter().filter(|_| format == FileFormat::Binary))
            .find(|(_, given)| *given);
        if let Some((option, _)) = foreign {
            return Some(format!("`{option}` does not apply to the {name} format"));
        }
        if self.quote == Some(b'\\') {
            return Some("`quote` must not be a backslash".to_owned());
        }
        if format == FileFormat::Csv && self.delimiter() == self.quote() {
            return Some("`delimiter` and `quote` must differ".to_owned());
        }
        // A line `\.` of CSV is data, also on servers that end there: it must be one plain value.
        let of_marker = |byte: Option<u8>| byte == Some(b'.');
        if of_marker(self.quote) || of_marker(self.escape) || of_marker(self.delimiter) {
            return Some("neither `delimiter` nor `quote` nor `escape` must be a dot".to_owned());
        }
        if self.delimiter == Some(b'\\') {
            return Some("`delimiter` must not be a backslash".to_owned());
        }
        if self.null.as_deref() == Some("\\.") {
            return Some("`null` must not be \\., which ends the data in COPY".to_owned());
        }
        if let Some(byte @ (b'\n' | b'\r')) = self.delimiter.or(self.quote).or(self.escape) {
            return Some(format!("{:?} ends a line", char::from(byte)));
        }
        let null = self.null.as_deref().unwrap_or_default();
        if null.contains(['\n', '\r']) {
            return Some("`null` must not contain a line break".to_owned());
        }
        if format != FileFormat::Binary && null.bytes().any(|byte| byte == self.delimiter()) {
            return Some("`null` must not contain the delimiter".to_owned());
        }
        if format == FileFormat::Csv && null.bytes().any(|byte| byte == self.quote()) {
            return Some("`null` must not contain the quote".to_owned());
        }
        let encoding = self.encoding.as_deref().unwrap_or_default();
        let plain: String = encoding
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let embeds_ascii = [
            "sjis",
            "mskanji",
            "shiftjis",
            "shiftjis2004",
            "win932",
            "windows932",
            "big5",
            "win950",
            "windows950",
            "gbk",
            "win936",
            "windows936",
            "uhc",
            "win949",
            "windows949",
            "johab",
            "gb18030",
        ];
        if embeds_ascii.contains(&plain.to_ascii_lowercase().as_str()) {
            return Some(format!(
                "encoding {encoding} has characters that contain ASCII bytes, so that row ends cannot be \
                 found safely: convert the file first (iconv)"
            ));
        }
        None
    }
}

impl Compression {
    /// The compression that a file's name ends in.
    pub fn of(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        if lower.ends_with(".gz") {
            Compression::Gzip
        } else if lower.ends_with(".zst") {
            Compression::Zstd
        } else {
            Compression::Plain
        }
    }
}

/// The format that a file's name ends in, before `.gz` or `.zst`.
pub fn format_of(name: &str) -> Option<FileFormat> {
    let lower = name.to_ascii_lowercase();
    let stem = lower
        .strip_suffix(".gz")
        .or_else(|| lower.strip_suffix(".zst"))
        .unwrap_or(&lower);
    match stem.rsplit_once('.')?.1 {
        "csv" => Some(FileFormat::Csv),
        "txt" | "text" => Some(FileFormat::Text),
        "bin" | "binary" | "pgcopy" => Some(FileFormat::Binary),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("orders.csv", Some(FileFormat::Csv), Compression::Plain)]
    #[case("public.orders.CSV.zst", Some(FileFormat::Csv), Compression::Zstd)]
    #[case("orders.txt.gz", Some(FileFormat::Text), Compression::Gzip)]
    #[case("orders.bin", Some(FileFormat::Binary), Compression::Plain)]
    #[case("orders.zst", None, Compression::Zstd)]
    #[case("csv", None, Compression::Plain)]
    fn the_ending_says_how_it_is_written(
        #[case] name: &str,
        #[case] format: Option<FileFormat>,
        #[case] compression: Compression,
    ) {
        assert_eq!(format_of(name), format);
        assert_eq!(Compression::of(name), compression);
    }

    #[test]
    fn the_options_are_those_of_copy() {
        let mut layout = Layout::new(FileFormat::Csv);
        assert_eq!(layout.options(), "(FORMAT csv, HEADER true)");
        layout.delimiter = Some(b'\'');
        layout.null = Some(r"\N".to_owned());
        layout.force_null = vec![Ident::new("a b")];
        layout.header = false;
        assert_eq!(
            layout.options(),
            r#"(FORMAT csv, DELIMITER '''', NULL E'\\N', FORCE_NULL ("a b"))"#
        );
    }

    #[rstest]
    #[case(Layout { quote: Some(b'\''), ..Layout::new(FileFormat::Text) }, "`quote` does not apply")]
    #[case(Layout { header: true, ..Layout::new(FileFormat::Binary) }, "`header` does not apply")]
    #[case(Layout { delimiter: Some(b'"'), ..Layout::new(FileFormat::Csv) }, "must differ")]
    #[case(Layout { escape: Some(b'.'), ..Layout::new(FileFormat::Csv) }, "must be a dot")]
    #[case(Layout { delimiter: Some(b'\\'), ..Layout::new(FileFormat::Csv) }, "backslash")]
    #[case(Layout { null: Some("\\.".to_owned()), ..Layout::new(FileFormat::Csv) }, "ends the data")]
    #[case(Layout { encoding: Some("Shift_JIS".to_owned()), ..Layout::new(FileFormat::Csv) }, "iconv")]
    fn options_that_make_no_sense_are_said(#[case] layout: Layout, #[case] part: &str) {
        let complaint = layout.complaint().unwrap();
        assert!(complaint.contains(part), "{complaint}");
    }
}
