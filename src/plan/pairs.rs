//! Pairs of types with different structures. These tables were determined by experiment.

use crate::catalog::desc::{TypeDesc, TypeShape};

/// How a pair of types can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownPair {
    /// The same type.
    Same,
    /// Different types with the same binary form and meaning.
    Binary,
    /// Text only.
    Text,
    /// Text only, with a loss of information.
    TextLossy(&'static str),
    /// Text only, with a warning.
    TextWarned(&'static str),
    /// The same type, whose binary form contains an OID.
    OidInside,
    /// Not at all.
    Not,
}

/// Types whose binary form is the OID of an object of the same server.
const OID_TYPES: [&str; 11] = [
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regclass",
    "regtype",
    "regrole",
    "regnamespace",
    "regconfig",
    "regdictionary",
    "regcollation",
];

/// Types whose input functions reject every value.
const INTERNAL_TYPES: [&str; 6] = [
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
];

/// Different types with the same binary form and meaning. `#enum` stands for any enum; its binary form is
/// the label.
const BINARY_PAIRS: &[(&str, &[&str])] = &[
    ("text", &["varchar", "bpchar", "citext", "json", "#enum"]),
    ("varchar", &["text", "bpchar", "citext", "json", "#enum"]),
    ("bpchar", &["text", "varchar", "citext"]),
    ("name", &["text", "varchar", "bpchar", "citext"]),
    ("citext", &["text", "varchar", "bpchar"]),
    ("json", &["text", "varchar"]),
    ("xml", &["text", "varchar"]),
    ("#enum", &["text", "varchar"]),
    ("cidr", &["inet"]),
    ("bit", &["varbit"]),
];

/// Different types of which the target's reads the source's text without loss.
const TEXT_PAIRS: &[(&str, &[&str])] = &[
    (
        "int2",
        &["int4", "int8", "numeric", "text", "varchar", "bpchar"],
    ),
    ("int4", &["int8", "numeric", "text", "varchar", "bpchar"]),
    ("int8", &["numeric", "text", "varchar", "bpchar"]),
    (
        "float4",
        &["float8", "numeric", "text", "varchar", "bpchar"],
    ),
    ("float8", &["numeric", "text", "varchar", "bpchar"]),
    ("numeric", &["text", "varchar"]),
    ("jsonb", &["json", "text", "varchar"]),
    ("uuid", &["text", "varchar", "bpchar"]),
    ("text", &["uuid", "ltree"]),
    ("varchar", &["uuid", "ltree"]),
    ("bpchar", &["uuid"]),
    ("ltree", &["text", "varchar"]),
];

const DROPS_TIME: &str = "the time of day is lost";
const MOVES_ZONE: &str = "the time zone is lost, or is taken to be UTC";
const REWRITES_JSON: &str = "spaces, the order of keys and duplicate keys are lost";
const CUTS_NAME: &str = "values longer than 63 bytes are truncated";

/// Different types of which the target's reads the source's text with a loss of information.
const LOSSY_TEXT_PAIRS: &[(&str, &str, &str)] = &[
    ("timestamp", "date", DROPS_TIME),
    ("timestamptz", "date", DROPS_TIME),
    ("timestamp", "timestamptz", MOVES_ZONE),
    ("timestamptz", "timestamp", MOVES_ZONE),
    ("json", "jsonb", REWRITES_JSON),
    ("text", "name", CUTS_NAME),
    ("varchar", "name", CUTS_NAME),
];

/// Looks up a pair of types, regardless of their element types.
pub fn known(source: &TypeDesc, target: &TypeDesc) -> KnownPair {
    if same_type(source, target) {
        return match key(source) {
            Some(name) if OID_TYPES.contains(&name) => KnownPair::OidInside,
            _ => KnownPair::Same,
        };
    }
    let (Some(from), Some(to)) = (key(source), key(target)) else {
        return KnownPair::Not;
    };
    let listed = |pairs: &[(&str, &[&str])]| {
        pairs
            .iter()
            .any(|(source, targets)| *source == from && targets.contains(&to))
    };
    if listed(BINARY_PAIRS) {
        return KnownPair::Binary;
    }
    if listed(TEXT_PAIRS) {
        return KnownPair::Text;
    }
    if matches!(from, "text" | "varchar") && to == "jsonb" {
        return KnownPair::TextWarned(REWRITES_JSON);
    }
    LOSSY_TEXT_PAIRS
        .iter()
        .find(|(source, target, _)| (*source, *target) == (from, to))
        .map_or(KnownPair::Not, |(_, _, what)| KnownPair::TextLossy(what))
}

/// Why values of this type cannot be copied.
pub fn never_copied(ty: &TypeDesc) -> Option<String> {
    let name = ty.name.name.as_str();
    if ty.shape == TypeShape::Pseudo {
        return Some(format!("a value of pseudo-type {name} cannot be copied"));
    }
    (ty.is_builtin() && INTERNAL_TYPES.contains(&name))
        .then(|| format!("{name} is internal to PostgreSQL: no server reads it back"))
}

/// Is it the same type on both servers? Types are compared by name and, if they contain other types, by
/// structure. An extension may be installed in different schemas on the two servers.
pub fn same_type(a: &TypeDesc, b: &TypeDesc) -> bool {
    let same_name = match (&a.extension, &b.extension) {
        (Some(one), Some(other)) => one == other && a.name.name == b.name.name,
        _ => a.name == b.name,
    };
    same_name
        && match (&a.shape, &b.shape) {
            (TypeShape::Base, TypeShape::Base) | (TypeShape::Enum(_), TypeShape::Enum(_)) => true,
            (TypeShape::Domain { base: x, .. }, TypeShape::Domain { base: y, .. }) => {
                same_type(x, y)
            }
            (TypeShape::Range(x), TypeShape::Range(y))
            | (TypeShape::Multirange(x), TypeShape::Multirange(y))
            | (TypeShape::Array(x), TypeShape::Array(y)) => same_type(x, y),
            (TypeShape::Composite(x), TypeShape::Composite(y)) => {
                x.len() == y.len()
                    && x.iter()
                        .zip(y)
                        .all(|(x, y)| x.name == y.name && same_type(&x.ty, &y.ty))
            }
            _ => false,
        }
}

/// The name of a type in the tables above; None for user-defined types.
pub fn key(ty: &TypeDesc) -> Option<&str> {
    match &ty.shape {
        TypeShape::Enum(_) => Some("#enum"),
        TypeShape::Base if ty.is_builtin() => Some(ty.name.name.as_str()),
        TypeShape::Base if ty.extension.as_deref() == Some(ty.name.name.as_str()) => {
            Some(ty.name.name.as_str())
        }
        _ => None,
    }
}

/// A type's name as in SQL.
pub fn type_name(ty: &TypeDesc) -> String {
    if let TypeShape::Array(element) = &ty.shape {
        return format!("{}[]", type_name(element));
    }
    if !ty.is_builtin() {
        return ty.name.to_string();
    }
    match ty.name.name.as_str() {
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "bool" => "boolean",
        "varchar" => "character varying",
        "bpchar" => "character",
        "char" => "\"char\"",
        "varbit" => "bit varying",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        other => other,
    }
    .to_owned()
}
