//! How rows are converted to text on both sides, so that equal rows have equal texts.
//!
//! For most pairs of types, COPY prints the same text on both sides. For some pairs, the same value has two
//! spellings (1.5 and 1.50): an expression converts both to one form. Columns whose pair loses information are
//! not compared, and the result says so.

use crate::catalog::desc::{ColumnDesc, RelationDesc, TypeDesc, TypeShape};
use crate::config::spec::{OnConflict, Scope, TableSpec};
use crate::error::Side;
use crate::pg::ident::Ident;
use crate::plan::column::CopyFormat;
use crate::plan::columns::ColumnPair;
use crate::plan::form::{
    AS_IT_IS, AS_TEXT, CHAR_TO_INT, ComparedColumn, ComparedSide, Form, TEXT_TO_FLOAT8,
    TEXT_TO_JSONB, TEXT_TO_NUMERIC, TEXT_TO_UUID, WITHOUT_BLANKS, WITHOUT_ZEROS,
};
use crate::plan::format::Conversion;
use crate::plan::pairs;
use crate::plan::ranges::{self, RangeColumn};
use crate::plan::refusal::Refusal;
use crate::plan::sql;

/// Which columns of a table are compared, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The SELECT of the source's COPY, with the generated columns that both sides compute.
    pub source: String,
    /// The columns that are compared: copied and generated ones.
    pub columns: Vec<ComparedColumn>,
    /// The copied columns that cannot be compared.
    pub left_out: Vec<LeftOut>,
    /// The columns that identify a row: `key`, else the target's primary key. Empty if there is none, or if
    /// not all of its columns are copied.
    pub key: Vec<RangeColumn>,
    /// The condition on the target's rows that are compared; None for all rows.
    pub within: Option<String>,
}

/// A column that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The target's column.
    pub column: String,
    /// Why not.
    pub why: String,
    /// The job says that it may differ.
    #[serde(skip)]
    pub may_differ: bool,
}

impl Comparison {
    /// The SELECT that reads one side: the source's SELECT, or the target's columns from `target_from`,
    /// which is the target or the table that holds its rows until they are published.
    pub fn select(&self, side: ComparedSide, target_from: &str) -> String {
        if side == ComparedSide::Source {
            return self.source.clone();
        }
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| &column.name)
            .chain(self.key.iter().map(|column| &column.name))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(Ident::sql)
            .collect();
        let within = match &self.within {
            Some(condition) => format!(" WHERE ({condition}\n)"),
            None => String::new(),
        };
        format!("SELECT {} FROM {target_from}{within}", names.join(", "))
    }

    /// Why equal checksums of these rows would not prove that the copy is right.
    pub(super) fn refusals(&self, target: &RelationDesc) -> Vec<Refusal> {
        let unproven = self.left_out.iter().filter(|column| !column.may_differ);
        let columns = unproven.map(|left_out| {
            Refusal::mismatch(
                Side::Target,
                &target.name,
                format!("`verify = \"checksum\"`, but {}", left_out.why),
            )
            .in_column(&left_out.column)
            .hinted("leave the column out of `columns`, or use `verify = \"count\"`")
        });
        let unreadable = (!target.privileges.select).then(|| {
            let message = "the role lacks SELECT, which `verify = \"checksum\"` needs";
            Refusal::permission(Side::Target, &target.name, message).hinted(format!(
                "GRANT SELECT ON {} TO the role of the target",
                target.name
            ))
        });
        columns.chain(unreadable).collect()
    }

    /// The text of a row. NULL and '' differ in it, and the boundaries between values are unambiguous.
    pub fn row_text(&self, side: ComparedSide) -> String {
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.form(side).of(&column.name.sql()))
            .collect();
        format!("ROW({})::pg_catalog.text", list.join(", "))
    }
}

/// Decides how the columns of a table are compared. `select` reads them on the source.
pub(super) fn comparison(
    spec: &TableSpec,
    judged: &[(&ColumnPair<'_>, Conversion)],
    target: &RelationDesc,
    format: &CopyFormat,
    select: String,
) -> Comparison {
    let mut columns = Vec::new();
    let mut left_out = Vec::new();
    let names = spec.key.as_ref().unwrap_or(&target.primary_key);
    for (pair, conversion) in judged {
        if let Some(why) = may_differ(spec, names, &pair.target.name) {
            left_out.push(LeftOut {
                column: pair.target.name.to_string(),
                why,
                may_differ: true,
            });
            continue;
        }
        match forms(pair.source, pair.target, conversion, format) {
            Ok((source, target)) => columns.push(ComparedColumn {
                name: pair.target.name.clone(),
                source,
                target,
            }),
            Err(why) => left_out.push(LeftOut {
                column: pair.target.name.to_string(),
                why,
                may_differ: false,
            }),
        }
    }
    let key: Option<Vec<RangeColumn>> = names
        .iter()
        .map(|name| {
            let compared = columns.iter().find(|column| column.name == *name)?;
            let (pair, _) = judged.iter().find(|(pair, _)| pair.target.name == *name)?;
            Some(ranges::key_column(compared, pair.source, pair.target))
        })
        .collect();
    Comparison {
        source: select,
        columns,
        left_out,
        key: key.unwrap_or_default(),
        within: within(spec),
    }
}

/// The rows of the target that are the source's: those within `where`, if that limits them, not marked by `on_missing`,
/// and of the source that is read.
pub(super) fn within(spec: &TableSpec) -> Option<String> {
    let filter = spec.filter.as_deref();
    let filter = filter.filter(|_| spec.scope == Scope::Where);
    let unmarked = spec.on_missing.as_ref();
    let unmarked = unmarked.map(|column| format!("{} IS NULL", column.sql()));
    let of_run = sql::and(filter, unmarked.as_deref());
    sql::and(of_run.as_deref(), spec.of_source("").as_deref())
}

/// Why rows with the same key may differ in this column.
fn may_differ(spec: &TableSpec, key: &[Ident], column: &Ident) -> Option<String> {
    if spec.insert_only.contains(column) {
        return Some(format!(
            "{column}: `insert_only` leaves it alone after the insertion"
        ));
    }
    let is_kept = spec.on_conflict == OnConflict::Keep && !key.contains(column);
    is_kept.then(|| format!("{column}: `on_conflict = \"keep\"` leaves existing rows alone"))
}

fn forms(
    source: &ColumnDesc,
    target: &ColumnDesc,
    conversion: &Conversion,
    format: &CopyFormat,
) -> Result<(Form, Form), String> {
    let lossy_as_text = conversion
        .lossy_as_text
        .iter()
        .filter(|_| !format.is_binary());
    if let Some(what) = conversion.lossy.iter().chain(lossy_as_text).next() {
        return Err(what.clone());
    }
    let from = based(&source.ty, source.typmod);
    let to = based(&target.ty, target.typmod);
    whole(from, to).map_err(|why| {
        format!(
            "{}: {} → {}: {why}",
            target.name, source.type_text, target.type_text
        )
    })
}

/// A type with its typmod. A domain is replaced by its base type.
#[derive(Clone, Copy)]
struct Based<'a> {
    ty: &'a TypeDesc,
    typmod: i32,
}

fn based(ty: &TypeDesc, typmod: i32) -> Based<'_> {
    match &ty.shape {
        TypeShape::Domain { base, typmod } => based(base, *typmod),
        _ => Based { ty, typmod },
    }
}

fn whole(from: Based<'_>, to: Based<'_>) -> Result<(Form, Form), &'static str> {
    const NESTED: &str = "the two sides write the values inside differently";
    let same_inside = |a: Based<'_>, b: Based<'_>| match whole(a, b) {
        Ok((AS_IT_IS, AS_IT_IS)) => Ok((AS_IT_IS, AS_IT_IS)),
        Ok((CHAR_TO_INT, _)) => Ok((AS_IT_IS, AS_IT_IS)),
        _ => Err(NESTED),
    };
    let bare = |ty| based(ty, -1);
    match (&from.ty.shape, &to.ty.shape) {
        (TypeShape::Array(a), TypeShape::Array(b)) => {
            same_inside(based(a, from.typmod), based(b, to.typmod))
        }
        (TypeShape::Composite(a), TypeShape::Composite(b)) => {
            for (a, b) in a.iter().zip(b) {
                same_inside(based(&a.ty, a.typmod), based(&b.ty, b.typmod))?;
            }
            Ok((AS_IT_IS, AS_IT_IS))
        }
        (TypeShape::Range(a), TypeShape::Range(b))
        | (TypeShape::Multirange(a), TypeShape::Multirange(b)) => same_inside(bare(a), bare(b)),
        _ => leaf(from, to),
    }
}

fn leaf(from: Based<'_>, to: Based<'_>) -> Result<(Form, Form), &'static str> {
    let (Some(from_name), Some(to_name)) = (pairs::key(from.ty), pairs::key(to.ty)) else {
        return Ok((AS_IT_IS, AS_IT_IS));
    };
    let fixed_scale = to.typmod >= 0 && from.typmod != to.typmod;
    Ok(match (from_name, to_name) {
        // Since version 16, "char" values above 127 are printed as \377.
        ("char", "char") => (CHAR_TO_INT, CHAR_TO_INT),
        // The blanks that pad a character(n) are not significant.
        ("bpchar", "bpchar") if from.typmod != to.typmod => (AS_TEXT, AS_TEXT),
        ("bpchar", "bpchar") => (AS_IT_IS, AS_IT_IS),
        ("bpchar", "text" | "varchar" | "citext") => (AS_TEXT, WITHOUT_BLANKS),
        (_, "bpchar") => (WITHOUT_BLANKS, AS_TEXT),
        // inet omits the netmask of a single host, cidr does not.
        ("cidr", "inet") => (AS_TEXT, AS_TEXT),
        ("numeric" | "int2" | "int4" | "int8", "numeric") if fixed_scale => {
            let source = match from_name {
                "numeric" => WITHOUT_ZEROS,
                _ => AS_IT_IS,
            };
            (source, WITHOUT_ZEROS)
        }
        ("float4" | "float8", "numeric") => (TEXT_TO_NUMERIC, WITHOUT_ZEROS),
        ("float4", "float8") => (TEXT_TO_FLOAT8, AS_IT_IS),
        ("json" | "text" | "varchar", "jsonb") => (TEXT_TO_JSONB, AS_IT_IS),
        ("text" | "varchar" | "bpchar", "uuid") => (TEXT_TO_UUID, AS_IT_IS),
        ("xml", "text" | "varchar") => {
            return Err("an XML declaration is written in one format and left out in the other");
        }
        _ => (AS_IT_IS, AS_IT_IS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{array, column, column_of, composite, domain, labels, parse};
    use crate::plan::format::{self, ServerFacts};
    use rstest::rstest;

    fn of(source: &ColumnDesc, target: &ColumnDesc) -> Result<(Form, Form), String> {
        let ends = ServerFacts {
            target_version: 150_000,
            source_monetary: "C",
            target_monetary: "C",
        };
        let conversion = format::convert(ends, source, target);
        forms(source, target, &conversion, &CopyFormat::Binary)
    }

    #[rstest]
    #[case("int4", "int8", AS_IT_IS, AS_IT_IS)]
    #[case("text", "text", AS_IT_IS, AS_IT_IS)]
    #[case("numeric(10,2)", "numeric(10,2)", AS_IT_IS, AS_IT_IS)]
    #[case("numeric(10,2)", "numeric", AS_IT_IS, AS_IT_IS)]
    #[case("numeric(10,2)", "numeric(12,4)", WITHOUT_ZEROS, WITHOUT_ZEROS)]
    #[case("int4", "numeric(12,2)", AS_IT_IS, WITHOUT_ZEROS)]
    #[case("float8", "numeric", TEXT_TO_NUMERIC, WITHOUT_ZEROS)]
    #[case("float4", "float8", TEXT_TO_FLOAT8, AS_IT_IS)]
    #[case("bpchar(3)", "bpchar(5)", AS_TEXT, AS_TEXT)]
    #[case("bpchar(3)", "text", AS_TEXT, WITHOUT_BLANKS)]
    #[case("uuid", "bpchar(40)", WITHOUT_BLANKS, AS_TEXT)]
    #[case("text", "uuid", TEXT_TO_UUID, AS_IT_IS)]
    #[case("text", "jsonb", TEXT_TO_JSONB, AS_IT_IS)]
    #[case("jsonb", "text", AS_IT_IS, AS_IT_IS)]
    #[case("mood", "text", AS_IT_IS, AS_IT_IS)]
    #[case("int4[]", "int8[]", AS_IT_IS, AS_IT_IS)]
    #[case("char[]", "char[]", AS_IT_IS, AS_IT_IS)]
    fn one_value_has_one_form(
        #[case] source: &str,
        #[case] target: &str,
        #[case] source_form: Form,
        #[case] target_form: Form,
    ) {
        let found = of(&column("c", source), &column("c", target));
        assert_eq!(found, Ok((source_form, target_form)));
    }

    #[rstest]
    #[case(column("c", "numeric"), column("c", "numeric(10,2)"), "rounded")]
    #[case(column("c", "json"), column("c", "jsonb"), "duplicate keys")]
    #[case(column("c", "xml"), column("c", "text"), "XML declaration")]
    #[case(column("c", "bpchar(3)[]"), column("c", "bpchar(5)[]"), "inside")]
    #[case(
        column_of("c", composite(&[("a", parse("float4").0)])),
        column_of("c", composite(&[("a", parse("float8").0)])),
        "inside"
    )]
    fn what_cannot_be_compared_says_why(
        #[case] source: ColumnDesc,
        #[case] target: ColumnDesc,
        #[case] part: &str,
    ) {
        let why = of(&source, &target).unwrap_err();
        assert!(why.contains(part) && why.contains('c'), "{why}");
    }

    #[test]
    fn domains_are_looked_through() {
        let found = of(
            &column_of("c", domain("bpchar(3)")),
            &column("c", "bpchar(5)"),
        );
        assert_eq!(found, Ok((AS_TEXT, AS_TEXT)));
        let list = array(labels(&["a"]));
        let found = of(&column_of("c", list.clone()), &column_of("c", list));
        assert_eq!(found, Ok((AS_IT_IS, AS_IT_IS)));
    }

    #[test]
    fn a_form_is_put_around_any_column() {
        assert_eq!(AS_TEXT.of("\"{}\""), "\"{}\"::pg_catalog.text");
        assert_eq!(
            WITHOUT_ZEROS.of("\"a b\""),
            "pg_catalog.trim_scale(\"a b\")"
        );
    }
}
