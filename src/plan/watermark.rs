//! Reading only new rows: which rows are read, and where the next run starts.
//!
//! The value of a watermark alone misses rows: a transaction may assign its value early and commit after rows
//! with higher values were read. So a run also reads every row, whatever its value, whose transaction had not
//! ended at the snapshot of the previous run, by the row's `xmin`. A row header names its transaction, frozen
//! or not, in 32 bits. No index contains it, so the table is scanned. Only the snapshot's xmin is used. Its
//! list of running transactions lacks subtransactions and is empty on a standby.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::catalog::mark::{Mark, Present, WatermarkState};
use crate::config::duration;
use crate::config::spec::TableSpec;
use crate::error::Side;
use crate::pg::ident::{Ident, QualifiedName, fnv1a, quote_literal};
use crate::plan::copy::Watermark;
use crate::plan::pairs;
use crate::plan::refusal::Refusal;
use crate::plan::sql;

/// The condition that a watermark adds to a SELECT.
#[derive(Debug, PartialEq, Eq)]
pub struct WatermarkPlan {
    /// The condition on the rows to read; None for all rows.
    pub condition: Option<String>,
    /// The watermark of the table.
    pub watermark: Watermark,
}

/// How a type's values are compared, and how `watermark_overlap` is subtracted.
enum Scale {
    Time(&'static str),
    Number(&'static str),
}

/// Plans the reading of a table with a watermark. `select` is the SELECT without the condition on the
/// watermark, and `from` its FROM.
pub fn plan(
    spec: &TableSpec,
    column: &Ident,
    source: &RelationDesc,
    (select, from): (&str, &str),
    progress: &WatermarkState,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Option<WatermarkPlan> {
    let now = &progress.now;
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
    let sees_transactions = sees_transactions(source) && !now.has_foreign;
    if !sees_transactions && overlap.is_none() {
        let what = match source.kind {
            RelationKind::Table | RelationKind::Partitioned if now.has_foreign => {
                "table with foreign tables below it"
            }
            kind => kind.as_str(),
        };
        refuse(
            format!(
                "no xmin can be read from this {what}, so a row that is committed late would be missed"
            ),
            "read the table itself, with SELECT on the whole table; or set `watermark_overlap` to \
             more than the longest transaction on the source takes",
        );
        return None;
    }
    let mark = Mark {
        value: None,
        query: format!("{:016x}", fnv1a(select.as_bytes())),
        history: now.place.history.clone(),
        xmin: now.place.xmin,
        wal: now.place.wal.clone(),
        relation: now.relation.clone(),
    };
    let since = progress.since.as_ref();
    let condition = since.and_then(|since| match start(since, &mark.query, source, now) {
        ReadScope::Over(why) => {
            warnings.push(starts_over(&spec.target, &why));
            None
        }
        ReadScope::After(new) => {
            let condition = condition(column, &scale, overlap, since, sees_transactions);
            Some(match new.as_slice() {
                [] => condition,
                // All rows of leaves that are new since the last run.
                new => format!("{condition} OR tableoid IN ({})", new.join(", ")),
            })
        }
    });
    let read_value = read_value(spec, column, &scale, source, from);
    Some(WatermarkPlan {
        condition,
        watermark: Watermark { read_value, mark },
    })
}

/// Which rows of a table are read.
enum ReadScope {
    /// All rows, for this reason.
    Over(String),
    /// Rows after the mark, and all rows of these leaves.
    After(Vec<String>),
}

fn start(since: &Mark, query: &str, source: &RelationDesc, now: &Present) -> ReadScope {
    if let Some(why) = since.unlike(now) {
        return ReadScope::Over(why);
    }
    if since.query != query {
        return ReadScope::Over("what is read has changed since the last run".to_owned());
    }
    let new = since.new_leaves(now);
    let names_leaves = matches!(
        source.kind,
        RelationKind::Table | RelationKind::Partitioned | RelationKind::Foreign
    ) && source.privileges.select;
    if new.is_empty() || names_leaves && new.len() < now.relation.leaves.len() {
        return ReadScope::After(new.iter().map(ToString::to_string).collect());
    }
    ReadScope::Over(
        match source.kind {
            RelationKind::MaterializedView => "the materialized view was refreshed",
            RelationKind::View => {
                "the view, or a table that it reads, was replaced, truncated or rewritten"
            }
            _ => "the table was replaced, truncated or rewritten since the last run",
        }
        .to_owned(),
    )
}

/// Rows of tables have `xmin`, the transaction that wrote them.
fn sees_transactions(source: &RelationDesc) -> bool {
    // Reading a system column needs SELECT on the whole table.
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

/// `watermark_overlap` as SQL.
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
        // Row headers contain the low 32 bits of transaction IDs, so differences are computed modulo 2^32.
        terms.push(format!(
            "((xmin::pg_catalog.text::pg_catalog.int8 - {}) & 4294967295) < 2147483648",
            mark.xmin % (1 << 32)
        ));
    } else {
        // NULLs have no place in the order.
        terms.push(format!("{} IS NULL", column.sql()));
        if mark.value.is_none() {
            terms.push("true".to_owned());
        }
    }
    terms.join(" OR ")
}

/// The first version with infinite numeric values.
const INFINITY_VERSION: u32 = 140_000;

/// Excludes infinity and NaN: after one of them no value would be new. The condition can use an index.
fn read_value(
    spec: &TableSpec,
    column: &Ident,
    scale: &Scale,
    source: &RelationDesc,
    from: &str,
) -> String {
    let column = column.sql();
    let finite = match scale {
        Scale::Time(ty) => format!("{column} < 'infinity'::pg_catalog.{ty}"),
        Scale::Number("numeric") => {
            let last = match source.server_version {
                INFINITY_VERSION.. => "infinity",
                _ => "NaN",
            };
            format!("{column} < '{last}'::pg_catalog.numeric")
        }
        Scale::Number(_) => format!("{column} IS NOT NULL"),
    };
    let filter = sql::and(spec.filter.as_deref(), Some(&finite)).unwrap_or(finite);
    format!("SELECT pg_catalog.max({column})::pg_catalog.text FROM {from} WHERE {filter}")
}

/// The warning that says why a run reads all rows again.
pub fn starts_over(relation: &QualifiedName, why: &str) -> String {
    format!("{relation}: {why}: everything is read again")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::mark::{Fingerprint, SourceHistory, SourcePosition, WalPosition};
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
        planned(spec, source, value, |_| {})
    }

    /// What is read of it after a run, when the source has changed.
    fn planned(
        spec: TableSpec,
        source: RelationDesc,
        value: Option<&str>,
        change: impl FnOnce(&mut Present),
    ) -> Result<String, String> {
        let leaves = BTreeMap::from([(11, "a".to_owned()), (12, "a".to_owned())]);
        let mut now = Present {
            place: SourcePosition {
                history: SourceHistory {
                    system: "1".to_owned(),
                    timeline: 1,
                    database: 5,
                },
                xmin: (1 << 32) + 7,
                xmax: (1 << 32) + 9,
                wal: WalPosition::default(),
            },
            relation: Fingerprint {
                columns: "c".to_owned(),
                leaves,
            },
            has_foreign: false,
        };
        let since = Mark {
            value: value.map(str::to_owned),
            query: format!("{:016x}", fnv1a(b"SELECT")),
            history: now.place.history.clone(),
            xmin: now.place.xmin,
            wal: now.place.wal.clone(),
            relation: now.relation.clone(),
        };
        change(&mut now);
        let progress = WatermarkState {
            since: Some(since),
            now,
        };
        let (mut refusals, mut warnings) = (Vec::new(), Vec::new());
        let (column, read) = (Ident::new("w"), ("SELECT", "t"));
        let planned = plan(
            &spec,
            &column,
            &source,
            read,
            &progress,
            &mut refusals,
            &mut warnings,
        );
        match planned {
            Some(reading) => Ok(reading.condition.unwrap_or_else(|| warnings.concat())),
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

    /// Of a table with two leaves.
    #[rstest]
    #[case::same(|_: &mut Present| {}, RelationKind::Table, "((xmin")]
    #[case::attached(|now: &mut Present| drop(now.relation.leaves.insert(13, "a".to_owned())), RelationKind::Partitioned,
        "< 2147483648 OR tableoid IN (13)")]
    #[case::rewritten(|now: &mut Present| drop(now.relation.leaves.insert(12, "b".to_owned())), RelationKind::Partitioned,
        "< 2147483648 OR tableoid IN (12)")]
    #[case::detached(|now: &mut Present| drop(now.relation.leaves.remove(&12)), RelationKind::Partitioned, "((xmin")]
    #[case::replaced(|now: &mut Present| now.relation.leaves = BTreeMap::from([(14, "a".to_owned())]), RelationKind::Table,
        "public.t: the table was replaced, truncated or rewritten since the last run: everything is read again")]
    #[case::below_a_view(|now: &mut Present| drop(now.relation.leaves.insert(13, "a".to_owned())), RelationKind::View,
        "public.t: the view, or a table that it reads, was replaced")]
    #[case::failed_over(|now: &mut Present| now.place.history.timeline = 2, RelationKind::Query, "timeline 2")]
    #[case::foreign(|now: &mut Present| now.has_foreign = true, RelationKind::Partitioned, "\"w\" IS NULL")]
    fn what_the_mark_does_not_know_is_read_whole(
        #[case] change: fn(&mut Present),
        #[case] kind: RelationKind,
        #[case] expected: &str,
    ) {
        let mut source = table("t", vec![column("w", "int4")]);
        source.kind = kind;
        let mut spec = fixtures::inspected(source.clone(), source.clone()).spec;
        spec.watermark_overlap = Some("10".to_owned());
        let planned = planned(spec, source, Some("5"), change).unwrap();
        assert!(planned.contains(expected), "{planned}");
    }

    #[rstest]
    #[case("numeric", 150_000, "\"w\" < 'infinity'::pg_catalog.numeric")]
    #[case("numeric", 130_000, "\"w\" < 'NaN'::pg_catalog.numeric")]
    #[case("date", 150_000, "\"w\" < 'infinity'::pg_catalog.date")]
    fn no_infinity_is_a_last_value(#[case] ty: &str, #[case] version: u32, #[case] part: &str) {
        let mut source = table("t", vec![column("w", ty)]);
        source.server_version = version;
        let spec = fixtures::inspected(source.clone(), source.clone()).spec;
        let scale = scale(&source.columns[0]).unwrap();
        let sql = read_value(&spec, &Ident::new("w"), &scale, &source, "t");
        assert!(sql.contains(part), "{sql}");
    }

    #[test]
    fn foreign_tables_in_a_tree_need_an_overlap() {
        let mut source = table("t", vec![column("w", "int4")]);
        source.kind = RelationKind::Partitioned;
        let spec = fixtures::inspected(source.clone(), source.clone()).spec;
        let refused = planned(spec, source, Some("5"), |now| now.has_foreign = true).unwrap_err();
        assert!(refused.contains("foreign tables below"), "{refused}");
    }
}
