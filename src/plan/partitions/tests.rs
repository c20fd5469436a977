use super::*;
use rstest::rstest;

fn partition(name: &str, bound: &str) -> Partition {
    let json = serde_json::json!({
        "schema": "public", "name": name, "bound": bound, "is_table": true, "may_create": true,
        "unlogged": false, "grants": [], "own": [],
    });
    serde_json::from_value(json).unwrap()
}

fn partitioned(strategy: &str, ty: &str, partitions: &[(&str, &str)]) -> Constraints {
    Constraints {
        partitioning: Some(Partitioning {
            strategy: strategy.to_owned(),
            column: Some("k".to_owned()),
            ty: Some(ty.to_owned()),
            is_owner: true,
            partitions: partitions
                .iter()
                .map(|(name, bound)| partition(name, bound))
                .collect(),
        }),
        ..Constraints::default()
    }
}

/// The partitions that are made: their names and bounds.
fn made(constraints: &Constraints, keys: &[Option<&str>]) -> Result<Vec<String>, String> {
    let parent = QualifiedName::new("public", "t");
    let keys: Vec<Option<String>> = keys.iter().map(|key| key.map(str::to_owned)).collect();
    let new = new(&parent, constraints, &keys)?;
    let shown = |new: &NewPartition| {
        let (_, bound) = new.statements[1].split_once(" FOR VALUES ").unwrap();
        format!("{} {bound}", new.name.name.as_str())
    };
    Ok(new.iter().map(shown).collect())
}

const MONTHS: [(&str, &str); 2] = [
    (
        "t_2026_01",
        "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    ),
    (
        "t_2026_02",
        "FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    ),
];

#[rstest]
#[case::months("date", &MONTHS, &["2026-03-31", "2026-05-01", "2026-03-01"],
    &["t_2026_03 FROM ('2026-03-01') TO ('2026-04-01')", "t_2026_05 FROM ('2026-05-01') TO ('2026-06-01')"])]
#[case::months_before("date", &MONTHS, &["2025-12-31", "2024-02-29"],
    &["t_2024_02 FROM ('2024-02-01') TO ('2024-03-01')", "t_2025_12 FROM ('2025-12-01') TO ('2026-01-01')"])]
#[case::a_gap("date", &[MONTHS[0], ("t_2026_04", "FOR VALUES FROM ('2026-04-01') TO ('2026-05-01')")], &["2026-03-05"],
    &["t_2026_03 FROM ('2026-03-01') TO ('2026-04-01')"])]
#[case::one_neighbour("date", &MONTHS[..1], &["2026-02-28"], &["t_2026_02 FROM ('2026-02-01') TO ('2026-03-01')"])]
#[case::an_open_end("date", &[("t_old", "FOR VALUES FROM (MINVALUE) TO ('2026-01-01')"), MONTHS[0]], &["2026-03-05"],
    &["t_2026_03 FROM ('2026-03-01') TO ('2026-04-01')"])]
#[case::quarters("date", &[("s_2025q4", "FOR VALUES FROM ('2025-10-01') TO ('2026-01-01')")], &["2026-05-05"],
    &["s_2026q2 FROM ('2026-04-01') TO ('2026-07-01')"])]
#[case::years("date", &[("y2024", "FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')"), ("y2025", "FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')")],
    &["2026-05-05"], &["y2026 FROM ('2026-01-01') TO ('2027-01-01')"])]
#[case::weeks("date", &[("w1", "FOR VALUES FROM ('2026-02-02') TO ('2026-02-09')"), ("w2", "FOR VALUES FROM ('2026-02-09') TO ('2026-02-16')")],
    &["2026-03-01"], &["t_20260223 FROM ('2026-02-23') TO ('2026-03-02')"])]
#[case::days("timestamp with time zone",
    &[("d20260131", "FOR VALUES FROM ('2026-01-31 00:00:00+00') TO ('2026-02-01 00:00:00+00')"),
      ("d20260201", "FOR VALUES FROM ('2026-02-01 00:00:00+00') TO ('2026-02-02 00:00:00+00')")],
    &["2026-02-28 23:59:59.999999+00"], &["d20260228 FROM ('2026-02-28T00:00:00+00') TO ('2026-03-01T00:00:00+00')"])]
#[case::hours("timestamp without time zone",
    &[("h_2026_01_01_22", "FOR VALUES FROM ('2026-01-01 22:00:00') TO ('2026-01-01 23:00:00')")],
    &["2026-01-02 00:30:00"], &["h_2026_01_02_00 FROM ('2026-01-02T00:00:00') TO ('2026-01-02T01:00:00')"])]
#[case::numbers("integer", &[("t_0", "FOR VALUES FROM (0) TO (1000)"), ("t_1000", "FOR VALUES FROM (1000) TO (2000)")],
    &["5500", "-1"], &["t_m1000 FROM (-1000) TO (0)", "t_5000 FROM (5000) TO (6000)"])]
#[case::places("bigint", &[("t_p01", "FOR VALUES FROM ('0') TO ('1000')"), ("t_p02", "FOR VALUES FROM ('1000') TO ('2000')")],
    &["2500"], &["t_p03 FROM (2000) TO (3000)"])]
#[case::no_pattern("integer", &[("a", "FOR VALUES FROM (0) TO (10)"), ("b", "FOR VALUES FROM (10) TO (20)")],
    &["25"], &["t_20 FROM (20) TO (30)"])]
fn ranges_continue_their_neighbours(
    #[case] ty: &str,
    #[case] partitions: &[(&str, &str)],
    #[case] keys: &[&str],
    #[case] expected: &[&str],
) {
    let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(*key)).collect();
    assert_eq!(
        made(&partitioned("r", ty, partitions), &keys).unwrap(),
        expected
    );
}

#[rstest]
#[case::unequal("date", &[MONTHS[0], ("t_2026_02", "FOR VALUES FROM ('2026-02-01') TO ('2026-02-15')")], Some("2026-03-01"),
    "t_2026_02 and t_2026_01 are not equally wide")]
#[case::month_ends("date", &[("t", "FOR VALUES FROM ('2026-01-30') TO ('2026-02-28')"), ("u", "FOR VALUES FROM ('2026-02-28') TO ('2026-03-30')")],
    Some("2026-04-01"), "are not equally wide")]
#[case::overlap("integer", &[("t0", "FOR VALUES FROM (0) TO (10)"), ("t1", "FOR VALUES FROM (15) TO (25)")], Some("12"),
    "FROM (10) TO (20), as wide as its neighbours, would overlap partition t1")]
#[case::open("integer", &[("t0", "FOR VALUES FROM (MINVALUE) TO (10)")], Some("12"), "no partition has two bounds")]
#[case::null("integer", &[("t0", "FOR VALUES FROM (0) TO (10)")], None, "a NULL, which no range holds")]
#[case::fraction("numeric", &[("t0", "FOR VALUES FROM ('0.5') TO ('10')")], Some("12"), "the bounds of partition public.t0")]
#[case::infinity("date", &MONTHS, Some("infinity"), "a value that is no whole number or time")]
#[case::text("text", &[("t0", "FOR VALUES FROM ('a') TO ('b')")], Some("c"), "the bounds of partition public.t0")]
fn what_has_no_pattern_is_said(
    #[case] ty: &str,
    #[case] partitions: &[(&str, &str)],
    #[case] key: Option<&str>,
    #[case] said: &str,
) {
    let error = made(&partitioned("r", ty, partitions), &[key]).unwrap_err();
    assert!(error.contains(said), "{error}");
}

#[rstest]
#[case::letters(&[("t_de", "FOR VALUES IN ('DE')"), ("t_fr", "FOR VALUES IN ('FR')")], &[Some("IT"), None],
    &["t_null IN (NULL)", "t_it IN ('IT')"])]
#[case::numbers(&[("t_1", "FOR VALUES IN (1)"), ("t_23", "FOR VALUES IN (2, 3)")], &[Some("4")], &["t_4 IN ('4')"])]
#[case::quotes(&[("t_a_b", "FOR VALUES IN ('a''b')")], &[Some("c'd"), Some("c d")], &["t_c_d IN ('c d')", "t_c_d_2 IN ('c''d')"])]
#[case::no_pattern(&[("x", "FOR VALUES IN ('a', 'b')")], &[Some("C")], &["t_c IN ('C')"])]
fn each_value_gets_a_list(
    #[case] partitions: &[(&str, &str)],
    #[case] keys: &[Option<&str>],
    #[case] expected: &[&str],
) {
    assert_eq!(
        made(&partitioned("l", "text", partitions), keys).unwrap(),
        expected
    );
}

#[test]
fn what_only_a_partition_has_is_not_left_out() {
    let mut constraints = partitioned("l", "text", &[("t_a", "FOR VALUES IN ('a')")]);
    let partitioning = constraints.partitioning.as_mut().unwrap();
    partitioning.partitions[0].own = vec!["index i".to_owned()];
    let error = made(&constraints, &[Some("b")]).unwrap_err();
    assert!(
        error.contains("what its parent does not have: index i"),
        "{error}"
    );
}
