//! What makes a run fail makes `plan` fail: it is refused by name before a row moves.

use crate::support::{all_of_public, assert_committed, assert_refused, databases, job_between};

#[test]
fn a_guard_that_cannot_count_is_refused_and_not_fed_with_statistics() {
    let db = databases("refused_count");
    let role = format!("{}_loader", db.target.name());
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    // Nobody has analyzed the table: by its statistics it may as well be empty.
    db.target.sql(&format!(
        "INSERT INTO t SELECT generate_series(1, 100); CREATE ROLE {role} LOGIN; \
         GRANT INSERT, TRUNCATE ON t TO {role}"
    ));
    let target = db
        .target
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let run = |more: &str| {
        let jobs = format!(
            "{}\n[daemon]\nhistory = 'off'",
            all_of_public("truncate", more)
        );
        job_between(&db.source.conninfo(), &target, &jobs).run(&["run", "j", "--json"])
    };

    assert_refused(&run(""), "permission", &["public.t", "SELECT", "guard"]);
    assert_eq!(db.target.count("t"), 100);
    assert_committed(&run("guard = { allow_empty = true, max_shrink = '100%' }"));
    db.assert_same("t");
    db.target
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
