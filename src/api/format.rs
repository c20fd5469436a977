//! A format of COPY, with its options.

use crate::files::layout::{FileFormat, FileOptions};

/// A format of COPY and its options, each under COPY's name for it. What is not set is as in COPY, except that
/// CSV has a header.
///
/// ```
/// use tableferry::Format;
/// let format = Format::csv().delimiter(b';').null("NULL");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub(super) format: FileFormat,
    pub(super) options: FileOptions,
    force_null: Vec<String>,
}

impl Format {
    /// `FORMAT csv`, with a header.
    pub fn csv() -> Self {
        Format::of(FileFormat::Csv)
    }

    /// `FORMAT text`.
    pub fn text() -> Self {
        Format::of(FileFormat::Text)
    }

    /// `FORMAT binary`.
    pub fn binary() -> Self {
        Format::of(FileFormat::Binary)
    }

    fn of(format: FileFormat) -> Self {
        Format {
            format,
            options: FileOptions::default(),
            force_null: Vec::new(),
        }
    }

    /// Does the first line name the columns? Without a header, columns are paired by position.
    #[must_use]
    pub fn header(mut self, has_header: bool) -> Self {
        self.options.header = Some(has_header);
        self
    }

    /// The byte between two values.
    #[must_use]
    pub fn delimiter(mut self, byte: u8) -> Self {
        self.options.delimiter = Some(byte);
        self
    }

    /// What NULL is written as.
    #[must_use]
    pub fn null(mut self, text: impl Into<String>) -> Self {
        self.options.null = Some(text.into());
        self
    }

    /// The byte around values; CSV only.
    #[must_use]
    pub fn quote(mut self, byte: u8) -> Self {
        self.options.quote = Some(byte);
        self
    }

    /// The byte before a quote within quotes; CSV only.
    #[must_use]
    pub fn escape(mut self, byte: u8) -> Self {
        self.options.escape = Some(byte);
        self
    }

    /// Columns in which a quoted NULL is NULL, too; CSV that is loaded only.
    #[must_use]
    pub fn force_null<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.force_null = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The encoding of the data; default: UTF8.
    #[must_use]
    pub fn encoding(mut self, name: impl Into<String>) -> Self {
        self.options.encoding = Some(name.into());
        self
    }

    /// The options for a job. *Errors:* `Config` for a name that is none.
    pub(super) fn options(&self) -> crate::error::Result<FileOptions> {
        Ok(FileOptions {
            force_null: super::names::columns(&self.force_null)?,
            ..self.options.clone()
        })
    }
}
