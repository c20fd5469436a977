//! Ranges of keys, and the order of keys on both servers; [`SideSql`] is their SQL.
//!
//! Both servers must agree on the range of a key. So numbers, dates and UUIDs are compared by value, and all
//! other types by the bytes of their text.

use crate::catalog::desc::{ColumnDesc, TypeDesc, TypeShape};
use crate::pg::ident::Ident;
use crate::plan::form::{AS_IT_IS, ComparedColumn, Form};
use crate::plan::pairs;

mod side;

pub use side::{HASH_BUCKETS, SideSql};

/// One column of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeColumn {
    /// The target's column.
    pub name: Ident,
    order: RangeOrder,
    source: Form,
    target: Form,
    /// It may be NULL on at least one side.
    nullable: bool,
}

/// How both servers order a key's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeOrder {
    /// By value, compared with literals of this type, so an index can be used.
    Value(&'static str),
    /// A text, by its bytes.
    Text,
    /// By the bytes of its text output.
    Printed,
}

/// Decides how a key's column is ordered.
pub(super) fn key_column(
    compared: &ComparedColumn,
    source: &ColumnDesc,
    target: &ColumnDesc,
) -> RangeColumn {
    let names = (
        pairs::key(innermost(&source.ty)),
        pairs::key(innermost(&target.ty)),
    );
    let text = |name| matches!(name, "text" | "varchar" | "citext" | "name");
    let int = |name| matches!(name, "int2" | "int4" | "int8");
    let bare = (AS_IT_IS, AS_IT_IS);
    let (order, (from, to)) = match names {
        (Some(a), Some(b)) if int(a) && int(b) => (RangeOrder::Value("int8"), bare),
        (Some(a), Some("numeric")) if int(a) || a == "numeric" => {
            (RangeOrder::Value("numeric"), bare)
        }
        (Some("uuid" | "text" | "varchar" | "bpchar"), Some("uuid")) => (
            RangeOrder::Value("uuid"),
            (compared.source, compared.target),
        ),
        (Some("date"), Some("date")) => (RangeOrder::Value("date"), bare),
        (Some("timestamp"), Some("timestamp")) => (RangeOrder::Value("timestamp"), bare),
        (Some("timestamptz"), Some("timestamptz")) => (RangeOrder::Value("timestamptz"), bare),
        (Some(a), Some(b)) if text(a) && text(b) => (RangeOrder::Text, bare),
        _ => (RangeOrder::Printed, (compared.source, compared.target)),
    };
    RangeColumn {
        name: compared.name.clone(),
        order,
        source: from,
        target: to,
        nullable: !(source.not_null && target.not_null),
    }
}

fn innermost(ty: &TypeDesc) -> &TypeDesc {
    match &ty.shape {
        TypeShape::Domain { base, .. } => innermost(base),
        _ => ty,
    }
}

/// A bound between keys: the texts of its columns.
pub type Bound = Vec<String>;

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// From the first bound (inclusive) to the second (exclusive); None means unbounded.
    Between(Option<Bound>, Option<Bound>),
    /// Keys with a NULL in them.
    Nulls,
}

impl Range {
    /// All keys without a NULL.
    pub fn all() -> Self {
        Range::Between(None, None)
    }

    /// Divides the range at these bounds, which are in order.
    pub fn cut(&self, bounds: &[Bound]) -> Vec<Range> {
        let Range::Between(from, to) = self else {
            return vec![self.clone()];
        };
        let inner = bounds.iter().cloned().map(Some);
        let starts = std::iter::once(from.clone()).chain(inner.clone());
        let ends = inner.chain(std::iter::once(to.clone()));
        starts
            .zip(ends)
            .map(|(from, to)| Range::Between(from, to))
            .collect()
    }
}

/// Merges adjacent ranges, for a shorter WHERE.
fn joined(ranges: &[Range]) -> Vec<Range> {
    let mut list: Vec<Range> = Vec::new();
    for range in ranges {
        let joint = match (list.last_mut(), range) {
            (Some(Range::Between(_, end)), Range::Between(start, to))
                if start.is_some() && end == start =>
            {
                *end = to.clone();
                true
            }
            _ => false,
        };
        if !joint {
            list.push(range.clone());
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> Bound {
        vec![text.to_owned()]
    }

    fn between(from: &str, to: &str) -> Range {
        let end = |text: &str| (!text.is_empty()).then(|| bound(text));
        Range::Between(end(from), end(to))
    }

    #[test]
    fn bounds_cut_a_range_without_gaps() {
        let parts = between("1", "9").cut(&[bound("3"), bound("5")]);
        assert_eq!(
            parts,
            [between("1", "3"), between("3", "5"), between("5", "9")]
        );
        assert_eq!(Range::all().cut(&[]), [Range::all()]);
    }

    #[test]
    fn neighbours_are_joined() {
        let ranges = [
            between("", "3"),
            between("3", "5"),
            between("7", ""),
            Range::Nulls,
        ];
        assert_eq!(
            joined(&ranges),
            [between("", "5"), between("7", ""), Range::Nulls]
        );
    }
}
