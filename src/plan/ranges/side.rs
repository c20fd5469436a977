//! The SQL that reads ranges of keys on one side of a comparison.

use super::{Bound, Range, RangeColumn, RangeOrder, joined};
use crate::pg::ident::quote_literal;
use crate::plan::checksum::{self, Alphabet, HASH};
use crate::plan::compare::Comparison;
use crate::plan::form::{AS_IT_IS, ComparedSide, Form};

/// Number of buckets of row hashes, for a table without a key. A power of two.
pub const HASH_BUCKETS: usize = 64;

/// One side of a table that is compared.
#[derive(Clone, Debug)]
pub struct SideSql<'a> {
    /// The columns that are compared.
    pub comparison: &'a Comparison,
    /// The side.
    pub side: ComparedSide,
    /// How its texts are converted to the same bytes as the other side's.
    pub alphabet: Alphabet,
    /// The target's relation as a FROM item.
    pub target_from: String,
}

impl SideSql<'_> {
    /// Returns the number of rows and the sums of all rows.
    pub fn digest(&self) -> String {
        checksum::digest(
            self.comparison,
            self.side,
            &self.alphabet,
            &self.target_from,
        )
    }

    /// Returns position, number of rows and sums for each of these ranges, which are disjoint and in order.
    /// Without a key, it does so for each bucket of hashes. Ranges without rows are left out.
    pub fn digests(&self, ranges: &[Range]) -> String {
        if self.comparison.key.is_empty() {
            return format!(
                "SELECT {}, {} FROM ({}) AS s GROUP BY 1",
                hash_bucket(),
                checksum::aggregates(),
                checksum::row_texts(
                    self.comparison,
                    self.side,
                    &self.alphabet,
                    &self.target_from
                ),
            );
        }
        format!(
            "SELECT b, {} FROM (SELECT {} AS t, {} AS b FROM {} WHERE {} OFFSET 0) AS s GROUP BY b",
            checksum::aggregates(),
            self.row_text(),
            self.number(ranges),
            self.rows(),
            self.within(ranges),
        )
    }

    /// Returns a sample of the keys in these ranges, about one of `one_of` (a power of two), in order: the
    /// range's position, and the texts of the key's columns.
    pub fn sample(&self, ranges: &[Range], one_of: u64, limit: u64) -> String {
        let keys: Vec<String> = (0..self.comparison.key.len())
            .map(|at| format!("k{at}"))
            .collect();
        let named: Vec<String> = self
            .orders()
            .iter()
            .zip(&keys)
            .map(|(order, name)| format!("{order} AS {name}"))
            .collect();
        let texts: Vec<String> = keys
            .iter()
            .map(|name| format!("{name}::pg_catalog.text"))
            .collect();
        // The alias `s` is needed: without it, ORDER BY would use the output texts, which have the same
        // names.
        let sorted: Vec<String> = keys.iter().map(|name| format!("s.{name}")).collect();
        format!(
            "SELECT b, {} FROM (SELECT {} AS b, {} FROM {} WHERE {}) AS s \
             WHERE (pg_catalog.hashtextextended(ROW({})::pg_catalog.text COLLATE \
             pg_catalog.\"C\", 2) & {}) = 0 ORDER BY {} LIMIT {limit}",
            texts.join(", "),
            self.number(ranges),
            named.join(", "),
            self.rows(),
            self.within(ranges),
            keys.join(", "),
            one_of.saturating_sub(1),
            sorted.join(", "),
        )
    }

    /// Returns every row of these ranges: its key as text, its hash, and the position of its range in
    /// `tops`, ordered by the bytes of key and hash. Without a key, these are buckets, and the key is
    /// empty.
    pub fn stream(&self, ranges: &[Range], tops: &[Range]) -> String {
        let key: Vec<String> = self
            .comparison
            .key
            .iter()
            .map(|column| self.form(column).of(&column.name.sql()))
            .collect();
        let key = format!("ROW({})::pg_catalog.text", key.join(", "));
        format!(
            "SELECT k, h, b FROM (SELECT k, {HASH} AS h, b FROM \
             (SELECT {} AS k, {} AS t, {} AS b FROM {} WHERE {} OFFSET 0) AS r) AS s \
             ORDER BY k, h",
            self.alphabet.spell(&key),
            self.row_text(),
            self.number(tops),
            self.rows(),
            self.within(ranges),
        )
    }

    /// The same for a table without a key: returns every row of these buckets, with an empty key.
    pub fn stream_buckets(&self, buckets: &[i32]) -> String {
        let list: Vec<String> = buckets.iter().map(ToString::to_string).collect();
        format!(
            "SELECT ''::pg_catalog.text, h, b FROM (SELECT {HASH} AS h, {} AS b FROM ({}) AS r) AS s \
             WHERE b IN ({}) ORDER BY h",
            hash_bucket(),
            checksum::row_texts(
                self.comparison,
                self.side,
                &self.alphabet,
                &self.target_from
            ),
            list.join(", "),
        )
    }

    fn row_text(&self) -> String {
        self.alphabet.spell(&self.comparison.row_text(self.side))
    }

    fn rows(&self) -> String {
        format!(
            "({}\n) AS r",
            self.comparison.select(self.side, &self.target_from)
        )
    }

    fn form(&self, column: &RangeColumn) -> Form {
        // Values are not ordered by their texts: 1.5 and 1.50 are equal.
        let compared = self
            .comparison
            .columns
            .iter()
            .find(|one| one.name == column.name);
        compared.map_or(AS_IT_IS, |one| one.form(self.side))
    }

    /// The expressions by which the key's columns are ordered.
    fn orders(&self) -> Vec<String> {
        let order = |column: &RangeColumn| {
            let form = match self.side {
                ComparedSide::Source => column.source,
                ComparedSide::Target => column.target,
            };
            let value = form.of(&column.name.sql());
            match column.order {
                RangeOrder::Value(_) => value,
                RangeOrder::Text => self.alphabet.spell(&format!("{value}::pg_catalog.text")),
                RangeOrder::Printed => self
                    .alphabet
                    .spell(&format!("ROW({value})::pg_catalog.text")),
            }
        };
        self.comparison.key.iter().map(order).collect()
    }

    /// The condition that the key is below this bound, or is not.
    fn compared(&self, operator: &str, bound: &Bound) -> String {
        let literals: Vec<String> = self
            .comparison
            .key
            .iter()
            .zip(bound)
            .map(|(column, text)| match column.order {
                RangeOrder::Value(ty) => format!("{}::pg_catalog.{ty}", quote_literal(text).trim()),
                RangeOrder::Text | RangeOrder::Printed => quote_literal(text),
            })
            .collect();
        format!(
            "({}) {operator} ({})",
            self.orders().join(", "),
            literals.join(", ")
        )
    }

    /// The condition that a key column is NULL; None if none can be.
    fn nulls(&self) -> Option<String> {
        let list: Vec<String> = self
            .comparison
            .key
            .iter()
            .filter(|column| column.nullable)
            .map(|column| format!("{} IS NULL", column.name.sql()))
            .collect();
        (!list.is_empty()).then(|| format!("({})", list.join(" OR ")))
    }

    /// Can keys contain NULL?
    pub fn has_nulls(&self) -> bool {
        self.nulls().is_some()
    }

    fn within(&self, ranges: &[Range]) -> String {
        let list: Vec<String> = joined(ranges)
            .iter()
            .map(|range| self.condition(range))
            .collect();
        if list.is_empty() {
            "false".to_owned()
        } else {
            list.join(" OR ")
        }
    }

    fn condition(&self, range: &Range) -> String {
        let never = || "false".to_owned();
        match range {
            Range::Nulls => self.nulls().unwrap_or_else(never),
            Range::Between(from, to) => {
                let parts: Vec<String> = [
                    self.nulls().map(|nulls| format!("NOT {nulls}")),
                    from.as_ref().map(|bound| self.compared(">=", bound)),
                    to.as_ref().map(|bound| self.compared("<", bound)),
                ]
                .into_iter()
                .flatten()
                .collect();
                if parts.is_empty() {
                    "true".to_owned()
                } else {
                    format!("({})", parts.join(" AND "))
                }
            }
        }
    }

    /// The position of a key's range among disjoint ranges in order. It is undefined for a key in none of
    /// them; a WHERE excludes such keys.
    fn number(&self, ranges: &[Range]) -> String {
        let nulls = ranges.iter().position(|range| *range == Range::Nulls);
        let starts: Vec<(usize, Option<&Bound>)> = ranges
            .iter()
            .enumerate()
            .filter_map(|(number, range)| match range {
                Range::Between(from, _) => Some((number, from.as_ref())),
                Range::Nulls => None,
            })
            .collect();
        let tree = self.search(&starts);
        match (nulls, self.nulls()) {
            (Some(number), Some(test)) => format!("CASE WHEN {test} THEN {number} ELSE {tree} END"),
            _ => tree,
        }
    }

    /// A binary search as nested CASE expressions.
    fn search(&self, starts: &[(usize, Option<&Bound>)]) -> String {
        match starts {
            [] => "0".to_owned(),
            [(number, _)] => number.to_string(),
            several => {
                let (low, high) = several.split_at(several.len() / 2);
                let middle = high.first().and_then(|(_, bound)| *bound);
                match middle {
                    Some(bound) => format!(
                        "CASE WHEN {} THEN {} ELSE {} END",
                        self.compared("<", bound),
                        self.search(low),
                        self.search(high)
                    ),
                    None => self.search(high),
                }
            }
        }
    }
}

fn hash_bucket() -> String {
    format!("({HASH} & {})::pg_catalog.int4", HASH_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::ident::Ident;
    use crate::plan::fixtures::column;
    use crate::plan::form::ComparedColumn;
    use crate::plan::ranges::key_column;
    use rstest::rstest;

    fn between(from: &str, to: &str) -> Range {
        let end = |text: &str| (!text.is_empty()).then(|| vec![text.to_owned()]);
        Range::Between(end(from), end(to))
    }

    fn comparison(source: &str, target: &str) -> Comparison {
        let (source, target) = (column("id", source), column("id", target));
        let compared = ComparedColumn {
            name: Ident::new("id"),
            source: AS_IT_IS,
            target: AS_IT_IS,
        };
        Comparison {
            source: "SELECT id FROM t".to_owned(),
            key: vec![key_column(&compared, &source, &target)],
            columns: vec![compared],
            left_out: Vec::new(),
            within: None,
        }
    }

    fn side(comparison: &Comparison) -> SideSql<'_> {
        SideSql {
            comparison,
            side: ComparedSide::Target,
            alphabet: Alphabet::Plain,
            target_from: "t".to_owned(),
        }
    }

    #[rstest]
    #[case("int4", "int8", "(\"id\") >= ('1'::pg_catalog.int8)")]
    #[case("uuid", "uuid", "(\"id\") >= ('1'::pg_catalog.uuid)")]
    #[case(
        "text",
        "text",
        "((\"id\"::pg_catalog.text) COLLATE pg_catalog.\"C\") >= ('1')"
    )]
    #[case(
        "mood",
        "mood",
        "((ROW(\"id\")::pg_catalog.text) COLLATE pg_catalog.\"C\") >= ('1')"
    )]
    fn keys_are_ordered_alike_on_both_servers(
        #[case] source: &str,
        #[case] target: &str,
        #[case] expected: &str,
    ) {
        let comparison = comparison(source, target);
        let sql = side(&comparison).condition(&between("1", ""));
        assert_eq!(
            sql,
            format!("(NOT (\"id\" IS NULL) AND {expected})"),
            "a view's column may be NULL"
        );
    }

    #[test]
    fn a_range_is_found_by_binary_search() {
        let comparison = comparison("int4", "int4");
        let ranges = [
            between("", "3"),
            between("3", "5"),
            between("5", ""),
            Range::Nulls,
        ];
        let is = |text: &str| format!("(\"id\") < ('{text}'::pg_catalog.int8)");
        assert_eq!(
            side(&comparison).number(&ranges),
            format!(
                "CASE WHEN (\"id\" IS NULL) THEN 3 ELSE CASE WHEN {} THEN 0 ELSE CASE WHEN {} \
                 THEN 1 ELSE 2 END END END",
                is("3"),
                is("5")
            )
        );
    }
}
