//! ANALYZE after publishing: where autovacuum would run it.

use rstest::rstest;

use crate::plan_log::{logging, statements};
use crate::support::{ClusterOptions, assert_committed, databases_on, job, only_t};

/// Autovacuum waits for 50 rows and a tenth of the table.
#[rstest]
#[case("append")]
#[case("merge")]
#[case("upsert")]
fn few_changes_leave_the_statistics_as_they_are(#[case] mode: &str) {
    let source = logging(ClusterOptions::default().source());
    let options = ClusterOptions::default().target();
    let target = logging(options.setting("autovacuum", "off"));
    let db = databases_on(&source, &target, "statistics");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let jobs = only_t(mode, "", "");
    let job = job(&db, &jobs);
    let mut next = 1;
    // A server counts what a session has changed when it ends, if not before: after ANALYZE.
    for (new, is_analyzed) in [
        (10_000, true),
        (100, true),
        (100, false),
        (500, false),
        (500, true),
    ] {
        let until = next + new;
        if mode == "append" {
            db.source.sql("TRUNCATE t");
        }
        db.source.sql(&format!(
            "INSERT INTO t SELECT i, 'v' FROM generate_series({next}, {until} - 1) i"
        ));
        next = until;
        let from = target.log().len();

        assert_committed(&job.run(&["run", "j", "--json"]));

        let log = target.log();
        let ran = statements(&log[from..]);
        let analyzed = ran
            .iter()
            .filter(|(_, sql)| sql == "ANALYZE \"public\".\"t\"")
            .count();
        assert_eq!(analyzed, usize::from(is_analyzed), "{new}: {ran:?}");
        assert_eq!(db.target.count("t"), next - 1);
        db.wait_until_left();
    }
}
