//! Divides tables into ranges of blocks that several workers read at the same time.
//!
//! Under one snapshot and a lock, a row stays in its block, so each row is in exactly one range. There are more
//! ranges than workers, because blocks are not equally full and out-of-line values are not counted.

use crate::catalog::desc::{Inspected, RelationDesc};
use crate::plan::copy::CopyPlan;

/// A COPY that reads less than this is not worth its own.
pub const PIECE_BYTES_MIN: u64 = 4 << 20;

/// Pieces of a job for each of its workers, so that they end at about the same time.
const PIECES_A_WORKER: u64 = 4;

/// A scan of a range of blocks reads only those, since this version.
const RANGE_SCAN_VERSION: u32 = 140_000;

/// One COPY of several that load a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which of the plan's tables.
    pub table: usize,
    /// The statement.
    pub copy_out: &'a str,
}

/// How much one COPY should read, for workers that share all of these tables.
pub fn piece_bytes(workers: u32, tables: &[Inspected]) -> u64 {
    let sources = tables.iter().filter_map(|table| table.source.as_ref());
    let all: u64 = sources.map(|source| source.bytes_estimate).sum();
    let pieces = u64::from(workers).max(1) * PIECES_A_WORKER;
    all.div_ceil(pieces).max(PIECE_BYTES_MIN)
}

/// The conditions whose rows together are all of the table's; empty where it is read in one piece.
///
/// The first range has no beginning and the last no end, so that nothing is lost between the table as
/// it was looked at and as it is read. A query, a view, a partitioned table: one piece.
pub fn conditions(source: &RelationDesc, piece_bytes: u64) -> Vec<String> {
    let Some(blocks) = source.blocks.filter(|_| is_large(source, piece_bytes)) else {
        return Vec::new();
    };
    let count = pieces(source, piece_bytes).min(blocks);
    if source.server_version < RANGE_SCAN_VERSION || count < 2 {
        return Vec::new();
    }
    let edge = |at: u64| format!("'({},0)'::pg_catalog.tid", blocks * at / count);
    let condition = |at: u64| {
        let from = (at > 0).then(|| format!("ctid >= {}", edge(at)));
        let until = (at + 1 < count).then(|| format!("ctid < {}", edge(at + 1)));
        [from, until].into_iter().flatten().collect::<Vec<_>>()
    };
    (0..count).map(|at| condition(at).join(" AND ")).collect()
}

/// Why a large table is read in one piece, where that is for its server's version.
pub fn note(source: &RelationDesc, piece_bytes: u64) -> Option<String> {
    let old = source.server_version < RANGE_SCAN_VERSION;
    (old && source.blocks.is_some() && is_large(source, piece_bytes)).then(|| {
        "one worker reads it: before version 14, PostgreSQL would read the whole table for every \
         piece of it"
            .to_owned()
    })
}

fn is_large(source: &RelationDesc, piece_bytes: u64) -> bool {
    pieces(source, piece_bytes) > 1
}

fn pieces(source: &RelationDesc, piece_bytes: u64) -> u64 {
    source.bytes_estimate.div_ceil(piece_bytes.max(1))
}

/// The ranges in the order in which workers take them. One worker follows the order of the plan. Several
/// workers take the largest first, so that no large range is left at the end. A table of unknown size may be
/// the largest.
pub fn queue(tables: &[CopyPlan], workers: u32) -> Vec<Piece<'_>> {
    let mut sized: Vec<(u64, Piece<'_>)> = Vec::new();
    for (table, copy) in tables.iter().enumerate() {
        let count = copy.pieces.len().max(1) as u64;
        let bytes = copy.bytes_estimate.map_or(u64::MAX, |bytes| bytes / count);
        let piece = |copy_out| (bytes, Piece { table, copy_out });
        sized.extend(statements(copy).map(piece));
    }
    if workers > 1 {
        sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    }
    sized.into_iter().map(|(_, piece)| piece).collect()
}

/// The statements that read one table.
pub fn statements(copy: &CopyPlan) -> impl Iterator<Item = &str> {
    let whole = copy.pieces.is_empty().then_some(&copy.copy_out);
    whole.into_iter().chain(&copy.pieces).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use rstest::rstest;

    fn table(bytes: u64, blocks: Option<u64>) -> RelationDesc {
        let mut table = fixtures::table("t", Vec::new());
        (table.bytes_estimate, table.blocks) = (bytes, blocks);
        table
    }

    #[rstest]
    #[case::small(100, Some(50), &[])]
    #[case::halves(200, Some(50), &["ctid < '(25,0)'::pg_catalog.tid", "ctid >= '(25,0)'::pg_catalog.tid"])]
    #[case::thirds(201, Some(50), &[
        "ctid < '(16,0)'::pg_catalog.tid",
        "ctid >= '(16,0)'::pg_catalog.tid AND ctid < '(33,0)'::pg_catalog.tid",
        "ctid >= '(33,0)'::pg_catalog.tid",
    ])]
    #[case::one_block_of_large_values(1000, Some(1), &[])]
    #[case::no_blocks(1000, None, &[])]
    #[case::empty(0, Some(0), &[])]
    fn a_large_table_is_cut_into_ranges_that_cover_all(
        #[case] bytes: u64,
        #[case] blocks: Option<u64>,
        #[case] expected: &[&str],
    ) {
        assert_eq!(conditions(&table(bytes, blocks), 100), expected);
    }

    #[test]
    fn an_old_server_reads_a_table_in_one_piece_and_says_so() {
        let mut old = table(1000, Some(50));
        old.server_version = 130_023;
        assert_eq!(conditions(&old, 100), Vec::<String>::new());
        assert!(note(&old, 100).is_some());
        assert_eq!(note(&old, 1000), None);
        old.server_version = 140_000;
        assert_eq!(note(&old, 100), None);
    }

    #[rstest]
    #[case(4, &[1 << 30], 64 << 20)]
    #[case(4, &[1 << 20, 1 << 20], PIECE_BYTES_MIN)]
    #[case(2, &[512 << 20, 512 << 20], 128 << 20)]
    fn pieces_are_as_large_as_makes_a_few_for_each_worker(
        #[case] workers: u32,
        #[case] bytes: &[u64],
        #[case] expected: u64,
    ) {
        let entry = |bytes: &u64| fixtures::inspected(table(*bytes, None), table(0, None));
        let tables: Vec<Inspected> = bytes.iter().map(entry).collect();
        assert_eq!(piece_bytes(workers, &tables), expected);
    }
}
