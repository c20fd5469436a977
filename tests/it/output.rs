//! What people see: no text of a server's or a file's moves their cursor or forges a line, and
//! summaries say what was done.

use tableferry::is_harmful;

use crate::support::{self, Outcome, databases, job, job_with, on_a_terminal, only_t};

/// As a terminal would obey it: a title, a line of its own, a CSI of one byte, text turned round.
const EVIL: &str = "e\u{1b}]0;owned\u{7}\nforged line\r\u{9b}2J\u{202e}\u{2028}";

/// `EVIL` in SQL, as an identifier.
fn evil_ident() -> String {
    format!("\"{EVIL}\"")
}

#[track_caller]
fn assert_harmless(what: &str, outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        let harmful = text
            .chars()
            .find(|c| is_harmful(*c) && !matches!(c, '\n' | '\t'));
        assert_eq!(harmful, None, "{what}: {outcome}");
        let forged = text.lines().find(|line| line.starts_with("forged"));
        assert_eq!(forged, None, "{what}: {outcome}");
    }
}

#[test]
fn names_of_relations_and_columns_are_harmless_everywhere() {
    let db = databases("output_names");
    let name = evil_ident();
    db.both(&format!(
        "CREATE TABLE {name} ({name} int PRIMARY KEY, v int); CREATE TABLE other ({name} int PRIMARY KEY)"
    ));
    db.source
        .sql(&format!("INSERT INTO {name} VALUES (1, 1), (2, 2)"));
    for mode in ["truncate", "merge", "swap"] {
        let text = format!(
            "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\ntables = ['public.*']\n\
             log_values = true\n"
        );
        let job = job(&db, &text);
        for command in [
            &["check", "--connect"][..],
            &["plan", "j"],
            &["plan", "j", "--sql"],
            &["plan", "j", "--json"],
            &["run", "j"],
            &["run", "j", "--json", "--log-level", "debug"],
            &["verify", "j"],
            &["history"],
            &["history", "--json"],
        ] {
            let outcome = job.run(command);
            assert_eq!(outcome.code, Some(0), "{command:?} {outcome}");
            assert_harmless(&format!("{mode} {command:?}"), &outcome);
        }
        // And where they differ: the names stand in refusals and differences.
        db.target.sql(&format!("UPDATE {name} SET v = 5"));
        let differs = job.run(&["verify", "j"]);
        assert_eq!(differs.code, Some(1), "{differs}");
        assert_harmless("verify", &differs);
    }
    db.target.sql(&format!(
        "DELETE FROM {name}; ALTER TABLE {name} ALTER COLUMN {name} TYPE uuid USING NULL"
    ));
    for command in [&["plan", "j"][..], &["run", "j"], &["run", "j", "--json"]] {
        let refused = job(&db, &support::all_of_public("truncate", "")).run(command);
        assert_eq!(refused.code, Some(1), "{refused}");
        assert_harmless("refused", &refused);
    }
    // What is shown is SQL, and names the table.
    let plan = job(&db, &support::all_of_public("truncate", "")).run(&["plan", "j"]);
    let shown = r#"U&"e\001b]0;owned\0007\000aforged line\000d\009b2J\202e\2028""#;
    assert!(plan.stdout.contains(shown), "{plan}");
    assert_eq!(
        db.source.value(&format!("SELECT count(*) FROM {shown}")),
        "2"
    );
}

#[test]
fn what_a_server_says_is_harmless_and_exact_in_json() {
    let db = databases("output_words");
    db.both("CREATE TABLE t (id int)");
    db.source.sql("INSERT INTO t VALUES (1)");
    db.target.sql(&format!(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'says %', $e${EVIL}$e$ USING HINT = $e${EVIL}$e$, ERRCODE = '55000'; END $$;
         CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
    ));
    let job = job(&db, &only_t("append", "log_values = true\n", ""));
    for command in [
        &["run", "j"][..],
        &["run", "j", "--json"],
        &["history"],
        &["history", "--json"],
    ] {
        let outcome = job.run(command);
        assert_harmless(&format!("{command:?}"), &outcome);
        let shown = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(shown.contains("owned"), "{command:?} {outcome}");
        for report in &outcome.reports {
            let error = &report["error"];
            let message = error["message"].as_str().or(error.as_str()).unwrap();
            assert!(message.contains(EVIL), "{outcome}");
        }
    }
}

#[test]
fn texts_of_the_configuration_and_the_command_line_are_harmless() {
    let job = job_with(&format!(
        "[servers.s]\nconninfo = \"host=a {}=1\"\n[\"jobs\".\"{}\"]\n",
        EVIL.chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect::<String>(),
        "x\\u001b[2J\\nforged"
    ));
    assert_harmless("check", &job.run(&["check"]));
    let job = job_with("[servers.s]\nconninfo = 'host=a'\n");
    let outcome = job.run(&["run", EVIL]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert_harmless("run", &outcome);
}

#[test]
fn a_conninfo_that_can_never_work_is_a_wrong_configuration_for_every_command() {
    let wrong = "[servers.s]\nconninfo = 'host=h sslmode=verify_full'\n\
         [jobs.j]\nsource = 's'\ntarget = 's'\nmode = 'append'\ntables = ['a.b']\n";
    let job = job_with(wrong);
    for command in [
        &["check"][..],
        &["check", "--connect"],
        &["run", "j"],
        &["plan"],
        &["daemon"],
        &["jobs"],
    ] {
        let outcome = job.run(command);
        assert_eq!(outcome.code, Some(78), "{command:?} {outcome}");
        let place = "tableferry.toml:2: servers.s.conninfo: `sslmode` must be one of";
        assert!(outcome.stderr.contains(place), "{command:?} {outcome}");
    }
    let job = job_with("[servers.s]\nconninfo = 'host=h'\npassword_file = '/nowhere/p'\n");
    let outcome = job.run(&["check"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(
        outcome.stderr.contains("warning: ") && outcome.stderr.contains("/nowhere/p"),
        "{outcome}"
    );
}

#[test]
fn a_terminal_is_told_nothing_by_a_server() {
    let db = databases("output_terminal");
    let name = evil_ident();
    db.both(&format!("CREATE TABLE {name} (id int PRIMARY KEY)"));
    db.source.sql(&format!(
        "INSERT INTO {name} SELECT generate_series(1, 1000)"
    ));
    let job = job(&db, &support::all_of_public("merge", "workers = 9"));
    for command in ["run j --log-level debug", "plan j", "verify j", "history"] {
        let Some(shown) = on_a_terminal(&job, command, "") else {
            return;
        };
        assert!(!shown.contains("]0;owned\u{7}"), "{command}: {shown}");
        assert!(
            !shown.contains(['\u{9b}', '\u{202e}', '\u{2028}']),
            "{command}: {shown}"
        );
        assert!(!shown.contains("\nforged"), "{command}: {shown}");
        assert!(
            shown.contains("committed") || shown.contains("owned"),
            "{command}: {shown}"
        );
    }
}

#[test]
fn a_merge_says_what_it_wrote() {
    let db = databases("output_merge");
    db.both("CREATE TABLE t (id int PRIMARY KEY, v int)");
    db.source
        .sql("INSERT INTO t SELECT i, i FROM generate_series(1, 10) i");
    db.target.sql(
        "INSERT INTO t SELECT i, i FROM generate_series(3, 12) i; UPDATE t SET v = 0 WHERE id = 5",
    );
    let outcome = job(&db, &only_t("merge", "", "")).run(&["run", "j"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let said = "committed 2 rows inserted, 1 updated, 2 deleted of 10 rows read in 1 table";
    assert!(outcome.stdout.contains(said), "{outcome}");
    let header: Vec<_> = outcome
        .stdout
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let expected = ["table", "read", "inserted", "updated", "deleted"];
    assert_eq!(header[..5], expected);
}

#[test]
fn a_plan_is_a_summary_and_the_statements_are_asked_for() {
    let db = databases("output_plan");
    db.both("CREATE TABLE a (id int, v text); CREATE TABLE b (id int)");
    db.target.sql("ALTER TABLE a ALTER COLUMN id TYPE bigint");
    let job = job(&db, &support::all_of_public("truncate", ""));
    let plan = job.run(&["plan", "j"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    for part in [
        "public.a",
        "binary",
        "text: id: integer",
        "ACCESS EXCLUSIVE",
        "public.a, public.b",
        "--sql",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
    assert!(!plan.stdout.contains("COPY "), "{plan}");
    let all = job.run(&["plan", "j", "--sql"]);
    for part in ["source: COPY ", "target: COPY ", "target: COMMIT"] {
        assert!(all.stdout.contains(part), "{part}: {all}");
    }
    let json = job.run(&["plan", "j", "--json"]);
    assert!(json.report()["statements"].as_array().unwrap().len() > 5);
}

#[test]
fn a_command_is_warned_of_its_own_jobs_only() {
    let db = databases("output_warnings");
    db.both("CREATE TABLE t (id int)");
    let two = format!(
        "{}\n{}",
        only_t("append", "", ""),
        only_t("append", "guard.min_rows = 1\n", "").replace("jobs.j", "jobs.k")
    );
    let job = job(&db, &two);
    for (command, warned) in [
        (&["run", "j"][..], false),
        (&["run", "k"], true),
        (&["plan", "j"], false),
        (&["plan"], true),
        (&["check"], true),
        (&["jobs"], false),
        (&["history"], false),
    ] {
        let outcome = job.run(command);
        assert_eq!(outcome.code, Some(0), "{command:?} {outcome}");
        assert_eq!(
            outcome.stderr.contains("guard"),
            warned,
            "{command:?} {outcome}"
        );
    }
}

#[test]
fn eighty_columns_are_kept_with_long_names() {
    let db = databases("output_width");
    let name = "a_table_whose_name_takes_all_of_the_63_bytes_that_a_name_may_be";
    assert_eq!(name.len(), 63);
    db.both(&format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, v text); CREATE TABLE other (id int, v text)"
    ));
    db.target
        .sql(&format!("ALTER TABLE {name} ALTER COLUMN id TYPE bigint"));
    db.source.sql(&format!(
        "INSERT INTO {name} SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i;
         INSERT INTO other SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i; ANALYZE"
    ));
    let text = support::all_of_public("truncate", "rate_limit = '500kB'\n");
    let job_name = "a_job_whose_name_is_long";
    let job = job(&db, &text.replace("jobs.j]", &format!("jobs.{job_name}]")));
    for command in ["plan", "run", "jobs", "history", "verify"] {
        let arguments = match command {
            "jobs" | "history" => command.to_owned(),
            _ => format!("{command} {job_name}"),
        };
        let Some(shown) = on_a_terminal(&job, &arguments, "") else {
            return;
        };
        support::assert_fits(command, &shown);
        let part = match command {
            // A bar for a table, and one for both.
            "run" => "/2 tables ",
            "jobs" => "on demand",
            "history" => "a_job_whose",
            _ => "a_table_whose",
        };
        let seen = support::seen_lines(&shown).join("\n");
        assert!(seen.contains(part), "{command}: {part}: {shown}");
    }
}

#[test]
fn a_merges_numbers_keep_their_columns_beside_long_names() {
    let db = databases("output_long_merge");
    let longest = "long_".repeat(12);
    let names = ["t", "order_lines_of_all_countries", longest.as_str()];
    for name in names {
        db.both(&format!("CREATE TABLE {name} (id int PRIMARY KEY)"));
        db.source.sql(&format!(
            "INSERT INTO {name} SELECT generate_series(1, 1200)"
        ));
    }
    let job = job(&db, &support::all_of_public("merge", ""));
    let Some(shown) = on_a_terminal(&job, "run j", "") else {
        return;
    };
    support::assert_fits("run", &shown);
    let lines = support::seen_lines(&shown);
    let words = |line: &String| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let heading = "table read inserted updated deleted bytes format seconds";
    let at = lines
        .iter()
        .position(|line| words(line).join(" ") == heading);
    let rows: Vec<_> = lines[at.unwrap_or_else(|| panic!("{shown}")) + 1..]
        .iter()
        .map(words)
        .filter(|words| !words.is_empty())
        .collect();
    // The name, then its numbers: below it, or beside it.
    for name in names {
        let name = format!("public.{name}");
        let row = rows.iter().position(|row| row[0] == name).unwrap();
        let numbers = match rows[row].len() {
            1 => &rows[row + 1][..],
            _ => &rows[row][1..],
        };
        assert_eq!(numbers[..4], ["1200", "1200", "0", "0"], "{shown}");
    }
}

#[test]
fn the_sql_of_a_plan_is_wrapped_on_a_terminal_and_means_the_same() {
    let db = databases("output_sql");
    db.both("CREATE TABLE t (id int PRIMARY KEY, first_name text, last_name text, address text)");
    let job = job(&db, &only_t("merge", "", "where = \"address <> 'a  b'\"\n"));
    let plain = job.run(&["plan", "j", "--sql"]);
    assert_eq!(plain.code, Some(0), "{plain}");
    let Some(shown) = on_a_terminal(&job, "plan j --sql", "") else {
        return;
    };
    support::assert_fits("plan --sql", &shown);
    let words = |text: &str| {
        let words = text.split_whitespace().filter(|word| *word != "--");
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let statements = |text: &str| words(text.split_once("statements, in order:").unwrap().1);
    assert_eq!(statements(&shown), statements(&plain.stdout));
}
