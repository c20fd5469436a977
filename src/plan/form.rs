//! How a column is written on one side so that equal values are equal texts.

use crate::pg::ident::Ident;

/// A column that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedColumn {
    /// The target's column.
    pub name: Ident,
    /// How the source writes it.
    pub source: Form,
    /// How the target writes it.
    pub target: Form,
}

/// An expression over one column, which stands at `{}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form(&'static str);

/// What the type's output function gives: what COPY prints.
pub const AS_IT_IS: Form = Form("{}");
pub(super) const AS_TEXT: Form = Form("{}::pg_catalog.text");
pub(super) const WITHOUT_BLANKS: Form = Form("pg_catalog.rtrim({}::pg_catalog.text, ' ')");
pub(super) const WITHOUT_ZEROS: Form = Form("pg_catalog.trim_scale({})");
pub(super) const TEXT_TO_NUMERIC: Form =
    Form("pg_catalog.trim_scale({}::pg_catalog.text::pg_catalog.numeric)");
pub(super) const TEXT_TO_FLOAT8: Form = Form("{}::pg_catalog.text::pg_catalog.float8");
pub(super) const TEXT_TO_JSONB: Form = Form("{}::pg_catalog.text::pg_catalog.jsonb");
pub(super) const TEXT_TO_UUID: Form = Form("{}::pg_catalog.text::pg_catalog.uuid");
pub(super) const CHAR_TO_INT: Form = Form("{}::pg_catalog.int4");

impl Form {
    /// The expression over this column.
    pub fn of(self, column: &str) -> String {
        self.0.replacen("{}", column, 1)
    }
}

/// Which side writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparedSide {
    /// The source, from what its SELECT gives.
    Source,
    /// The target, from its columns.
    Target,
}

impl ComparedColumn {
    /// How this side writes it.
    pub fn form(&self, side: ComparedSide) -> Form {
        match side {
            ComparedSide::Source => self.source,
            ComparedSide::Target => self.target,
        }
    }
}
