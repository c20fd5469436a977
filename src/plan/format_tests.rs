//! The format decision, class by class.

use rstest::rstest;

use super::*;
use crate::plan::fixtures::{array, column, column_of, composite, domain, labels, range, user};

const ENDS: ServerFacts<'static> = ServerFacts {
    target_version: 150_000,
    source_monetary: "C",
    target_monetary: "C",
};

fn old() -> ServerFacts<'static> {
    ServerFacts {
        target_version: 130_023,
        ..ENDS
    }
}

/// What decides, in a word: `binary`, `text`, `refused`, and `lossy` in front of the first two.
fn word(conversion: &Conversion) -> String {
    let carrier = match &conversion.carrier {
        Carrier::Binary => "binary",
        Carrier::Text(_) => "text",
        Carrier::Refused { .. } => "refused",
    };
    if conversion.lossy.is_empty() {
        carrier.to_owned()
    } else {
        format!("lossy {carrier}")
    }
}

fn decide(source: &str, target: &str) -> Conversion {
    convert(ENDS, &column("c", source), &column("c", target))
}

fn decide_types(ends: ServerFacts<'_>, source: TypeDesc, target: TypeDesc) -> Conversion {
    convert(ends, &column_of("c", source), &column_of("c", target))
}

#[rstest]
fn a_type_with_binary_io_goes_as_binary_into_itself(
    #[values(
        "bool",
        "int2",
        "int4",
        "int8",
        "float4",
        "float8",
        "numeric",
        "numeric(12,2)",
        "text",
        "varchar",
        "varchar(10)",
        "bpchar(3)",
        "name",
        "bytea",
        "date",
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "json",
        "jsonb",
        "jsonpath",
        "bit(3)",
        "varbit",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "point",
        "line",
        "lseg",
        "box",
        "path",
        "polygon",
        "circle",
        "tsvector",
        "tsquery",
        "pg_lsn",
        "xid",
        "xid8",
        "cid",
        "tid",
        "oid",
        "int4range",
        "int8range",
        "numrange",
        "int4multirange",
        "int4[]",
        "text[]",
        "varchar(5)[]",
        "int2vector",
        "oidvector",
        "char",
        "money",
        "xml",
        "citext",
        "hstore",
        "ltree",
        "cube",
        "mood",
        "mood[]"
    )]
    ty: &str,
) {
    let conversion = decide(ty, ty);
    assert_eq!(word(&conversion), "binary", "{conversion:?}");
    assert!(conversion.warnings.is_empty());
}

#[rstest]
fn a_type_without_binary_io_goes_as_text(
    #[values("aclitem", "gtsvector", "seg", "isbn", "query_int", "seg[]")] ty: &str,
) {
    let conversion = decide(ty, ty);
    assert!(
        matches!(
            &conversion.carrier,
            Carrier::Text(FormatReason::NoBinaryIo { side: "source", .. })
        ),
        "{conversion:?}"
    );
}

#[test]
fn binary_io_must_be_there_on_both_sides() {
    let source = column("c", "cube");
    let mut target = source.clone();
    target.ty.can_receive = false;
    let conversion = convert(ENDS, &source, &target);
    assert!(matches!(
        conversion.carrier,
        Carrier::Text(FormatReason::NoBinaryIo { side: "target", .. })
    ));
}

#[rstest]
fn types_that_are_oids_go_as_text(
    #[values(
        "regclass",
        "regproc",
        "regprocedure",
        "regoper",
        "regoperator",
        "regtype",
        "regrole",
        "regnamespace",
        "regconfig",
        "regdictionary",
        "regcollation",
        "regclass[]"
    )]
    ty: &str,
) {
    let conversion = decide(ty, ty);
    assert!(
        matches!(
            &conversion.carrier,
            Carrier::Text(FormatReason::EmbedsOids { .. })
        ),
        "{conversion:?}"
    );
}

#[test]
fn what_contains_an_oid_goes_as_text_and_says_where() {
    let address = composite(&[("zip", domain("int4")), ("town", domain("regclass"))]);
    let conversion = decide_types(ENDS, array(address.clone()), array(address));
    let Carrier::Text(reason) = conversion.carrier else {
        panic!("not text: {conversion:?}")
    };
    assert_eq!(
        reason.to_string(),
        "c[].town: regclass in binary is an OID, which means something else on the target"
    );
}

#[rstest]
fn what_no_server_reads_back_is_refused(
    #[values(
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
        "record"
    )]
    ty: &str,
) {
    assert_eq!(word(&decide(ty, ty)), "refused");
}

#[rstest]
// The binary allow-list.
#[case("varchar", "text", "binary")]
#[case("varchar(9)", "text", "binary")]
#[case("bpchar(3)", "text", "binary")]
#[case("name", "text", "binary")]
#[case("text", "varchar", "binary")]
#[case("text", "citext", "binary")]
#[case("citext", "text", "binary")]
#[case("mood", "text", "binary")]
#[case("mood", "varchar(3)", "binary")]
#[case("text", "mood", "binary")]
#[case("json", "text", "binary")]
#[case("text", "json", "binary")]
#[case("xml", "text", "binary")]
#[case("cidr", "inet", "binary")]
#[case("bit(3)", "varbit", "binary")]
#[case("bit(3)", "varbit(3)", "binary")]
#[case("timestamp(3)", "timestamp", "binary")]
#[case("timestamp", "timestamp(6)", "binary")]
#[case("interval(3)", "interval", "binary")]
#[case("numeric(10,2)", "numeric(12,4)", "binary")]
#[case("numeric(10,2)", "numeric", "binary")]
#[case("varchar(3)", "varchar(9)", "binary")]
#[case("bpchar(9)", "bpchar(3)", "binary")]
// Text only.
#[case("int2", "int4", "text")]
#[case("int2", "int8", "text")]
#[case("int4", "int8", "text")]
#[case("int8", "numeric", "text")]
#[case("int4", "numeric(9,0)", "text")]
#[case("int4", "text", "text")]
#[case("float8", "text", "text")]
#[case("float8", "numeric", "text")]
#[case("float4", "float8", "text")]
#[case("jsonb", "json", "text")]
#[case("jsonb", "text", "text")]
#[case("text", "jsonb", "text")]
#[case("int4range", "int8range", "text")]
#[case("int4[]", "int8[]", "text")]
#[case("varchar[]", "text[]", "text")]
#[case("uuid", "text", "text")]
#[case("text", "uuid", "text")]
#[case("ltree", "text", "text")]
#[case("text", "ltree", "text")]
// Never by the same width.
#[case("int8", "timestamp", "refused")]
#[case("timestamp", "int8", "refused")]
#[case("int8", "float8", "refused")]
#[case("int8", "money", "refused")]
#[case("money", "int8", "refused")]
#[case("int4", "float4", "refused")]
#[case("int4", "date", "refused")]
#[case("date", "int4", "refused")]
#[case("oid", "int4", "refused")]
#[case("bool", "text", "refused")]
#[case("uuid", "bytea", "refused")]
#[case("bytea", "uuid", "refused")]
#[case("text", "bytea", "refused")]
#[case("bytea", "text", "refused")]
#[case("text", "int4", "refused")]
#[case("int8", "int4", "refused")]
#[case("inet", "cidr", "refused")]
#[case("regclass", "text", "refused")]
#[case("bit(3)", "bit(5)", "refused")]
#[case("bit(5)", "varbit(3)", "refused")]
#[case("int4range", "numrange", "refused")]
#[case("int4", "int4[]", "refused")]
// Something gets lost.
#[case("numeric", "numeric(12,2)", "lossy binary")]
#[case("numeric(12,4)", "numeric(12,2)", "lossy binary")]
#[case("float8", "numeric(12,2)", "lossy text")]
#[case("timestamp", "timestamp(0)", "lossy binary")]
#[case("timestamptz(3)", "timestamptz(0)", "lossy binary")]
#[case("time", "time(3)", "lossy binary")]
#[case("interval", "interval(0)", "lossy binary")]
#[case("text", "varchar(9)", "lossy binary")]
#[case("varchar(9)", "varchar(3)", "lossy binary")]
#[case("text", "bpchar(9)", "lossy binary")]
#[case("timestamp", "date", "lossy text")]
#[case("json", "jsonb", "lossy text")]
#[case("timestamp", "timestamptz", "lossy text")]
#[case("timestamptz", "timestamp", "lossy text")]
#[case("text", "name", "lossy text")]
#[case("numeric(12,4)[]", "numeric(12,2)[]", "lossy binary")]
fn pairs_of_different_types(#[case] source: &str, #[case] target: &str, #[case] expected: &str) {
    let conversion = decide(source, target);
    assert_eq!(word(&conversion), expected, "{conversion:?}");
}

#[test]
fn an_interval_loses_only_what_is_finer_than_its_finest_field() {
    let of = |fields: i32| {
        let mut made = column("c", "interval");
        made.typmod = fields << 16 | 0xffff;
        made
    };
    let (day, year_month) = (of(1 << 3), of(1 << 2 | 1 << 1));
    assert_eq!(word(&convert(ENDS, &day, &day)), "binary");
    assert_eq!(word(&convert(ENDS, &year_month, &day)), "binary");
    assert_eq!(word(&convert(ENDS, &day, &year_month)), "lossy binary");
    assert_eq!(
        word(&convert(ENDS, &column("c", "interval"), &day)),
        "lossy binary"
    );
}

#[rstest]
#[case(&["a", "b"], &["a", "b"], "binary", false)]
#[case(&["a", "b"], &["a", "x", "b"], "binary", false)]
#[case(&["a", "b"], &["b", "a"], "binary", true)]
#[case(&["a", "b"], &["a"], "refused", false)]
fn enums_by_their_labels(
    #[case] source: &[&str],
    #[case] target: &[&str],
    #[case] expected: &str,
    #[case] warned: bool,
) {
    let conversion = decide_types(ENDS, labels(source), labels(target));
    assert_eq!(word(&conversion), expected);
    assert_eq!(!conversion.warnings.is_empty(), warned);
}

#[rstest]
#[case(domain("int4"), domain("int4"), "binary")]
#[case(domain("int4"), column("c", "int4").ty, "binary")]
#[case(column("c", "int4").ty, domain("int4"), "binary")]
// Read as binary, 5 would become 7e-45.
#[case(domain("int4"), domain("float4"), "refused")]
#[case(domain("int4"), column("c", "float4").ty, "refused")]
#[case(domain("int4"), domain("int8"), "text")]
#[case(domain("varchar(5)"), domain("varchar(3)"), "lossy binary")]
// Only two built-in OIDs are compared, so a domain's passes for its base.
#[case(array(domain("int4")), column("c", "int4[]").ty, "binary")]
#[case(array(domain("int4")), array(domain("float4")), "refused")]
#[case(array(domain("regclass")), array(domain("regclass")), "text")]
fn domains_by_their_base(
    #[case] source: TypeDesc,
    #[case] target: TypeDesc,
    #[case] expected: &str,
) {
    assert_eq!(word(&decide_types(ENDS, source, target)), expected);
}

#[rstest]
#[case(&[("a", "int4"), ("b", "text")], &[("a", "int4"), ("b", "text")], "binary")]
#[case(&[("a", "int4"), ("b", "text")], &[("b", "text"), ("a", "int4")], "refused")]
#[case(&[("a", "int4"), ("b", "text")], &[("a", "int4")], "refused")]
#[case(&[("a", "int4")], &[("z", "int4")], "refused")]
#[case(&[("a", "int4")], &[("a", "float4")], "refused")]
#[case(&[("a", "int4")], &[("a", "int8")], "text")]
#[case(&[("a", "varchar")], &[("a", "text")], "text")]
#[case(&[("a", "text")], &[("a", "citext")], "binary")]
fn composites_by_their_attributes(
    #[case] source: &[(&str, &str)],
    #[case] target: &[(&str, &str)],
    #[case] expected: &str,
) {
    let made = |list: &[(&str, &str)]| {
        let typed: Vec<_> = list
            .iter()
            .map(|(name, ty)| (*name, column(name, ty).ty))
            .collect();
        composite(&typed)
    };
    let conversion = decide_types(ENDS, made(source), made(target));
    assert_eq!(word(&conversion), expected, "{conversion:?}");
}

#[rstest]
#[case(range("span", "float8"), range("span", "float8"), "binary")]
#[case(range("span", "float8"), range("span", "float4"), "refused")]
#[case(range("span", "int4"), column("c", "int4range").ty, "binary")]
#[case(
    array(range("span", "float8")),
    array(range("span", "float8")),
    "binary"
)]
fn ranges_by_their_subtype(
    #[case] source: TypeDesc,
    #[case] target: TypeDesc,
    #[case] expected: &str,
) {
    assert_eq!(word(&decide_types(ENDS, source, target)), expected);
}

#[rstest]
#[case(column("c", "int4[]").ty, "binary")]
#[case(labels(&["a"]), "binary")]
#[case(domain("int4"), "binary")]
#[case(range("span", "float8"), "binary")]
#[case(composite(&[("a", column("c", "int4").ty)]), "binary")]
#[case(array(labels(&["a"])), "text")]
#[case(array(domain("int4")), "text")]
#[case(array(composite(&[("a", column("c", "int4").ty)])), "text")]
#[case(composite(&[("a", labels(&["a"]))]), "text")]
#[case(array(column("c", "hstore").ty), "text")]
fn a_target_of_version_13_takes_binary_only_without_oids_of_user_types(
    #[case] ty: TypeDesc,
    #[case] expected: &str,
) {
    assert_eq!(word(&decide_types(old(), ty.clone(), ty.clone())), expected);
    assert_eq!(word(&decide_types(ENDS, ty.clone(), ty)), "binary");
}

#[test]
fn char_with_the_high_bit_is_misread_by_version_13_in_text_only() {
    let conversion = convert(old(), &column("c", "char"), &column("c", "char"));
    assert_eq!(word(&conversion), "binary");
    assert_eq!(conversion.lossy_as_text.len(), 1);
    assert!(decide("char", "char").lossy_as_text.is_empty());
}

#[rstest]
#[case("en_US.UTF-8", "en_US.utf8", "binary")]
#[case("C", "POSIX", "binary")]
#[case("en_US.UTF-8", "ja_JP.UTF-8", "lossy binary")]
fn money_needs_the_same_lc_monetary(
    #[case] source_monetary: &str,
    #[case] target_monetary: &str,
    #[case] expected: &str,
) {
    let ends = ServerFacts {
        source_monetary,
        target_monetary,
        ..ENDS
    };
    let money = column("c", "money");
    assert_eq!(word(&convert(ends, &money, &money)), expected);
}

#[test]
fn an_extension_may_be_in_another_schema_but_a_user_type_of_the_same_name_is_another() {
    let mut elsewhere = column("c", "citext");
    elsewhere.ty.name.schema = crate::pg::ident::Ident::new("extensions");
    assert_eq!(
        word(&convert(ENDS, &column("c", "citext"), &elsewhere)),
        "binary"
    );
    let mine = user("citext", TypeShape::Base);
    let refused = decide_types(ENDS, mine, column("c", "text").ty);
    assert_eq!(word(&refused), "refused");
}

#[test]
fn reasons_and_refusals_name_column_and_both_types() {
    let of = |source: &str, target: &str| {
        let mut pair_of = (column("id", source), column("id", target));
        pair_of.0.type_text = "integer".to_owned();
        pair_of.1.type_text = "bigint".to_owned();
        convert(ENDS, &pair_of.0, &pair_of.1).carrier
    };
    let Carrier::Text(reason) = of("int4", "int8") else {
        panic!("not text")
    };
    assert_eq!(
        reason.to_string(),
        "id: integer → bigint differs in its binary form"
    );
    let Carrier::Refused { message, hint } = of("text", "int8") else {
        panic!("not refused")
    };
    assert_eq!(
        message,
        "id: integer → bigint: no COPY format carries one into the other"
    );
    assert!(hint.contains("set.id = 'id::bigint'"), "{hint}");
}
