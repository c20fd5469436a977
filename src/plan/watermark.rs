//! Reading only what is new: which rows, and from where the next run goes on.
//!
//! A watermark's value alone misses rows: a transaction that drew its value early may commit after
//! others with higher values were read. So a table is also asked for every row that a transaction
//! wrote which had not ended at the previous run's snapshot, by the row's `xmin`. Whatever the values
//! are, no row is missed then. Row headers name their transaction, frozen or not, in 32 bits; no index
//! answers that, so the table is scanned. Only the snapshot's `xmin` counts, not its list of what is in
//! progress: that lacks subtransactions, and is empty on a standby.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::catalog::mark::Mark;
use crate::config::duration;
use crate::config::spec::TableSpec;
use crate::error::Side;
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::pairs;
use crate::plan::refusal::Refusal;
use crate::plan::sql::closed;

/// What a run needs to know of a table with a watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Gives the highest value as text.
    pub read_value: String,
    /// The hash of what is read.
    pub query: String,
}

/// What to add to a SELECT's WHERE.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// The rows to read; None for all.
    pub condition: Option<String>,
    /// For the run.
    pub watermark: Watermark,
}

/// How a type's values are compared and gone back from.
enum Scale {
    Time(&'static str),
    Number(&'static str),
}

/// Plans the reading of a table with a watermark; `select` is what is read of it, but for the
/// watermark's condition, and `from` its FROM.
pub fn plan(
    spec: &TableSpec,
    column: &Ident,
    source: &RelationDesc,
    (select, from): (&str, &str),
    since: Option<&Mark>,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Option<Reading> {
    let mut refuse = |message: String, hint: &str| {
        let refusal = Refusal::mismatch(Side::Source, &spec.target, message);
        refusals.push(refusal.in_column(column).hinted(hint));
    };
    let Some(desc) = source.column(column) else {
        refuse(
            format!("the source has no column {column} for the watermark"),
            "name a column of the source in `watermark`",
        );
        return None;
    };
    let Some(scale) = scale(desc) else {
        refuse(
            format!("a {} cannot be a watermark", desc.type_text),
            "use a date, a timestamp, a whole number or a numeric",
        );
        return None;
    };
    let overlap = match overlap(&scale, spec.watermark_overlap.as_deref()) {
        Ok(overlap) => overlap,
        Err(message) => {
            refuse(
                message.to_owned(),
                "see `watermark_overlap` in the documentation",
            );
            return None;
        }
    };
    let sees_transactions = sees_transactions(source);
    if !sees_transactions && overlap.is_none() {
        refuse(
            format!(
                "of a {} only the watermark's values are seen, so that a row which is committed late \
                 would be missed",
                source.kind.as_str()
            ),
            "read the table itself, with SELECT on the whole table; or set `watermark_overlap` to \
             more than the longest transaction on the source takes",
        );
        return None;
    }
    let watermark = Watermark {
        read_value: read_value(spec, column, &scale, from),
        query: hash(select),
    };
    let since = since.filter(|mark| {
        let same = mark.query == watermark.query;
        if !same {
            let what = "what is read has changed since the last run: everything is read again";
            warnings.push(what.to_owned());
        }
        same
    });
    Some(Reading {
        condition: since.map(|mark| condition(column, &scale, overlap, mark, sees_transactions)),
        watermark,
    })
}

/// A `filter` and the watermark's condition as one.
pub fn and(filter: Option<&str>, condition: Option<&str>) -> Option<String> {
    match (filter, condition) {
        (Some(filter), Some(condition)) => Some(format!("({}) AND ({condition})", closed(filter))),
        (only, None) | (None, only) => only.map(str::to_owned),
    }
}

/// Rows of tables carry the transaction that wrote them.
fn sees_transactions(source: &RelationDesc) -> bool {
    // System columns take the privilege for the whole table.
    source.privileges.select
        && matches!(
            source.kind,
            RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView
        )
}

fn scale(column: &ColumnDesc) -> Option<Scale> {
    Some(match pairs::key(&column.ty)? {
        "date" => Scale::Time("date"),
        "timestamp" => Scale::Time("timestamp"),
        "timestamptz" => Scale::Time("timestamptz"),
        "int2" | "int4" | "int8" => Scale::Number("int8"),
        "numeric" => Scale::Number("numeric"),
        _ => return None,
    })
}

/// What is subtracted from the last value.
fn overlap(scale: &Scale, text: Option<&str>) -> Result<Option<String>, &'static str> {
    let Some(text) = text else {
        return Ok(None);
    };
    match (scale, text.parse::<u64>(), duration(text)) {
        (Scale::Number(ty), Ok(number), _) => Ok(Some(format!("'{number}'::pg_catalog.{ty}"))),
        (Scale::Time(_), Err(_), Ok(duration)) => Ok(Some(format!(
            "'{} seconds'::pg_catalog.interval",
            duration.as_secs_f64()
        ))),
        (Scale::Number(_), ..) => Err("`watermark_overlap` has to be a number for this watermark"),
        (Scale::Time(_), ..) => Err("`watermark_overlap` has to be a duration for this watermark"),
    }
}

fn condition(
    column: &Ident,
    scale: &Scale,
    overlap: Option<String>,
    mark: &Mark,
    sees_transactions: bool,
) -> String {
    let (Scale::Time(ty) | Scale::Number(ty)) = scale;
    let mut terms = Vec::new();
    if let Some(value) = &mark.value {
        let value = format!("{}::pg_catalog.{ty}", quote_literal(value).trim_start());
        let bound = match overlap {
            Some(overlap) => format!("({value} - {overlap})"),
            None => value,
        };
        terms.push(format!("{} >= {bound}", column.sql()));
    }
    if sees_transactions {
        // Row headers hold the low 32 bits; the difference is taken around the circle.
        terms.push(format!(
            "((xmin::pg_catalog.text::pg_catalog.int8 - {}) & 4294967295) < 2147483648",
            mark.xmin % (1 << 32)
        ));
    } else {
        // Their place in the order is not known.
        terms.push(format!("{} IS NULL", column.sql()));
        if mark.value.is_none() {
            terms.push("true".to_owned());
        }
    }
    terms.join(" OR ")
}

/// Infinity would be the last value ever. So written that an index can answer it.
fn read_value(spec: &TableSpec, column: &Ident, scale: &Scale, from: &str) -> String {
    let column = column.sql();
    let finite = match scale {
        Scale::Time(ty) => format!("{column} < 'infinity'::pg_catalog.{ty}"),
        Scale::Number("numeric") => format!("{column} < 'NaN'::pg_catalog.numeric"),
        Scale::Number(_) => format!("{column} IS NOT NULL"),
    };
    let filter = and(spec.filter.as_deref(), Some(&finite)).unwrap_or(finite);
    format!("SELECT pg_catalog.max({column})::pg_catalog.text FROM {from} WHERE {filter}")
}

/// FNV-1a: the same in every release.
fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Says why a run reads everything again.
pub fn starts_over(relation: &QualifiedName) -> String {
    format!(
        "{relation}: the source is another cluster than at the last run, or was restored, or is too \
         far ahead: everything is read again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{self, column, table};
    use rstest::rstest;

    fn condition_of(
        ty: &str,
        overlap: Option<&str>,
        value: Option<&str>,
        kind: RelationKind,
    ) -> Result<String, String> {
        let mut source = table("t", vec![column("id", "int4"), column("w", ty)]);
        source.kind = kind;
        let mut spec = fixtures::inspected(source.clone(), source.clone()).spec;
        spec.watermark_overlap = overlap.map(str::to_owned);
        let mark = Mark {
            value: value.map(str::to_owned),
            xmin: (1 << 32) + 7,
            system: "1".to_owned(),
            query: hash("SELECT"),
        };
        let (mut refusals, mut warnings) = (Vec::new(), Vec::new());
        let (column, read) = (Ident::new("w"), ("SELECT", "t"));
        let planned = plan(
            &spec,
            &column,
            &source,
            read,
            Some(&mark),
            &mut refusals,
            &mut warnings,
        );
        match planned {
            Some(reading) => Ok(reading.condition.unwrap_or_default()),
            None => Err(refusals.iter().map(ToString::to_string).collect()),
        }
    }

    const NEW: &str = "((xmin::pg_catalog.text::pg_catalog.int8 - 7) & 4294967295) < 2147483648";

    #[rstest]
    #[case("int4", None, Some("5"), RelationKind::Table, format!("\"w\" >= '5'::pg_catalog.int8 OR {NEW}"))]
    #[case("date", Some("1d"), Some("2026-01-01"), RelationKind::Partitioned,
        format!("\"w\" >= ('2026-01-01'::pg_catalog.date - '86400 seconds'::pg_catalog.interval) OR {NEW}"))]
    #[case("numeric(9,2)", None, None, RelationKind::Table, NEW.to_owned())]
    #[case("int8", Some("10"), Some("5"), RelationKind::View,
        "\"w\" >= ('5'::pg_catalog.int8 - '10'::pg_catalog.int8) OR \"w\" IS NULL".to_owned())]
    #[case("int8", Some("10"), None, RelationKind::Query, "\"w\" IS NULL OR true".to_owned())]
    fn new_rows_are_told_by_value_and_transaction(
        #[case] ty: &str,
        #[case] overlap: Option<&str>,
        #[case] value: Option<&str>,
        #[case] kind: RelationKind,
        #[case] expected: String,
    ) {
        assert_eq!(condition_of(ty, overlap, value, kind), Ok(expected));
    }

    #[rstest]
    #[case("text", None, RelationKind::Table, "cannot be a watermark")]
    #[case("int4", Some("1m"), RelationKind::Table, "has to be a number")]
    #[case("timestamptz", Some("5"), RelationKind::Table, "has to be a duration")]
    #[case("timestamptz", None, RelationKind::View, "committed late")]
    fn what_could_miss_rows_is_refused(
        #[case] ty: &str,
        #[case] overlap: Option<&str>,
        #[case] kind: RelationKind,
        #[case] reason: &str,
    ) {
        let refused = condition_of(ty, overlap, Some("5"), kind).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
}
