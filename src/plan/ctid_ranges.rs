//! Divides tables into ranges of blocks that several workers read at the same time.
//!
//! Under one snapshot and a lock, a row stays in its block, so each row is in exactly one range. There are more
//! ranges than workers, because blocks are not equally full and out-of-line values are not counted.

use crate::catalog::desc::RelationDesc;
use crate::catalog::inspected::Inspected;
use crate::plan::copy::CopyPlan;

/// The smallest range that is worth a COPY of its own.
pub const RANGE_BYTES_MIN: u64 = 4 << 20;

/// Ranges per worker: enough for the workers to end at about the same time.
const RANGES_PER_WORKER: u64 = 4;

/// The same with `resume = true`: a run that dies loses the ranges that are not complete.
const RANGES_PER_WORKER_KEPT: u64 = 16;

/// Since this version, a scan with conditions on `ctid` reads only the blocks of the range.
const RANGE_SCAN_VERSION: u32 = 140_000;

/// One COPY: of a ctid range, or of a whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtidRange<'a> {
    /// The table's position in the plan.
    pub table: usize,
    /// Its position among the ranges of the table.
    pub number: usize,
    /// The statement.
    pub copy_out: &'a str,
}

/// How many bytes one COPY should read if the workers share all of these tables. `kept`: complete ranges are kept
/// if the run dies.
pub fn range_bytes(workers: u32, tables: &[Inspected], kept: bool) -> u64 {
    let sources = tables.iter().filter_map(|table| table.source.as_ref());
    let all: u64 = sources.map(|source| source.bytes_estimate).sum();
    let per_worker = match kept {
        true => RANGES_PER_WORKER_KEPT,
        false => RANGES_PER_WORKER,
    };
    let ranges = u64::from(workers).max(1) * per_worker;
    all.div_ceil(ranges).max(RANGE_BYTES_MIN)
}

/// The conditions of the ranges of a table. Empty if it is read as a whole, as queries, views and partitioned
/// tables are.
///
/// The first range has no lower bound and the last one no upper bound, so that no row is lost if the table
/// grows between planning and reading.
pub fn conditions(source: &RelationDesc, range_bytes: u64) -> Vec<String> {
    let Some(blocks) = source.blocks.filter(|_| is_large(source, range_bytes)) else {
        return Vec::new();
    };
    let count = range_count(source, range_bytes).min(blocks);
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

/// The warning about a large table that is read as a whole because of its server's version.
pub fn note(source: &RelationDesc, range_bytes: u64) -> Option<String> {
    let old = source.server_version < RANGE_SCAN_VERSION;
    (old && source.blocks.is_some() && is_large(source, range_bytes)).then(|| {
        "one worker reads it: before version 14, PostgreSQL would read the whole table for every \
         piece of it"
            .to_owned()
    })
}

fn is_large(source: &RelationDesc, range_bytes: u64) -> bool {
    range_count(source, range_bytes) > 1
}

fn range_count(source: &RelationDesc, range_bytes: u64) -> u64 {
    source.bytes_estimate.div_ceil(range_bytes.max(1))
}

/// The ranges in the order in which workers take them. One worker follows the order of the plan. Several
/// workers take the largest first, so that no large range is left at the end. A table of unknown size may be
/// the largest.
pub fn queue(tables: &[CopyPlan], workers: u32) -> Vec<CtidRange<'_>> {
    let mut sized: Vec<(u64, CtidRange<'_>)> = Vec::new();
    for (table, copy) in tables.iter().enumerate() {
        let count = copy.ctid_ranges.len().max(1) as u64;
        let bytes = copy.bytes_estimate.map_or(u64::MAX, |bytes| bytes / count);
        let range = |(number, copy_out)| {
            let range = CtidRange {
                table,
                number,
                copy_out,
            };
            (bytes, range)
        };
        sized.extend(statements(copy).enumerate().map(range));
    }
    if workers > 1 {
        sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    }
    sized.into_iter().map(|(_, range)| range).collect()
}

/// The statements that read one table.
pub fn statements(copy: &CopyPlan) -> impl Iterator<Item = &str> {
    let whole = (!copy.is_cut()).then_some(&copy.copy_out);
    whole
        .into_iter()
        .chain(&copy.ctid_ranges)
        .map(String::as_str)
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
    #[case(4, &[1 << 30], false, 64 << 20)]
    #[case(4, &[1 << 20, 1 << 20], false, RANGE_BYTES_MIN)]
    #[case(2, &[512 << 20, 512 << 20], false, 128 << 20)]
    #[case::kept(2, &[512 << 20, 512 << 20], true, 32 << 20)]
    fn pieces_are_as_large_as_makes_a_few_for_each_worker(
        #[case] workers: u32,
        #[case] bytes: &[u64],
        #[case] kept: bool,
        #[case] expected: u64,
    ) {
        let entry = |bytes: &u64| fixtures::inspected(table(*bytes, None), table(0, None));
        let tables: Vec<Inspected> = bytes.iter().map(entry).collect();
        assert_eq!(range_bytes(workers, &tables, kept), expected);
    }
}
