//! How far a table with a watermark has been read, and whether that still holds for the source.
//!
//! A mark says that every row has been read whose transaction had ended at a snapshot. This holds only for the
//! same rows and the same history. The events that break it, and what detects each:
//!
//! | event | detected by |
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
//! | a crash that lost commits which were not flushed (`synchronous_commit = off`) | unless all was flushed: the time at which statistics were reset, which a crash does |
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
    /// How much WAL the snapshot saw.
    #[serde(default)]
    pub wal: WalPosition,
    /// What was read.
    pub relation: Fingerprint,
}

/// How much WAL a snapshot saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalPosition {
    /// All that the snapshot sees was written before this position.
    pub lsn: u64,
    /// The server was a standby.
    pub is_standby: bool,
    /// When the primary's statistics were reset, which a crash does. None in a mark: what the snapshot sees was
    /// flushed, and survives a crash.
    pub statistics_reset: Option<String>,
}

/// What transaction ids belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHistory {
    /// The cluster's system identifier.
    pub system: String,
    /// Its timeline. Promoting a standby or recovering a backup begins a new one.
    pub timeline: u32,
    /// The database's OID.
    pub database: u32,
}

/// Where a source stands, as its snapshot sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    pub history: SourceHistory,
    /// Transactions below this have ended.
    pub xmin: u64,
    /// No transaction from here on has.
    pub xmax: u64,
    pub wal: WalPosition,
}

/// What identifies the rows of a relation: it changes if other rows appear without having been written.
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
pub struct WatermarkState {
    /// By the last run that was published.
    pub since: Option<Mark>,
    /// Now.
    pub now: Present,
}

impl Mark {
    /// Why the mark does not apply to this source; None if it applies, at least to some leaves.
    ///
    /// A restored backup has not reached the mark. Transaction ids of 32 bits cannot be compared if they are
    /// 2^31 or more apart.
    pub fn unlike(&self, now: &Present) -> Option<String> {
        self.unlike_of("source", now)
    }

    /// The same for this side.
    pub fn unlike_of(&self, side: &str, now: &Present) -> Option<String> {
        let (then, place) = (&self.history, &now.place);
        let history = &place.history;
        if then.system != history.system {
            return Some(format!(
                "the {side} is a different cluster than at the last run"
            ));
        }
        if then.database != history.database {
            return Some(format!(
                "the {side} is a different database than at the last run"
            ));
        }
        if then.timeline != history.timeline {
            return Some(format!(
                "the {side} is on timeline {}, and was on {} at the last run: it was restored, or a \
                 standby was promoted, and may have lost what was read",
                history.timeline, then.timeline
            ));
        }
        let reset = &self.wal.statistics_reset;
        if reset.is_some() && *reset != place.wal.statistics_reset {
            return Some(format!(
                "the {side} has crashed since the last run, or another server is read, and transactions that \
                 the last run saw may be lost"
            ));
        }
        if self.xmin > place.xmax {
            return Some(format!(
                "the {side} was restored since the last run, or is behind"
            ));
        }
        if place.xmax - self.xmin >= 1 << 31 {
            return Some(format!(
                "more than 2^31 transactions have passed on the {side} since the last run"
            ));
        }
        (self.relation.columns != now.relation.columns)
            .then(|| "the type of a column has changed since the last run".to_owned())
    }

    /// The mark, once it is known up to where WAL was flushed after the snapshot.
    pub fn flushed(mut self, up_to: Option<u64>) -> Self {
        if up_to.is_some_and(|lsn| lsn >= self.wal.lsn) {
            self.wal.statistics_reset = None;
        }
        self
    }

    /// The leaves that the mark says nothing of.
    pub fn new_leaves<'a>(&self, now: &'a Present) -> Vec<&'a u32> {
        let leaves = now.relation.leaves.iter();
        let is_new = |(oid, leaf): &(&u32, &String)| self.relation.leaves.get(oid) != Some(*leaf);
        leaves.filter(is_new).map(|(oid, _)| oid).collect()
    }
}

/// A mark from the ledger; None for what another version wrote.
pub fn parse<M: serde::de::DeserializeOwned>(text: &str) -> Option<M> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
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
                wal: WalPosition {
                    lsn: 5000,
                    is_standby: false,
                    statistics_reset: Some("1".to_owned()),
                },
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
            wal: place.wal,
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
    #[case::crashed(700, |now: &mut Present| now.place.wal.statistics_reset = Some("2".to_owned()), Some("crashed"))]
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
    fn what_was_flushed_survives_a_crash() {
        let mut now = present(700);
        now.place.wal.statistics_reset = Some("2".to_owned());
        let unlike = |up_to| mark(700).flushed(up_to).unlike(&now).is_some();
        assert!(unlike(None) && unlike(Some(4999)));
        assert!(!unlike(Some(5000)));
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
        assert_eq!(parse(&serde_json::to_string(&kept).unwrap()), Some(kept));
        assert_eq!(parse::<Mark>("2026-11-21"), None);
        let older = r#"{"value":"1","xmin":7,"system":"73","query":"abc"}"#;
        assert_eq!(parse::<Mark>(older), None);
    }
}
