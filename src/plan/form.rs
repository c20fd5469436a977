//! The expressions that convert a column on each side, so that equal values have equal texts.

use crate::pg::ident::Ident;

/// A column that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedColumn {
    /// The target's column.
    pub name: Ident,
    /// The source's expression.
    pub source: Form,
    /// The target's expression.
    pub target: Form,
}

/// An expression over one column; `{}` stands for the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form(&'static str);

/// The column itself: its text is that of the type's output function, as in COPY.
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
    /// Returns the expression over this column.
    pub fn of(self, column: &str) -> String {
        self.0.replacen("{}", column, 1)
    }
}

/// A side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparedSide {
    /// The source: the columns of its SELECT.
    Source,
    /// The target: its columns.
    Target,
}

impl ComparedColumn {
    /// The expression of this side.
    pub fn form(&self, side: ComparedSide) -> Form {
        match side {
            ComparedSide::Source => self.source,
            ComparedSide::Target => self.target,
        }
    }
}
