//! `tableferry init`: from two conninfos to a first copied table.

use std::fs;

use tableferry::is_harmful;

use crate::support::daemon::home;
use crate::support::{Databases, Job, Outcome, databases, on_a_terminal};

/// A place for a configuration that is not there yet.
fn new_place() -> Job {
    let place = home("");
    fs::remove_file(place.configuration()).unwrap();
    place
}

#[track_caller]
fn init(place: &Job, db: &Databases<'_>) -> Outcome {
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    place.run(&["init", "--source", &source, "--target", &target])
}

#[track_caller]
fn init_done(place: &Job, db: &Databases<'_>) -> (Outcome, String) {
    let outcome = init(place, db);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let text = fs::read_to_string(place.configuration()).unwrap();
    (outcome, text)
}

#[track_caller]
fn done(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

/// The command of the last line that `init` prints.
fn run_command(outcome: &Outcome) -> Vec<&str> {
    let last = outcome.stdout.lines().last().unwrap();
    last.split_whitespace().skip(1).collect()
}

#[test]
fn three_commands_lead_to_a_copied_table() {
    let db = databases("init");
    db.both(
        "CREATE TABLE parent (id int PRIMARY KEY, name text);
         CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
         CREATE TABLE log (at int, line text);
         CREATE TABLE item (v int, sku text NOT NULL UNIQUE);
         CREATE TABLE part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
         CREATE VIEW names AS SELECT name FROM parent",
    );
    db.source.sql(
        "CREATE TABLE news (id int); CREATE TABLE feed (id int);
         INSERT INTO parent VALUES (1, 'a'), (2, 'b'); INSERT INTO child VALUES (1, 1), (2, 2);
         INSERT INTO log VALUES (1, 'x'), (1, 'x'); INSERT INTO item VALUES (1, 'i'), (2, 'j');
         INSERT INTO part SELECT i, i FROM generate_series(0, 99) i; ANALYZE",
    );
    db.target
        .sql("CREATE TABLE own (id int); CREATE VIEW feed AS SELECT 1 AS id");
    let place = new_place();

    let (outcome, text) = init_done(&place, &db);
    for part in [
        "mode = \"merge\"",
        "\"public.parent\",",
        "# primary key (id); about 2 rows, ",
        "# unique index on (sku); about 2 rows, ",
        "[jobs.merge.table.\"public.item\"]\nkey = [\"sku\"]",
        "# primary key (id); partitioned, about 100 rows, ",
        "mode = \"truncate\"",
        "# it has no key, and is small; ",
        "create = \"missing\"             # makes",
        "\"public.news\",",
        "#   public.feed: it is a view on the target, which is not written",
        "#   public.own\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(
        !text.contains("part_1") && !text.contains("names"),
        "{text}"
    );
    assert!(outcome.stdout.contains("6 tables to copy"), "{outcome}");
    assert!(outcome.stderr.contains("public.feed"), "{outcome}");

    done(&place.run(&["check", "--connect"]));
    let run = run_command(&outcome);
    assert_eq!(run, ["run", "merge", "truncate"]);
    done(&place.run(&run));
    for table in ["parent", "child", "log", "item", "part"] {
        db.assert_same(&format!("public.{table}"));
    }
}

/// Names that end a string, a comment or a line, are patterns, or are obeyed by a terminal.
const HOSTILE: [&str; 7] = [
    "quotes \"\"\" and 'quotes'",
    "a\nb = 1\n[jobs.evil]",
    "e\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{2028}",
    "[brackets]\\ # }",
    "UPPER",
    "star*",
    "größe.dot",
];

#[test]
fn a_name_is_only_ever_a_name() {
    let db = databases("init_names");
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for (at, name) in HOSTILE.iter().enumerate() {
        let name = quoted(name);
        db.both(&format!(
            "CREATE SCHEMA {name};
             CREATE TABLE {name}.{name} ({name} int PRIMARY KEY);
             CREATE TABLE {name}.by_index ({name} int NOT NULL UNIQUE, v int);
             CREATE TABLE {name}.plain ({name} int)"
        ));
        db.source.sql(&format!(
            "INSERT INTO {name}.{name} VALUES ({at}); INSERT INTO {name}.by_index VALUES ({at}, 1);
             INSERT INTO {name}.plain VALUES ({at}); CREATE TABLE {name}.missing (id int)"
        ));
        db.target.sql(&format!("CREATE TABLE {name}.own (id int)"));
    }
    let place = new_place();
    let (outcome, text) = init_done(&place, &db);
    let harmful = |c: char| is_harmful(c) && c != '\n';
    for shown in [&text, &outcome.stdout, &outcome.stderr] {
        assert!(!shown.contains(harmful), "{shown}");
    }
    assert!(
        !text.lines().any(|line| line.starts_with("[jobs.evil]")),
        "{text}"
    );
    done(&place.run(&["check", "--connect"]));
    done(&place.run(&run_command(&outcome)));
    for name in HOSTILE {
        let name = quoted(name);
        for table in [&*name, "by_index", "plain", "missing"] {
            db.assert_same(&format!("{name}.{table}"));
        }
    }
}

#[test]
fn what_planning_refuses_is_left_out_and_the_reason_is_said() {
    let db = databases("init_refused");
    db.both("CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE bad (id int PRIMARY KEY, v int)");
    db.target.sql(
        "ALTER TABLE bad ALTER v TYPE uuid USING NULL;
         CREATE TABLE audit (id int REFERENCES bad)",
    );
    // Tables without a key that are not small: the one that a view depends on cannot be swapped.
    let large = |name: &str| {
        format!(
            "CREATE TABLE {name} (v text) WITH (fillfactor = 10);
             ALTER TABLE {name} ALTER v SET STORAGE PLAIN"
        )
    };
    for name in ["large", "viewed"] {
        db.both(&large(name));
        db.source.sql(&format!(
            "INSERT INTO {name} SELECT repeat('x', 700) FROM generate_series(1, 8300)"
        ));
    }
    db.target.sql("CREATE VIEW v AS SELECT * FROM viewed");
    let place = new_place();
    let (outcome, text) = init_done(&place, &db);
    for part in [
        "#   public.bad: v: integer",
        "mode = \"swap\"",
        "and swap is refused: ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(
        outcome.stderr.contains("not copied: public.bad"),
        "{outcome}"
    );
    let run = run_command(&outcome);
    assert_eq!(run, ["run", "merge", "swap", "truncate"]);
    done(&place.run(&run));
    for table in ["good", "large", "viewed"] {
        db.assert_same(&format!("public.{table}"));
    }
}

#[test]
fn a_password_is_not_written() {
    let db = databases("init_password");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    let place = new_place();
    let source = format!("{} password=hunter2", db.source.conninfo());
    let target = db.target.uri().replace("postgres@", "postgres:hunter3@");
    let outcome = place.run(&["init", "--source", &source, "--target", &target]);
    done(&outcome);
    let text = fs::read_to_string(place.configuration()).unwrap();
    for shown in [&text, &outcome.stdout, &outcome.stderr] {
        assert!(!shown.contains("hunter"), "{shown}");
    }
    assert!(text.contains("#password_file = "), "{text}");
    done(&place.run(&["check", "--connect"]));
}

#[test]
fn roles_with_few_privileges_copy_what_they_may() {
    let db = databases("init_role");
    let [reader, loader] = [&db.source, &db.target].map(|side| format!("{}_role", side.name()));
    db.both(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE closed (id int PRIMARY KEY);
         CREATE TABLE unread (id int PRIMARY KEY); CREATE TABLE unread_too (id int PRIMARY KEY)",
    );
    db.source.sql(&format!(
        "INSERT INTO t VALUES (1), (2); CREATE ROLE {reader} LOGIN; GRANT SELECT ON t, closed TO {reader}"
    ));
    db.target.sql(&format!(
        "CREATE ROLE {loader} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON t, unread TO {loader}"
    ));
    let as_role =
        |conninfo: String, role: &str| conninfo.replace("user=postgres", &format!("user={role}"));
    let source = as_role(db.source.conninfo(), &reader);
    let target = as_role(db.target.conninfo(), &loader);
    let place = new_place();
    done(&place.run(&["init", "--source", &source, "--target", &target]));
    let text = fs::read_to_string(place.configuration()).unwrap();
    for part in [
        // The role may not create the ledger.
        "\nhistory = \"local\"\n",
        "#   public.closed: ",
        "#   public.unread: the role lacks SELECT on it on the source\n",
        "#   public.unread_too: the role lacks SELECT on it on the source\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    done(&place.run(&["check", "--connect"]));
    done(&place.run(&["run", "merge"]));
    db.assert_same("public.t");
    db.source
        .sql(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}"));
    db.target
        .sql(&format!("DROP OWNED BY {loader}; DROP ROLE {loader}"));
}

#[test]
fn nothing_is_written_where_there_is_nothing_to_copy() {
    let db = databases("init_nothing");
    let place = new_place();
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    let nothing = |expected: &str, arguments: &[&str]| {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(outcome.stderr.contains(expected), "{expected}: {outcome}");
        assert!(!place.configuration().exists());
    };
    let both = ["init", "--source", &source, "--target", &target];
    nothing("the source has no tables", &both);
    db.source
        .sql("CREATE TYPE own; CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
              CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
              CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, LIKE = int4); CREATE TABLE only_here (v own)");
    nothing("public.only_here: column v needs type public.own", &both);
    nothing("create the type on the target", &both);
    nothing(
        "source and target are one and the same table",
        &["init", "--source", &source, "--target", &source],
    );
    let down = "host=127.0.0.1 port=1 user=u dbname=d sslmode=disable";
    nothing(
        "127.0.0.1",
        &["init", "--source", down, "--target", &target],
    );
    nothing(
        "127.0.0.1",
        &["init", "--source", &source, "--target", down],
    );
}

#[test]
fn what_was_not_said_is_a_usage_error_without_a_terminal() {
    let place = new_place();
    for (arguments, part) in [
        (&["init"][..], "`--source CONNINFO` is needed"),
        (
            &["init", "--source", "host=h"],
            "`--target CONNINFO` is needed",
        ),
        (&["init", "--source", "nonsense"], "the source's conninfo: "),
    ] {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains(part), "{part}: {outcome}");
        assert!(!place.configuration().exists());
    }
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let db = databases("init_exists");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    let place = new_place();
    fs::write(place.configuration(), "# mine\n").unwrap();
    let outcome = init(&place, &db);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(
        outcome.stderr.contains("exists, and is not overwritten"),
        "{outcome}"
    );
    assert_eq!(
        fs::read_to_string(place.configuration()).unwrap(),
        "# mine\n"
    );
    // A named file in a directory that is not there yet.
    let other = place.directory().join("new/other.toml");
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    let named = other.to_str().unwrap();
    let outcome = place.run(&[
        "--config", named, "init", "--source", &source, "--target", &target,
    ]);
    done(&outcome);
    assert!(other.exists());
    assert_eq!(run_command(&outcome), ["--config", named, "run", "merge"]);
}

#[test]
fn a_person_is_asked_until_it_is_a_conninfo() {
    let db = databases("init_asks");
    db.both("CREATE TABLE t (id int PRIMARY KEY)");
    let place = new_place();
    let input = format!("nonsense\n{}\n{}\n", db.source.conninfo(), db.target.uri());
    let Some(shown) = on_a_terminal(&place, "init", &input) else {
        return;
    };
    assert!(shown.contains("source (postgresql://"), "{shown}");
    assert!(shown.contains("neither a URI"), "{shown}");
    assert!(place.configuration().exists(), "{shown}");
    done(&place.run(&["run", "merge"]));
}

#[test]
fn an_empty_target_gets_all_tables() {
    let db = databases("init_empty");
    db.source.sql(
        "CREATE SCHEMA shop; CREATE TYPE shop.state AS ENUM ('new', 'paid'); CREATE TABLE shop.customers (id serial PRIMARY KEY, name text);
         CREATE TABLE shop.orders (id int PRIMARY KEY, c int REFERENCES shop.customers, s shop.state); CREATE TABLE log (line text);
         INSERT INTO shop.customers (name) VALUES ('a'), ('b'); INSERT INTO shop.orders VALUES (1, 2, 'paid'); INSERT INTO log VALUES ('x')",
    );
    let place = new_place();
    let (outcome, _) = init_done(&place, &db);
    let run = run_command(&outcome);
    done(&place.run(&run));
    for table in ["shop.customers", "shop.orders", "public.log"] {
        db.assert_same(table);
    }
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'orders_c_fkey'";
    assert_eq!(db.target.value(key), db.source.value(key));
    done(&place.run(&run));
}
