//! Drift: the columns that source and target do not have in common, and which `columns` does not choose.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::TableReport;
use crate::wording::counted;

/// How many columns of a table are listed.
const COLUMNS_LISTED_MAX: usize = 100;

/// How many columns of a job are named where its state is told.
const COLUMNS_NAMED_MAX: usize = 10;

/// The columns that only one side of a table has, or had before the run.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The first 100: those that are not copied, that were added, and that only the target has.
    #[serde(rename = "drift", skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<DriftedColumn>,
    /// How many more there are.
    #[serde(rename = "drift_more", skip_serializing_if = "is_zero")]
    pub more: u64,
}

/// A column that only one side has, or had before the run.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftedColumn {
    /// Its name.
    pub column: String,
    /// What the run does about it.
    pub change: ColumnChange,
    /// Its type.
    #[serde(rename = "type")]
    pub type_text: String,
}

/// What a run does about a column that only one side has.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnChange {
    /// The target lacks it: it is left out.
    NotCopied,
    /// The target lacked it: the run has added it.
    Added,
    /// The source lacks it: the target fills it by default.
    OnlyOnTarget,
}

impl Drift {
    /// Lists columns, as many as have room.
    pub(crate) fn new(columns: impl IntoIterator<Item = DriftedColumn>) -> Self {
        let mut drift = Drift::default();
        columns.into_iter().for_each(|column| drift.push(column));
        drift
    }

    fn push(&mut self, column: DriftedColumn) {
        match self.columns.len() < COLUMNS_LISTED_MAX {
            true => self.columns.push(column),
            false => self.more += 1,
        }
    }

    /// Adds the columns of another source of the same table.
    pub(super) fn add(&mut self, other: Drift) {
        for column in other.columns {
            let same = |listed: &DriftedColumn| {
                (&listed.column, listed.change) == (&column.column, column.change)
            };
            if !self.columns.iter().any(same) {
                self.push(column);
            }
        }
        self.more = self.more.max(other.more);
    }
}

/// `not copied: a, b; added: c`; None if source and target have the same columns.
pub(crate) fn in_words(columns: &[DriftedColumn], more: u64) -> Option<String> {
    let kinds = [
        (ColumnChange::NotCopied, "not copied"),
        (ColumnChange::Added, "added"),
        (ColumnChange::OnlyOnTarget, "only on the target"),
    ];
    let of_kind = |(change, words): (ColumnChange, &str)| {
        let names = columns.iter().filter(|column| column.change == change);
        let names: Vec<&str> = names.map(|column| column.column.as_str()).collect();
        (!names.is_empty()).then(|| format!("{words}: {}", names.join(", ")))
    };
    let mut parts: Vec<String> = kinds.into_iter().filter_map(of_kind).collect();
    if more > 0 {
        parts.push(format!("and {}", counted(more, "more column")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The columns of the source that the last committed run of a job has left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotCopied {
    /// The first 10: `public.customers.note`.
    #[serde(rename = "not_copied", default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// How many more there are, as far as the tables list them.
    #[serde(rename = "not_copied_more", default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

impl NotCopied {
    /// What these tables have left out.
    pub fn of(tables: &[TableReport]) -> Self {
        let of_each = tables.iter().map(|table| {
            let name = table.partition_of.as_ref().unwrap_or(&table.target);
            (name.as_str(), &table.drift)
        });
        NotCopied::listed(of_each)
    }

    /// Partitions of one table have its name, and each of its columns counts once.
    fn listed<'d>(tables: impl Iterator<Item = (&'d str, &'d Drift)>) -> Self {
        let mut names = BTreeSet::new();
        for (table, drift) in tables {
            let columns = drift.columns.iter();
            let left_out = columns.filter(|column| column.change == ColumnChange::NotCopied);
            names.extend(left_out.map(|column| format!("{table}.{}", column.column)));
        }
        let more = names.len().saturating_sub(COLUMNS_NAMED_MAX) as u64;
        NotCopied {
            columns: names.into_iter().take(COLUMNS_NAMED_MAX).collect(),
            more,
        }
    }

    /// How many columns these are.
    pub fn count(&self) -> u64 {
        self.columns.len() as u64 + self.more
    }

    /// `2 columns of the source are not copied: …`; None if all are.
    pub fn in_words(&self) -> Option<String> {
        (!self.columns.is_empty()).then(|| self.to_string())
    }
}

impl fmt::Display for NotCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        let are = if count == 1 { "is" } else { "are" };
        let columns = counted(count, "column");
        write!(
            f,
            "{columns} of the source {are} not copied: {}",
            self.columns.join(", ")
        )?;
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ColumnChange::{Added, NotCopied as Left, OnlyOnTarget};
    use serde_json::json;

    fn columns(change: ColumnChange, names: std::ops::Range<usize>) -> Vec<DriftedColumn> {
        let column = |number| DriftedColumn {
            column: format!("c{number}"),
            change,
            type_text: "integer".to_owned(),
        };
        names.map(column).collect()
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let drift = Drift::new(columns(Left, 0..103));
        assert_eq!((drift.columns.len(), drift.more), (100, 3));
        assert_eq!(serde_json::to_value(&drift).unwrap()["drift_more"], 3);
        let none = serde_json::to_value(Drift::default()).unwrap();
        assert_eq!(none, json!({}));
        let one = Drift::new(columns(OnlyOnTarget, 0..1));
        let expected =
            json!({"drift": [{"column": "c0", "change": "only_on_target", "type": "integer"}]});
        assert_eq!(serde_json::to_value(&one).unwrap(), expected);

        let named = NotCopied {
            columns: vec!["t.a".to_owned(), "t.b".to_owned()],
            more: 5,
        };
        let words = "7 columns of the source are not copied: t.a, t.b and 5 more";
        assert_eq!(named.in_words().as_deref(), Some(words));
        let one = NotCopied {
            columns: vec!["t.a".to_owned()],
            more: 0,
        };
        let words = "1 column of the source is not copied: t.a";
        assert_eq!(one.in_words().as_deref(), Some(words));
        assert_eq!(NotCopied::default().in_words(), None);
    }

    #[test]
    fn a_column_that_partitions_lack_counts_once() {
        let one = Drift::new(
            columns(Left, 0..1)
                .into_iter()
                .chain(columns(OnlyOnTarget, 1..2)),
        );
        let many = Drift::new(columns(Left, 0..12));
        let of = |tables: &[(&'static str, &Drift)]| {
            let found = NotCopied::listed(tables.iter().copied());
            (
                found.columns.len(),
                found.more,
                found.columns.into_iter().next(),
            )
        };
        let first = Some("t.c0".to_owned());
        assert_eq!(of(&[("t", &one), ("t", &one)]), (1, 0, first.clone()));
        assert_eq!(of(&[("t", &one), ("u", &one)]), (2, 0, first.clone()));
        assert_eq!(of(&[("t", &many), ("u", &one)]), (10, 3, first));
    }

    #[test]
    fn sources_of_one_table_name_a_column_once() {
        let mut drift = Drift::new(columns(Left, 0..2));
        drift.add(Drift::new(columns(Left, 1..3)));
        drift.add(Drift::new(columns(OnlyOnTarget, 0..1)));
        assert_eq!(
            in_words(&drift.columns, drift.more).as_deref(),
            Some("not copied: c0, c1, c2; only on the target: c0")
        );
        assert_eq!(
            in_words(&columns(Added, 0..1), 2).as_deref(),
            Some("added: c0; and 2 more columns")
        );
        assert_eq!(in_words(&[], 0), None);
    }
}
