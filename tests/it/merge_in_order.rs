//! `compare = "full"` of large tables that lie in the order of their key.

use rstest::rstest;

use crate::support::{
    Cluster, ClusterOptions, assert_committed, changes, databases_on, only_t, pair, run,
};

/// Tables in order are joined by merging, others by hashing; and the setting for it is not left behind.
#[rstest]
#[case::in_order("int", "i", "i", "Merge Full Join")]
#[case::in_any_order("int", "i", "hashint4(i)", "Hash Full Join")]
#[case::texts("text", "to_char(i, 'FM000000')", "i", "Hash Full Join")]
fn large_tables_in_the_order_of_their_key_are_merged(
    #[case] key: &str,
    #[case] value: &str,
    #[case] order: &str,
    #[case] join: &str,
) {
    let options = ClusterOptions::default().target();
    let options = options
        .setting("shared_preload_libraries", "auto_explain")
        .setting("auto_explain.log_min_duration", "0");
    let target = Cluster::start_with(&options);
    let db = databases_on(pair().0, &target, "merge_in_order");
    db.both(&format!(
        "CREATE TABLE t (id {key} PRIMARY KEY, n int, v text);
         INSERT INTO t SELECT {value}, i, repeat('x', 200) FROM generate_series(1, 80000) i ORDER BY {order}"
    ));
    db.target.sql("ANALYZE t; CREATE TABLE seen (setting text)");
    db.source.sql(&format!(
        "UPDATE t SET v = 'new' WHERE n % 1000 = 7; DELETE FROM t WHERE n % 1000 = 3;
         INSERT INTO t SELECT {value}, i, NULL FROM generate_series(80001, 80020) i"
    ));
    let before = target.log().len();

    let outcome = run(
        &db,
        &only_t(
            "merge",
            "compare = 'full'\n\
             sql.before_commit = [\"INSERT INTO public.seen SELECT current_setting('enable_hashjoin')\"]\n",
            "",
        ),
    );

    let table = &assert_committed(&outcome)[0];
    assert_eq!(changes(table), [20, 80, 80], "{outcome}");
    db.assert_same("t");
    let settings = "SELECT string_agg(setting, ' ') FROM seen";
    assert_eq!(db.target.value(settings), "on");
    let log = &target.log()[before..];
    let joins: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("Full Join"))
        .collect();
    let [one] = joins.as_slice() else {
        panic!("{joins:?}");
    };
    assert!(one.contains(join), "{one}");
}
