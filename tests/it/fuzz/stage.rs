//! A pair of databases on which one case after another is played.

use std::collections::BTreeSet;

use super::beside::{self, Beside, Version};
use super::case::{Act, Case, Place};
use super::job::Job;
use super::oracle::{ODD, Run, Violation};
use super::reader::{self, Reading, Task};
use crate::support::{Connection, Databases, Outcome, PATIENCE, databases, job, schema_of};

/// Dropped tables leave dead rows in the catalogue, which every look at it passes over.
const CASES_MAX: u32 = 60;

pub struct Stage {
    db: Option<Databases<'static>>,
    cases: u32,
}

/// How a run ended, for the tally.
#[derive(Clone, Debug)]
pub struct Ended {
    pub mode: &'static str,
    /// Why it did not commit: the kind of its error, and its words.
    pub refused: Option<(String, String)>,
    /// How the differences of each table were found.
    pub compared: Vec<String>,
}

/// What a case came to.
pub struct Played {
    pub ended: Vec<Ended>,
    pub violation: Option<Violation>,
    /// The mode of the run that was wrong.
    pub violated: Option<&'static str>,
    /// Statements that the servers refused while the schemas were made.
    pub not_made: Vec<String>,
}

impl Stage {
    pub fn new() -> Stage {
        Stage { db: None, cases: 0 }
    }

    /// Plays the case. None if its tables can't be made.
    pub fn play(&mut self, case: &Case) -> Option<Played> {
        if self.cases.is_multiple_of(CASES_MAX) {
            self.db = None;
            let db = databases("fuzz");
            db.both(include_str!("helpers.sql"));
            self.db = Some(db);
        }
        self.cases += 1;
        let db = self.db.as_ref()?;
        let mut not_made = make(&db.source, case, Place::Source)?;
        not_made.extend(make(&db.target, case, Place::Target)?);
        let mut played = Played {
            ended: Vec::new(),
            violation: None,
            violated: None,
            not_made,
        };
        for act in &case.acts {
            match act {
                Act::Change(place, sql) => {
                    let side = match place {
                        Place::Source => &db.source,
                        Place::Target => &db.target,
                    };
                    side.rows(&all(std::slice::from_ref(sql)));
                }
                Act::Run(job, beside) => match run(db, case, job, beside.as_deref())? {
                    Ok(ended) => played.ended.push(ended),
                    Err(violation) => {
                        played.violation = Some(violation);
                        played.violated = Some(job.mode);
                        break;
                    }
                },
            }
        }
        Some(played)
    }
}

/// The statements, of which each may fail.
fn all(statements: &[String]) -> String {
    let quoted: Vec<String> = statements
        .iter()
        .map(|statement| format!("$statement${statement}$statement$"))
        .collect();
    format!(
        "SELECT unnest(fz.all(ARRAY[{}]::text[]))",
        quoted.join(", ")
    )
}

/// Makes one side; the messages of what could not be made.
fn make(side: &Connection, case: &Case, place: Place) -> Option<Vec<String>> {
    let schema = case.schema(place);
    let sql = format!(
        "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public; {}",
        schema.tables_sql()
    );
    if let Err(error) = side.try_sql(&sql) {
        if std::env::var_os("TABLEFERRY_FUZZ_DEBUG").is_some() {
            let message = error.as_db_error().map(|e| e.message().to_owned());
            println!("not made: {message:?}\n{sql}");
        }
        return None;
    }
    let failed = side.rows(&all(&schema.guarded_sql()));
    let rows: Vec<String> = case
        .rows(place)
        .iter()
        .flat_map(|rows| rows.statements(schema))
        .collect();
    side.rows(&all(&rows));
    Some(
        failed
            .into_iter()
            .filter_map(|row| row[0].clone())
            .collect(),
    )
}

/// Runs a job and judges it. None if the case itself is wrong.
fn run(
    db: &Databases<'_>,
    case: &Case,
    wanted: &Job,
    beside: Option<&Beside>,
) -> Option<Result<Ended, Violation>> {
    let tasks = reader::tasks(wanted, &case.source, &case.target);
    let now = beside::version(db, case, wanted, &tasks)?;
    let ahead = beside.and_then(|beside| beside.ahead(db, case, wanted, &tasks));
    let shape_before = Shape::of(db, wanted);
    let sequences_before = reader::next_values(&db.target, &tasks);
    let job = job(db, &wanted.toml());
    let running = job.spawn(&["run", "j", "--json"]);
    let done = beside
        .map(|beside| beside.play(db, case))
        .unwrap_or_default();
    let outcome = running.wait(PATIENCE);
    let after = reader::all(&db.target, &case.target)?;
    let judge = |version: &Version, after: &Reading| {
        let published = published(&outcome, wanted, &tasks, &case.target)?;
        let run = Run {
            job: wanted,
            source: &case.source,
            target: &case.target,
            tasks: &tasks,
            published,
            given: &version.given,
            before: &version.before,
            outside: &version.outside,
            kept: &version.kept,
            after,
        };
        run.judge()
    };
    let mut judged = judge(&now, &after);
    if done.committed
        && let Some(ahead) = &ahead
    {
        judged = judged.or_else(|first| judge(ahead, &after).map_err(|_| first));
    }
    if done.committed
        && let Some(beside) = beside.filter(|b| b.place == Place::Target)
    {
        for without in beside.without(&done, &after) {
            judged = judged.or_else(|first| judge(&now, &without).map_err(|_| first));
        }
    }
    let judged = judged.and_then(|()| {
        shape_before.compare(&Shape::of(db, wanted))?;
        if let Some(table) = reader::views(&db.target, &case.target).first() {
            return Err(Violation {
                class: "a view shows other rows",
                what: table.clone(),
            });
        }
        if outcome.code == Some(0) && !done.committed {
            sequences(db, wanted, &tasks, &sequences_before)?;
        }
        Ok(Ended {
            mode: wanted.mode,
            refused: (outcome.code != Some(0)).then(|| reason(&outcome)),
            compared: compared(&outcome),
        })
    });
    Some(judged.map_err(|violation| Violation {
        what: format!("{}\nmeanwhile: {done:?}\n{outcome}", violation.what),
        ..violation
    }))
}

/// How differences were found, for each table of a run that compared.
fn compared(outcome: &Outcome) -> Vec<String> {
    let tables = outcome
        .reports
        .iter()
        .flat_map(|report| report["tables"].as_array());
    tables
        .flatten()
        .filter_map(|table| table["compare"].as_str().map(str::to_owned))
        .collect()
}

/// The targets that hold their new rows, if the report is to be believed.
fn published(
    outcome: &Outcome,
    job: &Job,
    tasks: &[Option<Task<'_>>],
    target: &super::schema::Schema,
) -> Result<BTreeSet<String>, Violation> {
    let odd = |what: String| Violation { class: ODD, what };
    let [report] = outcome.reports.as_slice() else {
        return Err(Violation {
            class: "no report",
            what: "there is not one report".to_owned(),
        });
    };
    let all = || -> BTreeSet<String> {
        tasks
            .iter()
            .flatten()
            .map(|task| task.target.name.clone())
            .collect()
    };
    match (outcome.code, report["outcome"].as_str()) {
        (Some(0), Some("committed")) => {
            let tables = report["tables"].as_array().map_or(0, Vec::len);
            // Partitions that are swapped are reported one by one.
            let one_each = !(job.replace && job.mode == "swap");
            if tasks.iter().any(Option::is_none) || one_each && tables != tasks.len() {
                return Err(odd(format!(
                    "{tables} tables are reported, {} wanted",
                    tasks.len()
                )));
            }
            Ok(all())
        }
        (Some(1), Some("rolled_back")) => {
            let error = &report["error"];
            let state = error["sqlstate"].as_str().unwrap_or_default();
            let kind = error["kind"].as_str().unwrap_or_default();
            // A trigger of the target may try to set an identity column itself, or write a partition that is not
            // attached yet; and PostgreSQL has no other code for a rule that rewrites what a foreign key asks.
            let message = error["message"].as_str().unwrap_or_default();
            let mut extras = target.extras.iter();
            let by_others = match state {
                "42501" | "428C9" => true,
                "42P01" => extras.any(|extra| {
                    let written = extra.writes.as_ref();
                    written.is_some_and(|name| {
                        message.contains(&format!("relation \"public.{name}\""))
                    })
                }),
                "XX000" => {
                    message.contains("referential integrity query")
                        && extras.any(|extra| extra.feature == "rule")
                }
                _ => false,
            };
            let of_ours = (state.starts_with("42") || state.starts_with("XX")) && !by_others;
            if of_ours || kind == "bug" || kind.is_empty() {
                return Err(odd(format!("{kind} {state}")));
            }
            let names = tasks.iter().flatten().map(|task| &task.target.name);
            let is_published = |name: &&String| {
                let quoted = super::schema::quoted(name);
                let tables = report["tables"].as_array();
                tables.into_iter().flatten().any(|table| {
                    let target = table["target"].as_str().unwrap_or_default();
                    let same =
                        target == format!("public.{name}") || target == format!("public.{quoted}");
                    same && table["committed"] == true
                })
            };
            Ok(names.filter(is_published).cloned().collect())
        }
        (code, outcome) => Err(odd(format!("exit {code:?} and {outcome:?}"))),
    }
}

/// A schema as it looks.
struct Shape {
    fingerprint: String,
    dump: Option<String>,
}

impl Shape {
    fn of(db: &Databases<'_>, job: &Job) -> Shape {
        Shape {
            fingerprint: db.target.value("SELECT coalesce(fz.fingerprint(), '')"),
            dump: if job.mode == "swap" {
                schema_of(&db.target)
            } else {
                None
            },
        }
    }

    fn compare(&self, after: &Shape) -> Result<(), Violation> {
        let dump = self.dump.as_ref().zip(after.dump.as_ref());
        let dump = dump.filter(|(before, after)| before != after);
        let fingerprint = (&self.fingerprint, &after.fingerprint);
        let different = if fingerprint.0 == fingerprint.1 {
            dump
        } else {
            Some(fingerprint)
        };
        if let Some((before, after)) = different {
            let only = |these: &str, those: &str| {
                let those: BTreeSet<&str> = those.lines().collect();
                let lines: Vec<&str> = these.lines().filter(|line| !those.contains(line)).collect();
                lines.join("\n  ")
            };
            return Err(Violation {
                class: "the schema changed",
                what: format!(
                    "only before:\n  {}\nonly after:\n  {}",
                    only(before, after),
                    only(after, before)
                ),
            });
        }
        Ok(())
    }
}

/// Sequences are past the copied values: the next default is free.
fn sequences(
    db: &Databases<'_>,
    job: &Job,
    tasks: &[Option<Task<'_>>],
    before: &[(String, String)],
) -> Result<(), Violation> {
    if !job.sequences {
        return Ok(());
    }
    for (table, wrong) in reader::next_values(&db.target, tasks) {
        // Rows that were there already, and stay, may be past their sequence for ever.
        let was_wrong = before.iter().any(|(name, _)| *name == table);
        let none_stay = matches!(job.mode, "truncate" | "swap" | "merge") && !job.replace;
        if !was_wrong || none_stay {
            return Err(Violation {
                class: "the next default is taken",
                what: format!("{table}: {wrong}"),
            });
        }
    }
    Ok(())
}

/// Why a run was refused: the kind, and the words without the names.
fn reason(outcome: &Outcome) -> (String, String) {
    let error = &outcome.report()["error"];
    let part = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let message = part("message");
    // Of several reasons the first.
    let message = message
        .lines()
        .find(|line| !line.trim_end().ends_with("reasons:"));
    let message = message.unwrap_or_default();
    let message = message
        .rsplit_once("failed: ")
        .map_or(message, |(_, reason)| reason);
    let mut words = Vec::new();
    for word in message.split_whitespace().take(16) {
        let named = word
            .chars()
            .any(|c| c.is_ascii_digit() || "\".()'".contains(c));
        words.push(if named { "…" } else { word });
    }
    words.dedup();
    let words = format!("{} {} {}", part("kind"), part("sqlstate"), words.join(" "));
    (part("kind"), words)
}
