//! docs/privileges.md: with the statements of a mode, and no other rights, its jobs run.

use rstest::rstest;

use super::Page;
use super::blocks::blocks_of;
use crate::support::{Databases, assert_committed, databases, job_between};

/// The statements under this comment.
#[track_caller]
fn statements(comment: &str) -> String {
    let page = Page::read("docs/privileges.md");
    let blocks = blocks_of(&page);
    let mut found = blocks.iter().filter(|block| {
        let first = block.text.lines().next().unwrap_or_default();
        block.language == "sql" && first == format!("-- {comment}")
    });
    let block = found.next();
    let block = block.unwrap_or_else(|| panic!("docs/privileges.md lacks `-- {comment}`"));
    assert!(found.next().is_none(), "twice: {comment}");
    block.text.clone()
}

/// The page's names, and those of a test.
struct Names([(&'static str, String); 5]);

impl Names {
    fn new(db: &Databases<'_>) -> Self {
        let of = |role: &str| format!("{}_{role}", db.target.name());
        Names([
            ("reader", of("reader")),
            ("loader", of("loader")),
            ("sales_owner", of("owner")),
            ("DATABASE shop", format!("DATABASE {}", db.source.name())),
            (
                "DATABASE warehouse",
                format!("DATABASE {}", db.target.name()),
            ),
        ])
    }

    fn role(&self, at: usize) -> &str {
        &self.0[at].1
    }

    fn put_into(&self, sql: &str) -> String {
        let mut sql = sql.to_owned();
        for (shown, real) in &self.0 {
            sql = sql.replace(shown, real);
        }
        sql
    }
}

#[rstest]
#[case("append", &[], "", "the first run makes schema tableferry")]
#[case("append", &["on the target: watermark"], "[jobs.j.table.'sales.orders']\nwatermark = 'id'", "the first run makes schema tableferry")]
#[case("truncate", &[], "", "a DBA has made schema tableferry")]
#[case("swap", &[], "", "the first run makes schema tableferry")]
#[case("merge", &[], "verify = 'checksum'", "a DBA has made schema tableferry")]
#[case("merge", &["on the target: several workers"], "workers = 2\ncompare = 'full'", "a DBA has made schema tableferry")]
#[case("upsert", &[], "", "a DBA has made schema tableferry")]
fn the_statements_of_a_mode_are_enough(
    #[case] mode: &str,
    #[case] besides: &[&str],
    #[case] more: &str,
    #[case] ledger: &str,
) {
    let db = databases("doc_rights");
    let names = Names::new(&db);
    db.both("CREATE SCHEMA sales; CREATE TABLE sales.orders (id serial PRIMARY KEY, note text)");
    db.source
        .sql("INSERT INTO sales.orders (note) SELECT 'new' FROM generate_series(1, 500)");
    let owner = names.role(2);
    db.target.sql(&format!(
        "REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE ROLE {owner};
         GRANT USAGE ON SCHEMA sales TO {owner}; ALTER TABLE sales.orders OWNER TO {owner}"
    ));
    db.target.sql(&format!(
        "REVOKE ALL ON DATABASE \"{}\" FROM PUBLIC",
        db.target.name()
    ));
    db.source.sql(&names.put_into(&statements("on the source")));
    let mut parts = vec!["on the target: every mode".to_owned()];
    parts.push(format!("on the target: {ledger}"));
    parts.push(format!("on the target: {mode}"));
    parts.extend(besides.iter().map(|part| (*part).to_owned()));
    if ledger.starts_with("a DBA") {
        let schema = job_between(&db.source.conninfo(), &db.target.conninfo(), "").run(&["schema"]);
        db.target.sql(&schema.stdout);
    }
    for part in &parts {
        db.target.sql(&names.put_into(&statements(part)));
    }
    let login = |conninfo: String, role: &str| {
        assert!(conninfo.contains("user=postgres"), "{conninfo}");
        conninfo.replace("user=postgres", &format!("user={role}"))
    };
    let job = job_between(
        &login(db.source.conninfo(), names.role(0)),
        &login(db.target.conninfo(), names.role(1)),
        &format!(
            "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\ntables = ['sales.orders']\n{more}"
        ),
    );
    let checked = job.run(&["check", "--connect"]);
    assert_eq!(checked.code, Some(0), "{checked}");
    let outcome = job.run(&["run", "j", "--json"]);
    assert_committed(&outcome);
    db.assert_same("sales.orders");
    assert_eq!(
        db.target.value("SELECT state FROM tableferry.run"),
        "committed"
    );
    for (database, roles) in [(&db.target, [1, 2].as_slice()), (&db.source, &[0])] {
        for role in roles.iter().map(|at| names.role(*at)) {
            database.sql(&format!(
                "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}"
            ));
            database.sql(&format!("DROP ROLE {role}"));
        }
    }
}
