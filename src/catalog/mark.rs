//! How far a table with a watermark has been read, and whether the source's past is still what it was.
//!
//! A mark says that every row is known whose transaction had ended at a snapshot. That holds for the
//! same rows of the same history only. What makes a source's past unlike its present, and what answers it:
//!
//! | event | answered by |
//! |---|---|
//! | table replaced by RENAME, DROP and CREATE, restored | OIDs of the leaves: a new one is read whole |
//! | ATTACH PARTITION, INHERIT, a new partition | the same |
//! | DETACH, and ATTACH again | rows that were written in between have a new `xmin`; what is gone stays with the target |
//! | TRUNCATE, VACUUM FULL, CLUSTER, a rewriting ALTER TABLE | filenodes of the leaves: read whole, though not always needed |
//! | `ADD COLUMN … DEFAULT`, a column dropped and added again | column numbers and missing values of the leaves |
//! | RENAME VALUE of an enum, another attribute of a composite | the types of the columns, down to their leaves |
//! | another expression of a virtual generated column | the leaves' expressions |
//! | CREATE OR REPLACE VIEW, or anything below a view | the view's definition, and the leaves below it: all is read again |
//! | another query, `where`, `set` or list of columns | a hash of the SELECT |
//! | another database of the cluster | its OID |
//! | another cluster, pg_upgrade | the system identifier |
//! | failover to a standby that lacked commits, point-in-time recovery | the timeline: transaction ids are given out again |
//! | a backup that was started without recovery, an older standby | transaction ids that have not come as far as the mark |
//! | 2^31 transactions since | the distance of transaction ids |
//! | subtransactions, prepared transactions | in the snapshot: nothing to do |
//! | rows of foreign tables | their `xmin` means nothing: `watermark_overlap` is required, as for views |
//! | Infinity and NaN | they are no last value (`plan/watermark.rs`) |
//! | unlogged tables | emptied by a crash, and refused by a standby: nothing is missed |
//!
//! Not seen: functions in `where`, `set` or a view that are replaced; tables below a `query`; and a server that
//! was set back by a snapshot of its disks, once its transaction ids have passed the mark.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::desc::{RelationDesc, RelationKind, TypeDesc, TypeShape};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::{QualifiedName, fnv1a};
use crate::pg::session::Session;

/// How far a table had been read; kept in the ledger as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The highest value of the watermark's column.
    pub value: Option<String>,
    /// A hash of what was read: the rows of another query need not have been.
    pub query: String,
    /// The history that the transactions belong to.
    pub history: SourceHistory,
    /// Transactions below this had ended at the snapshot.
    pub xmin: u64,
    /// What was read.
    pub relation: Fingerprint,
}

/// What transaction ids belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHistory {
    /// The cluster's system identifier.
    pub system: String,
    /// Its timeline: another one forks off where a standby is promoted or a backup is recovered.
    pub timeline: u32,
    /// The database's OID.
    pub database: u32,
}

/// Where a source stands, as its snapshot sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// Its history.
    pub history: SourceHistory,
    /// Transactions below this have ended.
    pub xmin: u64,
    /// No transaction from here on has.
    pub xmax: u64,
}

/// What changes with a relation when its rows are others without having been written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// A hash of the types of the columns that may be read.
    pub columns: String,
    /// Of each table that holds rows, by OID: its filenode, and a hash of what its columns give that is
    /// not in the rows.
    pub leaves: BTreeMap<u32, String>,
}

/// A source's relation at one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Where the source stands.
    pub place: SourcePosition,
    /// What is read.
    pub relation: Fingerprint,
    /// Foreign tables are among the leaves.
    pub has_foreign: bool,
}

/// How far a table had been read, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// By the last run that was published.
    pub since: Option<Mark>,
    /// Now.
    pub now: Present,
}

impl Mark {
    /// Why the mark says nothing of this source; None where it does, at least of some leaves.
    ///
    /// A restored backup has not come as far as the mark, and 32 bits can't tell transactions apart that
    /// are more than half a circle away.
    pub fn unlike(&self, now: &Present) -> Option<String> {
        let (then, place) = (&self.history, &now.place);
        let history = &place.history;
        if then.system != history.system {
            return Some("the source is a different cluster than at the last run".to_owned());
        }
        if then.database != history.database {
            return Some("the source is a different database than at the last run".to_owned());
        }
        if then.timeline != history.timeline {
            return Some(format!(
                "the source is on timeline {}, and was on {} at the last run: it was restored, or a \
                 standby was promoted, and may have lost what was read",
                history.timeline, then.timeline
            ));
        }
        if self.xmin > place.xmax {
            return Some("the source was restored since the last run, or is behind".to_owned());
        }
        if place.xmax - self.xmin >= 1 << 31 {
            return Some("more than 2^31 transactions have passed since the last run".to_owned());
        }
        (self.relation.columns != now.relation.columns)
            .then(|| "the type of a column has changed since the last run".to_owned())
    }

    /// The leaves that the mark says nothing of.
    pub fn new_leaves<'a>(&self, now: &'a Present) -> Vec<&'a u32> {
        let leaves = now.relation.leaves.iter();
        let is_new = |(oid, leaf): &(&u32, &String)| self.relation.leaves.get(oid) != Some(*leaf);
        leaves.filter(is_new).map(|(oid, _)| oid).collect()
    }

    /// For the ledger.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the ledger; None for what another version wrote.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Only what is below xmin counts: on a standby the snapshot does not list what is in progress.
///
/// A primary writes WAL on its timeline at once, while its control file may name the old one for a
/// moment after a promotion. A standby can't be asked for the name of a WAL file: there the highest
/// number counts that the role may see.
const PLACE: &str = "\
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text, \
       (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()), \
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
            ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END, \
       GREATEST((SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()), \
                (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()), \
                (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)), \
       pg_catalog.pg_snapshot_xmin(snapshot)::pg_catalog.text, \
       pg_catalog.pg_snapshot_xmax(snapshot)::pg_catalog.text \
FROM pg_catalog.pg_current_snapshot() AS snapshot";

/// Where the source stands.
///
/// *Errors:* what the server says; `Bug` if its answer is not understood.
pub async fn place(source: &Session) -> Result<SourcePosition> {
    let what = "the source's snapshot";
    let row = source.one_row(Phase::Inspect, what, PLACE, &[]).await?;
    let unread = || {
        let message = "the source's snapshot could not be read";
        Error::new(ErrorKind::Bug, Phase::Inspect, source.side(), message).at(source.server())
    };
    let number = |at: usize| row.get::<String>(at)?.parse().map_err(|_| unread());
    let timeline = match row.get::<Option<String>>(2)? {
        // Its first eight hexadecimal digits.
        Some(file) => file
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok()),
        None => u32::try_from(row.get::<i32>(3)?).ok(),
    };
    Ok(SourcePosition {
        history: SourceHistory {
            system: row.get(0)?,
            timeline: timeline.ok_or_else(unread)?,
            database: row.get(1)?,
        },
        xmin: number(4)?,
        xmax: number(5)?,
    })
}

/// The leaves of a relation: partitions, where `TREE` is true inheritance children, and whatever views read.
/// `PENDING` leaves out a partition that is being detached: it is not read any more.
const LEAVES: &str = "\
WITH RECURSIVE part (oid) AS ( \
    SELECT c.oid FROM pg_catalog.pg_class AS c \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2 \
    UNION \
    SELECT below.oid FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid \
    CROSS JOIN LATERAL ( \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i \
        WHERE i.inhparent = c.oid AND (c.relkind = 'p' OR TREE) PENDING \
        UNION ALL \
        SELECT d.refobjid FROM pg_catalog.pg_rewrite AS w \
        JOIN pg_catalog.pg_depend AS d ON d.objid = w.oid \
        WHERE c.relkind = 'v' AND w.ev_class = c.oid \
          AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
    ) AS below (oid) \
) \
SELECT c.oid, c.relkind = 'f', \
       COALESCE(pg_catalog.pg_relation_filenode(c.oid)::pg_catalog.text, '-') || ':' \
       || pg_catalog.hashtextextended(CASE c.relkind \
              WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid) \
              WHEN 'f' THEN (SELECT pg_catalog.concat_ws(' ', f.ftserver, f.ftoptions::pg_catalog.text) \
                               FROM pg_catalog.pg_foreign_table AS f WHERE f.ftrelid = c.oid) \
              ELSE (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s %s %s', a.attnum, a.attname, \
                               CASE WHEN a.atthasmissing THEN a.attmissingval::pg_catalog.text END, \
                               CASE WHEN a.attgenerated = 'v' THEN pg_catalog.pg_get_expr(def.adbin, def.adrelid) END), \
                           ',' ORDER BY a.attname) \
                      FROM pg_catalog.pg_attribute AS a \
                      LEFT JOIN pg_catalog.pg_attrdef AS def ON def.adrelid = a.attrelid AND def.adnum = a.attnum \
                     WHERE a.attrelid = c.oid AND a.attname::pg_catalog.text = ANY ($3) AND NOT a.attisdropped) \
          END, 0)::pg_catalog.text \
FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid \
WHERE c.relkind IN ('r', 'm', 'v', 'f')";

/// What is read of a relation, now; `columns` are those that may be read.
///
/// To be asked before the rows are: a partition that is attached in between is a new one next time.
pub async fn present(
    source: &Session,
    place: &SourcePosition,
    desc: &RelationDesc,
    with_children: bool,
    columns: &[&str],
) -> Result<Present> {
    let mut present = Present {
        place: place.clone(),
        relation: Fingerprint {
            columns: types(desc, columns),
            leaves: BTreeMap::new(),
        },
        has_foreign: false,
    };
    if desc.kind == RelationKind::Query {
        return Ok(present);
    }
    let pending = match source.version() {
        140_000.. => "AND NOT i.inhdetachpending",
        _ => "",
    };
    let tree = with_children || desc.kind == RelationKind::View;
    let sql = LEAVES
        .replace("PENDING", pending)
        .replace("TREE", if tree { "true" } else { "false" });
    let QualifiedName { schema, name } = &desc.name;
    let (schema, name, columns) = (schema.as_str(), name.as_str(), columns.to_vec());
    let rows = source
        .query(Phase::Inspect, &sql, &[&schema, &name, &columns])
        .await
        .map_err(|error| error.on(&desc.name))?;
    for row in rows {
        present.relation.leaves.insert(row.get(0), row.get(2));
        present.has_foreign |= row.get::<_, bool>(1);
    }
    Ok(present)
}

/// A hash of what the columns' values are made of.
fn types(desc: &RelationDesc, columns: &[&str]) -> String {
    let mut text = String::new();
    for column in &desc.columns {
        if columns.contains(&column.name.as_str()) {
            text.push_str(&format!("{} {} ", column.name, column.type_text));
            describe(&column.ty, &mut text);
        }
    }
    format!("{:016x}", fnv1a(text.as_bytes()))
}

fn describe(ty: &TypeDesc, text: &mut String) {
    text.push_str(&format!("{}(", ty.name));
    match &ty.shape {
        TypeShape::Base | TypeShape::Pseudo => {}
        TypeShape::Enum(labels) => text.push_str(&format!("{labels:?}")),
        TypeShape::Domain { base: inner, .. }
        | TypeShape::Range(inner)
        | TypeShape::Multirange(inner)
        | TypeShape::Array(inner) => describe(inner, text),
        TypeShape::Composite(attributes) => {
            for attribute in attributes {
                text.push_str(&format!("{:?} ", attribute.name));
                describe(&attribute.ty, text);
            }
        }
    }
    text.push(')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{array, column, column_of, labels, table};
    use rstest::rstest;

    fn present(xmax: u64) -> Present {
        Present {
            place: SourcePosition {
                history: SourceHistory {
                    system: "73".to_owned(),
                    timeline: 1,
                    database: 5,
                },
                xmin: 700,
                xmax,
            },
            relation: Fingerprint {
                columns: "c".to_owned(),
                leaves: BTreeMap::from([(1, "1:a".to_owned()), (2, "2:a".to_owned())]),
            },
            has_foreign: false,
        }
    }

    fn mark(xmin: u64) -> Mark {
        let Present {
            place, relation, ..
        } = present(xmin);
        Mark {
            value: Some("2026-11-21 04:00:00+00".to_owned()),
            query: "abc".to_owned(),
            history: place.history,
            xmin,
            relation,
        }
    }

    #[rstest]
    #[case(700, |_: &mut Present| {}, None)]
    #[case(700, |now: &mut Present| now.place.xmax = 900, None)]
    #[case::new_partition(700, |now: &mut Present| drop(now.relation.leaves.insert(3, "3:a".to_owned())), None)]
    #[case::another_cluster(700, |now: &mut Present| now.place.history.system = "74".to_owned(), Some("a different cluster"))]
    #[case::another_database(700, |now: &mut Present| now.place.history.database = 6, Some("a different database"))]
    #[case::failed_over(700, |now: &mut Present| now.place.history.timeline = 2, Some("on timeline 2, and was on 1"))]
    #[case::restored_from_a_backup(700, |now: &mut Present| now.place.xmax = 600, Some("restored"))]
    #[case::half_the_circle(700, |now: &mut Present| now.place.xmax = 700 + (1 << 31), Some("2^31 transactions"))]
    #[case::columns(700, |now: &mut Present| now.relation.columns = "d".to_owned(), Some("type of a column"))]
    fn a_mark_is_only_good_for_the_history_it_knows(
        #[case] xmin: u64,
        #[case] change: fn(&mut Present),
        #[case] expected: Option<&str>,
    ) {
        let mut now = present(700);
        change(&mut now);
        match (mark(xmin).unlike(&now), expected) {
            (None, None) => {}
            (Some(why), Some(part)) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_leaf_that_is_new_or_was_rewritten_is_not_known() {
        let mut now = present(700);
        assert_eq!(mark(700).new_leaves(&now), Vec::<&u32>::new());
        now.relation.leaves.insert(2, "9:a".to_owned());
        now.relation.leaves.insert(3, "3:a".to_owned());
        now.relation.leaves.remove(&1);
        assert_eq!(mark(700).new_leaves(&now), [&2, &3]);
    }

    #[test]
    fn a_mark_is_kept_as_text() {
        let kept = mark(u64::from(u32::MAX) + 7);
        assert_eq!(Mark::parse(&kept.to_text()), Some(kept));
        assert_eq!(Mark::parse("2026-11-21"), None);
        let older = r#"{"value":"1","xmin":7,"system":"73","query":"abc"}"#;
        assert_eq!(Mark::parse(older), None);
    }

    #[test]
    fn the_leaves_of_a_type_are_part_of_it() {
        let hash = |ty| {
            types(
                &table("t", vec![column("id", "int4"), column_of("m", ty)]),
                &["id", "m"],
            )
        };
        let (old, new) = (labels(&["a", "b"]), labels(&["a", "c"]));
        assert_eq!(hash(array(old.clone())), hash(array(old.clone())));
        assert_ne!(hash(array(old.clone())), hash(array(new.clone())));
        let unread = |ty| types(&table("t", vec![column_of("m", ty)]), &["id"]);
        assert_eq!(unread(old), unread(new));
    }
}
