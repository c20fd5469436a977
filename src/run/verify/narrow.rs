//! Locates differences: compares checksums of ranges of keys, then of smaller ranges within those that
//! differ. A table without a key is divided by the hashes of its rows.
//!
//! `merge` finds ranges in another way (`pipe/stream/buckets.rs`), because it asks another question. It trusts rows
//! that were not written since the last run, so one scan of keys and transaction ids is enough, of keys that begin
//! with an integer. Here nothing is trusted: whole rows are compared, with keys of any type or none, and a range
//! is divided where a sample says that its rows are.

use std::collections::BTreeMap;

use super::TableSides;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::checked::CheckedRow;
use crate::plan::ranges::{Bound, HASH_BUCKETS, Range};
use crate::run::checksum::Digest;
use crate::wording::counted;

/// The number of parts into which a range is divided.
const PARTS: usize = 64;

/// Sampled keys per part, so that the parts have about the same size.
const SAMPLES_PER_PART: u64 = 16;

/// A range with so few rows is not divided further: reading its rows is cheaper.
const ROWS_ENOUGH: u64 = 1000;

/// If more ranges than this differ, differences are everywhere: reading all their rows costs less than
/// dividing them.
const OPEN_MAX: usize = 16;

/// Levels of division: at most 64^5 parts.
const DEPTH_MAX: usize = 5;

/// A range, and the number of rows that each side has in it.
#[derive(Clone, Debug)]
pub(super) struct RangeRows {
    pub range: Range,
    pub source: u64,
    pub target: u64,
}

impl RangeRows {
    fn rows(&self) -> u64 {
        self.source.max(self.target)
    }
}

pub(super) struct Narrowed {
    /// The ranges of the first division, which are reported.
    pub tops: Vec<RangeRows>,
    /// The smallest ranges that differ.
    pub differing: Vec<Range>,
}

/// Finds the ranges of keys that differ. `whole` is all of both sides.
pub(super) async fn by_key(
    sides: &TableSides<'_>,
    whole: (&Digest, &Digest),
    told: &dyn Fn(&str),
) -> Result<Narrowed> {
    let mut open = vec![RangeRows {
        range: Range::all(),
        source: whole.0.rows,
        target: whole.1.rows,
    }];
    let mut tops = Vec::new();
    for depth in 0..DEPTH_MAX {
        let largest = open.iter().map(RangeRows::rows).max().unwrap_or(0);
        if depth > 0 && (largest <= ROWS_ENOUGH || open.len() > OPEN_MAX) {
            break;
        }
        told(&format!("looking into {}", counted(open.len(), "range")));
        let cuts = if largest > ROWS_ENOUGH {
            cuts(sides, &open).await?
        } else {
            Vec::new()
        };
        let mut parts: Vec<Range> = open
            .iter()
            .enumerate()
            .flat_map(|(at, part)| part.range.cut(cuts.get(at).map_or(&[][..], Vec::as_slice)))
            .collect();
        if depth > 0 && parts.len() == open.len() {
            break;
        }
        if depth == 0 && sides.source_sql.has_nulls() {
            parts.push(Range::Nulls);
        }
        told(&format!("comparing {}", counted(parts.len(), "range")));
        let digests = digests(sides, &parts).await?;
        let parts = parts.into_iter().zip(digests);
        let compared: Vec<(RangeRows, bool)> = parts
            .map(|(range, (source, target))| {
                let part = RangeRows {
                    range,
                    source: source.rows,
                    target: target.rows,
                };
                (part, source != target)
            })
            .collect();
        if depth == 0 {
            tops = compared.iter().map(|(part, _)| part.clone()).collect();
        }
        open = compared
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(part, _)| part)
            .collect();
    }
    Ok(Narrowed {
        tops,
        differing: open.into_iter().map(|part| part.range).collect(),
    })
}

/// Rows of both sides in each bucket of hashes, and which buckets differ.
pub(super) async fn by_hash(sides: &TableSides<'_>) -> Result<(Vec<RangeRows>, Vec<i32>)> {
    let buckets = vec![Range::all(); HASH_BUCKETS];
    let digests = digests(sides, &buckets).await?;
    let differing = (0..)
        .zip(&digests)
        .filter(|(_, (source, target))| source != target)
        .map(|(bucket, _)| bucket)
        .collect();
    let parts = digests
        .into_iter()
        .map(|(source, target)| RangeRows {
            range: Range::all(),
            source: source.rows,
            target: target.rows,
        })
        .collect();
    Ok((parts, differing))
}

/// Both sides' digest of each range.
async fn digests(sides: &TableSides<'_>, ranges: &[Range]) -> Result<Vec<(Digest, Digest)>> {
    let empty = Digest {
        rows: 0,
        sums: ["0".to_owned(), "0".to_owned()],
    };
    let read = |rows: Vec<CheckedRow>| -> Result<BTreeMap<i32, Digest>> {
        rows.iter()
            .map(|row| Ok((row.get(0)?, Digest::of(row, 1)?)))
            .collect()
    };
    let (source_sql, target_sql) = (
        sides.source_sql.digests(ranges),
        sides.target_sql.digests(ranges),
    );
    let what = "the checksums of ranges";
    let (source, target) = tokio::try_join!(
        sides.source.checked(Phase::Verify, what, &source_sql, &[]),
        sides.target.checked(Phase::Verify, what, &target_sql, &[]),
    )?;
    let (mut source, mut target) = (read(source)?, read(target)?);
    let mut taken = |number: i32| {
        (
            source.remove(&number).unwrap_or_else(|| empty.clone()),
            target.remove(&number).unwrap_or_else(|| empty.clone()),
        )
    };
    let digests = (0..).take(ranges.len()).map(&mut taken).collect();
    if source.is_empty() && target.is_empty() {
        return Ok(digests);
    }
    let message = "rows lie in a range that was not asked for";
    Err(Error::new(
        ErrorKind::Bug,
        Phase::Verify,
        Side::Local,
        message,
    ))
}

/// The bounds at which these ranges are divided, from a sample of the keys of the side with more rows.
async fn cuts(sides: &TableSides<'_>, open: &[RangeRows]) -> Result<Vec<Vec<Bound>>> {
    let cuttable: Vec<usize> = (0..open.len())
        .filter(|at| matches!(open[*at].range, Range::Between(..)))
        .collect();
    let ranges: Vec<Range> = cuttable.iter().map(|at| open[*at].range.clone()).collect();
    let rows: u64 = open.iter().map(RangeRows::rows).sum();
    let wanted = PARTS as u64 * SAMPLES_PER_PART * open.len() as u64;
    let one_of = (rows / wanted).max(1).next_power_of_two();
    let source: u64 = open.iter().map(|part| part.source).sum();
    let target: u64 = open.iter().map(|part| part.target).sum();
    let (side, session) = if source >= target {
        (&sides.source_sql, sides.source)
    } else {
        (&sides.target_sql, sides.target)
    };
    let sql = side.sample(&ranges, one_of, wanted * 4);
    let mut samples: Vec<Vec<Bound>> = vec![Vec::new(); open.len()];
    for row in session.query(Phase::Verify, &sql, &[]).await? {
        let number: i32 = row.get(0);
        let bound: Bound = (1..row.len()).map(|column| row.get(column)).collect();
        let place = usize::try_from(number).ok().and_then(|at| cuttable.get(at));
        if let Some(sample) = place.and_then(|at| samples.get_mut(*at)) {
            sample.push(bound);
        }
    }
    Ok(samples
        .iter()
        .zip(open)
        .map(|(sample, part)| quantiles(sample, &part.range))
        .collect())
}

/// The bounds that divide a sorted sample into equal parts.
fn quantiles(sample: &[Bound], range: &Range) -> Vec<Bound> {
    let mut bounds: Vec<Bound> = (1..PARTS)
        .filter_map(|part| sample.get(part * sample.len() / PARTS))
        .cloned()
        .collect();
    bounds.dedup();
    if let Range::Between(Some(start), _) = range {
        bounds.retain(|bound| bound != start);
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(number: usize) -> Bound {
        vec![number.to_string()]
    }

    #[test]
    fn a_sample_is_cut_into_equal_parts() {
        let sample: Vec<Bound> = (0..128).map(bound).collect();
        let bounds = quantiles(&sample, &Range::all());
        assert_eq!(bounds.len(), PARTS - 1);
        assert_eq!(bounds[0], bound(2));
        assert_eq!(bounds[62], bound(126));
    }

    #[test]
    fn a_key_that_is_there_often_is_one_bound() {
        let sample = vec![bound(7); 100];
        assert_eq!(quantiles(&sample, &Range::all()), [bound(7)]);
        let behind = Range::Between(Some(bound(7)), None);
        assert_eq!(quantiles(&sample, &behind), [] as [Bound; 0]);
        assert_eq!(quantiles(&[], &behind), [] as [Bound; 0]);
    }
}
