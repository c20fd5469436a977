//! The columns of a plan, and the format in which they are copied.

use std::fmt;

use crate::files::layout::{FileFormat, Layout};
use crate::pg::ident::Ident;

/// One column of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnPlan {
    /// The target's column.
    pub name: Ident,
    /// The source's type as SQL writes it.
    pub source_type: String,
    /// The target's type as SQL writes it.
    pub target_type: String,
    /// The expression of `set`, if there is one.
    pub expression: Option<String>,
    /// Why this column needs the text format; None if binary is safe.
    pub needs_text: Option<FormatReason>,
}

/// The format of both COPY statements; the reason travels with the choice.
#[derive(Clone, Debug, PartialEq)]
pub enum CopyFormat {
    /// `FORMAT binary`.
    Binary,
    /// `FORMAT text`, for this reason.
    Text(FormatReason),
    /// The format of a file, with COPY's options.
    File(Layout),
}

/// Why the text format is used.
#[derive(Clone, Debug, PartialEq)]
pub enum FormatReason {
    /// `format = "text"`.
    Configured,
    /// `on_error = "quarantine"`: rejected rows are recorded as text.
    Quarantine,
    /// The types of this column differ, and only the text format converts between them.
    TypeDiffers {
        /// The column, and the path within its type: `address.zip`.
        attribute: String,
        /// The source's type.
        source: String,
        /// The target's type.
        target: String,
    },
    /// A type has no binary send or receive function.
    NoBinaryIo {
        /// The column, and the path within its type.
        attribute: String,
        /// The type.
        ty: String,
        /// The side that lacks it: "source" or "target".
        side: &'static str,
    },
    /// The binary form contains OIDs, which mean other objects on the target.
    EmbedsOids {
        /// The column, and the path within its type.
        attribute: String,
        /// The type.
        ty: String,
    },
    /// A target of version 13 or older checks the type OIDs inside arrays and composites.
    OldTarget {
        /// The column, and the path within its type.
        attribute: String,
        /// The user-defined type inside.
        ty: String,
    },
}

impl fmt::Display for FormatReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatReason::Configured => f.write_str("`format = \"text\"` is configured"),
            FormatReason::Quarantine => f.write_str("rejected rows are kept as text"),
            FormatReason::TypeDiffers {
                attribute,
                source,
                target,
            } => write!(
                f,
                "{attribute}: {source} → {target} differs in its binary form"
            ),
            FormatReason::NoBinaryIo {
                attribute,
                ty,
                side,
            } => write!(f, "{attribute}: {ty} has no binary form on the {side}"),
            FormatReason::EmbedsOids { attribute, ty } => write!(
                f,
                "{attribute}: {ty} in binary is an OID, which means something else on the target"
            ),
            FormatReason::OldTarget { attribute, ty } => write!(
                f,
                "{attribute}: PostgreSQL 13 and older refuse the OID of {ty} in binary arrays and \
                 composites"
            ),
        }
    }
}

impl CopyFormat {
    /// `binary`, `text` or `csv`, as in SQL and in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            CopyFormat::Binary => "binary",
            CopyFormat::Text(_) => "text",
            CopyFormat::File(layout) => layout.format.as_str(),
        }
    }

    /// Why it is text; None for other formats.
    pub fn reason(&self) -> Option<&FormatReason> {
        match self {
            CopyFormat::Text(reason) => Some(reason),
            CopyFormat::Binary | CopyFormat::File(_) => None,
        }
    }

    /// The options of COPY, in parentheses.
    pub fn options(&self) -> String {
        match self {
            CopyFormat::File(layout) => layout.options(),
            CopyFormat::Binary | CopyFormat::Text(_) => format!("(FORMAT {})", self.as_str()),
        }
    }

    /// Is the data in binary format, which ends with a trailer?
    pub fn is_binary(&self) -> bool {
        match self {
            CopyFormat::Binary => true,
            CopyFormat::Text(_) => false,
            CopyFormat::File(layout) => layout.format == FileFormat::Binary,
        }
    }

    /// The number of CopyData messages without a row: the binary trailer, or a CSV header.
    pub fn frames_that_are_no_rows(&self) -> u64 {
        match self {
            CopyFormat::File(layout) => u64::from(layout.header || self.is_binary()),
            CopyFormat::Binary | CopyFormat::Text(_) => u64::from(self.is_binary()),
        }
    }
}
