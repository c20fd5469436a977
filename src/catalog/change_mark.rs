//! What a run with `compare = "changed"` must know of the last run: up to where it saw both sides.
//!
//! A row version names the transaction that wrote it, and keeps that name when it is frozen. After a run that
//! made the target the same as the source, every row of the source whose transaction had ended at the source's
//! snapshot is as it was then. The same holds for every row of the target whose transaction had ended before
//! the run read the target, or is the one that published. All other rows have to be compared again.
//!
//! Both sides' marks are those of watermarks: what breaks them, and what detects that, is listed in `mark.rs`.

use serde::{Deserialize, Serialize};

use super::mark::{Fingerprint, Mark, Present};

/// Up to where the last run of a job saw both sides of a table; kept in the ledger as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeMark {
    /// The source, at the snapshot that was read.
    pub source: Mark,
    /// The target, at a snapshot before the run read it.
    pub target: Mark,
    /// The target's transaction that published.
    pub transaction: u64,
}

/// The last run's mark of a table, and where both sides are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeState {
    /// Of the last run, or why there is none.
    pub since: Result<ChangeMark, String>,
    pub source: Present,
    pub target: Present,
    /// The columns that both sides have: the fingerprints are of them.
    pub columns: Vec<String>,
    /// Of a source that is a standby: up to where it had replayed WAL before the snapshot.
    pub replayed: Option<u64>,
}

impl ChangeState {
    /// What a run records that reads `query`.
    pub fn marking(&self, query: String) -> Marking {
        let Present {
            place, relation, ..
        } = &self.source;
        Marking {
            source: Mark {
                value: None,
                query,
                history: place.history.clone(),
                xmin: place.xmin,
                wal: place.wal.clone(),
                relation: relation.clone(),
            },
            target: self.target.relation.clone(),
            columns: self.columns.clone(),
        }
    }

    /// The mark, if it still says which rows have changed in what `query` reads; or why it does not.
    pub fn usable(&self, query: &str) -> Result<&ChangeMark, String> {
        let mark = self.since.as_ref().map_err(Clone::clone)?;
        if let Some(why) = mark.source.unlike(&self.source) {
            return Err(why);
        }
        if let Some(why) = mark.target.unlike_of("target", &self.target) {
            return Err(why);
        }
        if let Some(why) = self.lacks(&mark.source) {
            return Err(why.to_owned());
        }
        if mark.source.query != query {
            return Err("what is read has changed since the last run".to_owned());
        }
        for (side, mark, now) in [
            ("source", &mark.source, &self.source),
            ("target", &mark.target, &self.target),
        ] {
            if known_leaves(mark, now).is_empty() {
                return Err(format!(
                    "the {side}'s table was replaced, truncated or rewritten since the last run"
                ));
            }
        }
        Ok(mark)
    }

    /// Why the source may not see everything that the last run saw. The mark's xmin does not tell: it is held back
    /// by transactions that stay open.
    fn lacks(&self, mark: &Mark) -> Option<&'static str> {
        match self.replayed {
            Some(lsn) if lsn < mark.wal.lsn => {
                Some("the source is a standby that has not replayed all that the last run saw")
            }
            // A synchronous commit is seen by standbys first.
            None if mark.wal.is_standby => {
                Some("the source is a primary, and was a standby at the last run")
            }
            Some(_) | None => None,
        }
    }
}

/// The leaves whose rows the mark knows: of all others, every row has to be compared.
pub fn known_leaves(mark: &Mark, now: &Present) -> Vec<u32> {
    let is_known = |(oid, leaf): &(&u32, &String)| mark.relation.leaves.get(oid) == Some(*leaf);
    let leaves = now.relation.leaves.iter().filter(is_known);
    leaves.map(|(oid, _)| *oid).collect()
}

/// What a run will record of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marking {
    /// The source at this run's snapshot.
    pub source: Mark,
    /// The target as it was planned for.
    pub target: Fingerprint,
    /// The columns that the fingerprints are of.
    pub columns: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::mark::{SourceHistory, SourcePosition, WalPosition, parse};
    use rstest::rstest;

    fn present(leaves: &[(u32, &str)]) -> Present {
        Present {
            place: SourcePosition {
                history: SourceHistory {
                    system: "73".to_owned(),
                    timeline: 1,
                    database: 5,
                },
                xmin: 700,
                xmax: 700,
                wal: WalPosition {
                    lsn: 5000,
                    ..WalPosition::default()
                },
            },
            relation: Fingerprint {
                columns: "c".to_owned(),
                leaves: leaves
                    .iter()
                    .map(|(oid, leaf)| (*oid, (*leaf).to_owned()))
                    .collect(),
            },
            has_foreign: false,
        }
    }

    fn mark(now: &Present) -> Mark {
        Mark {
            value: None,
            query: "q".to_owned(),
            history: now.place.history.clone(),
            xmin: now.place.xmin,
            wal: now.place.wal.clone(),
            relation: now.relation.clone(),
        }
    }

    fn state() -> ChangeState {
        let (source, target) = (present(&[(1, "1:a"), (2, "2:a")]), present(&[(9, "9:a")]));
        ChangeState {
            since: Ok(ChangeMark {
                source: mark(&source),
                target: mark(&target),
                transaction: 690,
            }),
            source,
            target,
            columns: Vec::new(),
            replayed: None,
        }
    }

    #[rstest]
    #[case(|_: &mut ChangeState| {}, None)]
    #[case::no_mark(|now: &mut ChangeState| now.since = Err("no run yet".to_owned()), Some("no run yet"))]
    #[case::new_partition(|now: &mut ChangeState| drop(now.source.relation.leaves.insert(3, "3:a".to_owned())), None)]
    #[case::one_rewritten(|now: &mut ChangeState| drop(now.source.relation.leaves.insert(2, "8:a".to_owned())), None)]
    #[case::rewritten(|now: &mut ChangeState| now.source.relation.leaves = BTreeMap::from([(1, "7:a".to_owned())]), Some("the source's table was"))]
    #[case::target_truncated(|now: &mut ChangeState| now.target.relation.leaves = BTreeMap::from([(9, "10:a".to_owned())]), Some("the target's table was"))]
    #[case::source_failed_over(|now: &mut ChangeState| now.source.place.history.timeline = 2, Some("the source is on timeline 2"))]
    #[case::target_failed_over(|now: &mut ChangeState| now.target.place.history.timeline = 2, Some("the target is on timeline 2"))]
    #[case::another_target(|now: &mut ChangeState| now.target.place.history.system = "74".to_owned(), Some("the target is a different cluster"))]
    #[case::half_the_circle(|now: &mut ChangeState| now.target.place.xmax = 700 + (1 << 31), Some("2^31"))]
    #[case::standby(|now: &mut ChangeState| now.replayed = Some(5000), None)]
    #[case::standby_behind(|now: &mut ChangeState| now.replayed = Some(4999), Some("has not replayed"))]
    #[case::columns_of_the_target(|now: &mut ChangeState| now.target.relation.columns = "d".to_owned(), Some("type of a column"))]
    fn a_mark_holds_while_both_sides_are_what_they_were(
        #[case] change: fn(&mut ChangeState),
        #[case] expected: Option<&str>,
    ) {
        let mut now = state();
        change(&mut now);
        match (now.usable("q"), expected) {
            (Ok(_), None) => {}
            (Err(why), Some(part)) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(state().usable("another").is_err());
    }

    #[test]
    fn rows_of_leaves_that_are_new_or_were_rewritten_are_not_known() {
        let now = state();
        let mark = now.usable("q").unwrap().source.clone();
        let later = present(&[(1, "1:b"), (2, "2:a"), (3, "3:a")]);
        assert_eq!(known_leaves(&mark, &later), [2]);
    }

    #[test]
    fn a_mark_is_kept_as_text() {
        let kept = state().since.unwrap();
        assert_eq!(parse(&serde_json::to_string(&kept).unwrap()), Some(kept));
        assert_eq!(parse::<ChangeMark>("{}"), None);
    }
}
