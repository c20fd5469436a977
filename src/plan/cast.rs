//! The expression that converts a source column to the type of the target column. Used for hints only.

use crate::catalog::desc::{ColumnDesc, TypeDesc, TypeShape};
use crate::plan::{pairs, typmod};

/// String types: any type can be cast to them and from them through its text.
const STRINGS: [&str; 5] = ["text", "varchar", "bpchar", "name", "citext"];

/// Other casts that `pg_cast` contains in every supported version.
const CASTS: &[(&str, &[&str])] = &[
    ("bit", &["int4", "int8", "varbit"]),
    ("bool", &["int4"]),
    ("box", &["circle", "lseg", "point", "polygon"]),
    ("char", &["int4"]),
    ("cidr", &["inet"]),
    ("circle", &["box", "point", "polygon"]),
    ("date", &["timestamp", "timestamptz"]),
    ("float4", &["float8", "int2", "int4", "int8", "numeric"]),
    ("float8", &["float4", "int2", "int4", "int8", "numeric"]),
    ("inet", &["cidr"]),
    ("int2", &["float4", "float8", "int4", "int8", "numeric"]),
    (
        "int4",
        &[
            "bit", "bool", "char", "float4", "float8", "int2", "int8", "money", "numeric",
        ],
    ),
    (
        "int8",
        &[
            "bit", "float4", "float8", "int2", "int4", "money", "numeric",
        ],
    ),
    ("interval", &["time"]),
    ("json", &["jsonb"]),
    (
        "jsonb",
        &[
            "bool", "float4", "float8", "int2", "int4", "int8", "json", "numeric",
        ],
    ),
    ("lseg", &["point"]),
    ("macaddr", &["macaddr8"]),
    ("macaddr8", &["macaddr"]),
    ("money", &["numeric"]),
    (
        "numeric",
        &["float4", "float8", "int2", "int4", "int8", "money"],
    ),
    ("path", &["polygon"]),
    ("point", &["box"]),
    ("polygon", &["box", "circle", "path", "point"]),
    ("time", &["interval", "timetz"]),
    ("timestamp", &["date", "time", "timestamptz"]),
    ("timestamptz", &["date", "time", "timestamp", "timetz"]),
    ("timetz", &["time"]),
    ("varbit", &["bit"]),
];

/// Expressions for pairs without a cast, or with a cast that gives unexpected values; `@` is the column.
const CONVERSIONS: &[(&[&str], &[&str], &str)] = &[
    (&["uuid"], &["bytea"], "uuid_send(@)"),
    (&["bytea"], &["uuid"], "encode(@, 'hex')::uuid"),
    // A cast would interpret backslashes.
    (
        &["text", "varchar", "bpchar"],
        &["bytea"],
        "convert_to(@, 'UTF8')",
    ),
    (
        &["int2", "int8", "float4", "float8", "numeric"],
        &["bool"],
        "@ <> 0",
    ),
    (&["bool"], &["int2"], "@::integer::smallint"),
    (&["bool"], &["int8"], "@::integer::bigint"),
    (&["bool"], &["numeric"], "@::integer::numeric"),
    (&["money"], &["int8"], "@::numeric::bigint"),
    (&["money"], &["float8"], "@::numeric::double precision"),
];

/// Returns the expression as SQL.
pub fn expression(source: &ColumnDesc, target: &ColumnDesc) -> Option<String> {
    let column = target.name.to_string();
    let from = innermost(&source.ty);
    let (to, text) = match &target.ty.shape {
        // The source may not have the domain. A domain takes values of its base type.
        TypeShape::Domain { base, typmod } => (innermost(base), typmod::for_sql(base, *typmod)),
        _ => (&target.ty, target.type_text.clone()),
    };
    if let (Some(from), Some(to)) = (pairs::key(from), pairs::key(to)) {
        let known = CONVERSIONS
            .iter()
            .find(|(sources, targets, _)| sources.contains(&from) && targets.contains(&to));
        if let Some((_, _, sql)) = known {
            return Some(sql.replace('@', &column));
        }
    }
    is_castable(from, to).then(|| format!("{column}::{text}"))
}

/// Only casts to a built-in type: the source's server may not have others.
fn is_castable(from: &TypeDesc, to: &TypeDesc) -> bool {
    if let (TypeShape::Array(from), TypeShape::Array(to)) = (&from.shape, &to.shape) {
        return is_castable(innermost(from), innermost(to));
    }
    let is_string = |ty| pairs::key(ty).is_some_and(|name| STRINGS.contains(&name));
    let by_text = is_string(from) || is_string(to);
    let listed = match (pairs::key(from), pairs::key(to)) {
        (Some(from), Some(to)) => CASTS
            .iter()
            .any(|(source, targets)| *source == from && targets.contains(&to)),
        _ => false,
    };
    to.is_builtin() && (by_text || listed || pairs::same_type(from, to))
}

fn innermost(ty: &TypeDesc) -> &TypeDesc {
    match &ty.shape {
        TypeShape::Domain { base, .. } => innermost(base),
        _ => ty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{column, column_of, domain, labels, range};
    use rstest::rstest;

    #[rstest]
    #[case("text", "int8", Some("v::int8"))]
    #[case("int8", "int4", Some("v::int4"))]
    #[case("numeric(10,2)", "money", Some("v::money"))]
    #[case("point", "varchar(20)", Some("v::varchar(20)"))]
    #[case("bit(3)", "bit(5)", Some("v::bit(5)"))]
    #[case("text", "int4[]", Some("v::int4[]"))]
    #[case("int8[]", "int4[]", Some("v::int4[]"))]
    #[case("uuid", "bytea", Some("uuid_send(v)"))]
    #[case("text", "bytea", Some("convert_to(v, 'UTF8')"))]
    #[case("int8", "bool", Some("v <> 0"))]
    #[case("bool", "int4", Some("v::int4"))]
    #[case("uuid", "int4", None)]
    #[case("uuid[]", "bytea[]", None)]
    #[case("int4", "int4[]", None)]
    #[case("text", "citext", None)]
    fn only_what_works_is_proposed(
        #[case] source: &str,
        #[case] target: &str,
        #[case] expected: Option<&str>,
    ) {
        let proposed = expression(&column("v", source), &column("v", target));
        assert_eq!(proposed.as_deref(), expected);
    }

    #[rstest]
    #[case(domain("uuid"), domain("bytea"), Some("uuid_send(v)"))]
    #[case(domain("int8"), domain("int4"), Some("v::integer"))]
    #[case(domain("text"), domain("bpchar"), Some("v::bpchar"))]
    #[case(domain("text"), domain("bpchar(3)"), Some("v::character(3)"))]
    #[case(labels(&["a"]), column("", "int4").ty, None)]
    #[case(column("", "text").ty, labels(&["a"]), None)]
    #[case(range("r", "int4"), range("r", "int8"), None)]
    fn domains_are_looked_through_and_other_user_types_left_alone(
        #[case] source: TypeDesc,
        #[case] target: TypeDesc,
        #[case] expected: Option<&str>,
    ) {
        let proposed = expression(&column_of("v", source), &column_of("v", target));
        assert_eq!(proposed.as_deref(), expected);
    }
}
