//! How far a table with a watermark has been read.

use serde::{Deserialize, Serialize};

/// How far a table had been read; kept in the ledger as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The highest value of the watermark's column.
    pub value: Option<String>,
    /// Transactions below this had ended at the snapshot.
    pub xmin: u64,
    /// The source's cluster, whose transactions these are.
    pub system: String,
    /// A hash of what was read: the rows of another query need not have been.
    pub query: String,
}

impl Mark {
    /// Can a source go on from here, which is this cluster and has come to this transaction? A
    /// restored backup has not come that far, and 32 bits can't tell transactions apart that are
    /// more than half a circle away.
    pub fn is_usable(&self, system: &str, xmax: u64) -> bool {
        self.system == system && self.xmin <= xmax && xmax - self.xmin < 1 << 31
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn mark(xmin: u64) -> Mark {
        Mark {
            value: Some("2026-11-21 04:00:00+00".to_owned()),
            xmin,
            system: "73".to_owned(),
            query: "abc".to_owned(),
        }
    }

    #[rstest]
    #[case(700, "73", 700, true)]
    #[case(700, "73", 900, true)]
    #[case::another_cluster(700, "74", 900, false)]
    #[case::restored_from_a_backup(700, "73", 600, false)]
    #[case::further_than_half_the_circle(700, "73", 700 + (1 << 31), false)]
    fn a_mark_is_only_good_for_the_transactions_it_knows(
        #[case] xmin: u64,
        #[case] system: &str,
        #[case] xmax: u64,
        #[case] usable: bool,
    ) {
        assert_eq!(mark(xmin).is_usable(system, xmax), usable);
    }

    #[test]
    fn a_mark_is_kept_as_text() {
        let kept = mark(u64::from(u32::MAX) + 7);
        assert_eq!(Mark::parse(&kept.to_text()), Some(kept));
        assert_eq!(Mark::parse("2026-11-21"), None);
    }
}
