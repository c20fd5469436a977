//! What `plan` shows is what `run` does: the servers' own logs say which statements ran.

use serde_json::Value;

use crate::support::{
    Cluster, ClusterOptions, Databases, all_of_public, assert_committed, databases_on, job,
};

/// A server that logs every statement with the process that ran it.
pub fn logging(options: ClusterOptions) -> Cluster {
    let options = options
        .setting("log_statement", "all")
        .setting("log_line_prefix", "%p|%a|")
        .setting("logging_collector", "off");
    Cluster::start_with(&options)
}

/// The statements that tableferry ran since `from` bytes of the log, each with its process.
pub fn statements(log: &str) -> Vec<(u32, String)> {
    let mut entries: Vec<(u32, String)> = Vec::new();
    let mut ours = false;
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let (true, Some((_, text))) = (ours, entries.last_mut()) {
                text.push('\n');
                text.push_str(more);
            }
            continue;
        }
        let mut fields = line.splitn(3, '|');
        let pid = fields.next().and_then(|pid| pid.parse().ok());
        let application = fields.next().unwrap_or_default();
        let message = fields.next().unwrap_or_default();
        let sql = message.strip_prefix("LOG:  statement: ").or_else(|| {
            message
                .strip_prefix("LOG:  execute ")?
                .split_once(": ")
                .map(|(_, sql)| sql)
        });
        ours = false;
        if let (Some(pid), Some(sql), true) = (pid, sql, application.starts_with("tableferry")) {
            ours = true;
            entries.push((pid, sql.to_owned()));
        }
    }
    entries
        .iter()
        .flat_map(|(pid, text)| split(text).into_iter().map(move |sql| (*pid, sql)))
        .collect()
}

/// The statements of a batch: cut at semicolons that are in no literal, identifier or parentheses.
fn split(text: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    let (mut quote, mut depth) = (None, 0);
    for char in text.chars() {
        match (quote, char) {
            (Some(open), _) if open == char => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ';') if depth == 0 => {
                list.push(String::new());
                continue;
            }
            _ => {}
        }
        list.last_mut().unwrap().push(char);
    }
    list.iter()
        .map(|sql| plain(sql))
        .filter(|sql| !sql.is_empty())
        .collect()
}

/// With single blanks, and without what is another in every run: digests and run ids.
fn plain(sql: &str) -> String {
    let lines = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let mut text = String::new();
    let mut hex = String::new();
    let flush = |hex: &mut String, text: &mut String| {
        let random = hex.len() == 16 || hex.len() == 36;
        text.push_str(if random { "#" } else { hex });
        hex.clear();
    };
    for char in words.join(" ").chars() {
        if char.is_ascii_hexdigit() || (char == '-' && !hex.is_empty()) {
            hex.push(char);
        } else {
            flush(&mut hex, &mut text);
            text.push(char);
        }
    }
    flush(&mut hex, &mut text);
    text
}

/// Does it write, or lock more than a reader does?
pub fn matters(sql: &str) -> bool {
    let words = sql.trim_start_matches('(');
    let first = words.split(' ').next().unwrap_or_default().to_uppercase();
    match first.as_str() {
        "SELECT" | "WITH" => ["setval", "pg_export_snapshot", "FOR UPDATE", "FOR SHARE"]
            .iter()
            .any(|part| sql.contains(part)),
        "SET" => sql.starts_with("SET CONSTRAINTS"),
        "EXPLAIN" => sql.contains("ANALYZE"),
        "BEGIN" | "COMMIT" | "ROLLBACK" | "SHOW" | "SAVEPOINT" | "RELEASE" | "PREPARE"
        | "RESET" => false,
        _ => true,
    }
}

/// The first statement of each process that the plan does not show in this place.
pub fn unplanned(planned: &[String], ran: &[(u32, String)]) -> Vec<String> {
    let mut pids: Vec<u32> = ran.iter().map(|(pid, _)| *pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let first = |pid: u32| {
        let mut rest = planned.iter();
        let mut of_pid = ran.iter().filter(|(of, sql)| *of == pid && matters(sql));
        of_pid.find(|(_, sql)| !rest.any(|planned| planned == sql))
    };
    let found = pids.into_iter().filter_map(first);
    found.map(|(_, sql)| sql.clone()).collect()
}

pub fn planned(plan: &Value, side: &str) -> Vec<String> {
    let statements = plan["statements"].as_array().unwrap();
    statements
        .iter()
        .filter(|statement| statement["side"] == side)
        .flat_map(|statement| split(statement["sql"].as_str().unwrap()))
        .collect()
}

/// Large enough to be cut for several workers, if `large`.
fn tables(db: &Databases<'_>, large: bool) {
    let rows = if large { 13000 } else { 2000 };
    db.both(
        "CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE, v text);
         CREATE TABLE child (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
             parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, v text);
         CREATE INDEX ON child (v)",
    );
    db.both(&format!(
        "INSERT INTO parent SELECT i, 'c' || i, repeat('x', 1000) FROM generate_series(1, {rows}) i;
         INSERT INTO child (parent, v) SELECT i, 'v' || i FROM generate_series(1, 1000) i"
    ));
    db.source.sql(
        "DELETE FROM child WHERE id = 7; UPDATE child SET v = 'other' WHERE id = 8;
         UPDATE parent SET v = 'other' WHERE id = 9; INSERT INTO parent VALUES (20001, 'new', 'new');
         ANALYZE",
    );
}

#[test]
fn nothing_writes_or_locks_that_the_plan_does_not_show() {
    let source = logging(ClusterOptions::default().source());
    let target = logging(ClusterOptions::default().target());
    let mut number = 0;
    let mut complaints = Vec::new();
    for mode in ["append", "truncate", "swap", "merge", "upsert"] {
        for workers in [1, 3] {
            for atomic in [true, false] {
                for verify in ["count", "checksum", "none"] {
                    let keeps = matches!(mode, "append" | "upsert");
                    let refers = matches!(mode, "truncate" | "swap") && !atomic;
                    if keeps && verify == "checksum" || refers {
                        continue;
                    }
                    number += 1;
                    let db = databases_on(&source, &target, &format!("plan_log_{number}"));
                    tables(&db, workers > 1);
                    if mode == "append" {
                        db.target.sql("TRUNCATE parent, child");
                    }
                    let more =
                        format!("workers = {workers}\natomic = {atomic}\nverify = '{verify}'\n");
                    let text = format!(
                        "[daemon]\nhistory = 'off'\n\n{}",
                        all_of_public(mode, &more)
                    );
                    let job = job(&db, &text);
                    // A run that needs schema `tableferry` makes it, once for each target.
                    db.target.sql(&job.run(&["schema"]).stdout);
                    let plan = job.run(&["plan", "j", "--json"]);
                    assert_eq!(plan.code, Some(0), "{plan}");
                    let plan: Value = serde_json::from_str(plan.stdout.trim()).unwrap();
                    let (from, to) = (source.log().len(), target.log().len());

                    let outcome = job.run(&["run", "j", "--json"]);

                    assert_committed(&outcome);
                    for (side, log, since) in
                        [("source", source.log(), from), ("target", target.log(), to)]
                    {
                        let ran = statements(&log[since..]);
                        assert!(ran.iter().any(|(_, sql)| sql.starts_with("COPY")), "{log}");
                        let name = format!(
                            "{mode}, workers {workers}, atomic {atomic}, verify {verify}: {side}"
                        );
                        for sql in unplanned(&planned(&plan, side), &ran) {
                            complaints.push(format!("{name}: {sql}"));
                        }
                    }
                }
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "not in the plan, or not in this order:\n{}",
        complaints.join("\n")
    );
}
