//! Checksums of rows: the SQL that computes one on a server, independent of the order of the rows.
//!
//! `hashtextextended` gives the same number for the same bytes in every version since 11, on every platform of
//! one byte order. Each row is hashed twice, with different seeds, and the hashes are added up. A sum does not
//! depend on the order, and a duplicate row counts twice, which XOR would cancel. Sums are numeric and do not
//! overflow. The text of a row is hashed, because hashes of binary values differ between versions.

use crate::pg::ident::quote_literal;
use crate::plan::compare::Comparison;
use crate::plan::form::ComparedSide;

/// The seed of the second hash. It must differ from the first seed.
const SECOND_SEED: i64 = 0x7461_626c_6566;

/// How a text becomes bytes to hash and sort by that are the same on both servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// The text itself: both databases use UTF8.
    Plain,
    /// The text converted to UTF8, in hex.
    Converted {
        /// The encoding of the database.
        database: String,
        /// The actual encoding of its texts: for SQL_ASCII the server's `encoding`.
        written: String,
    },
}

impl Alphabet {
    /// A text expression whose bytes are the same on both servers.
    pub fn spell(&self, text: &str) -> String {
        match self {
            Alphabet::Plain => format!("({text}) COLLATE pg_catalog.\"C\""),
            Alphabet::Converted { database, written } => format!(
                "pg_catalog.encode(pg_catalog.convert(pg_catalog.convert_to({text}, {}), {}, \
                 'UTF8'), 'hex') COLLATE pg_catalog.\"C\"",
                quote_literal(database),
                quote_literal(written)
            ),
        }
    }

    /// Decodes what `spell` returned for a text.
    pub fn read(&self, spelled: &str) -> String {
        match self {
            Alphabet::Plain => spelled.to_owned(),
            Alphabet::Converted { .. } => unhex(spelled),
        }
    }
}

fn unhex(hex: &str) -> String {
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a number that shows whether two servers compute the same hashes.
pub const PROBE: &str = "pg_catalog.hashtextextended('tableferry' COLLATE pg_catalog.\"C\", 1)";

/// The first hash of the text in column `t`.
pub const HASH: &str = "pg_catalog.hashtextextended(t, 0)";

/// The number of rows and the two sums, as aggregates over column `t`. Sums are numeric, so they do not
/// overflow.
pub fn aggregates() -> String {
    format!(
        "pg_catalog.count(*), \
         COALESCE(pg_catalog.sum({HASH}), 0)::pg_catalog.text, \
         COALESCE(pg_catalog.sum(pg_catalog.hashtextextended(t, {SECOND_SEED})), 0)\
         ::pg_catalog.text"
    )
}

/// The rows of one side, each as a text in column `t`. `OFFSET 0` prevents the server from computing the
/// text once for each hash. It does not prevent parallel plans.
pub fn row_texts(
    comparison: &Comparison,
    side: ComparedSide,
    alphabet: &Alphabet,
    target_from: &str,
) -> String {
    format!(
        "SELECT {} AS t FROM ({}\n) AS r OFFSET 0",
        alphabet.spell(&comparison.row_text(side)),
        comparison.select(side, target_from)
    )
}

/// The query for one side's digest: the number of rows, and both sums as text.
pub fn digest(
    comparison: &Comparison,
    side: ComparedSide,
    alphabet: &Alphabet,
    target_from: &str,
) -> String {
    format!(
        "SELECT {} FROM ({}) AS s",
        aggregates(),
        row_texts(comparison, side, alphabet, target_from)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_other_encodings_are_hashed_as_utf8() {
        let latin = Alphabet::Converted {
            database: "SQL_ASCII".to_owned(),
            written: "LATIN1".to_owned(),
        };
        assert_eq!(
            latin.spell("x"),
            "pg_catalog.encode(pg_catalog.convert(pg_catalog.convert_to(x, 'SQL_ASCII'), \
             'LATIN1', 'UTF8'), 'hex') COLLATE pg_catalog.\"C\""
        );
        assert_eq!(latin.read("6772c3b6"), "grö");
        assert_eq!(Alphabet::Plain.read("grö"), "grö");
    }
}
