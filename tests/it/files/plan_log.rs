//! What `plan` shows of a job with files is what `run` does: the server's own log says which statements ran.

use serde_json::Value;

use super::{directory, job, listed, run};
use crate::plan_log::{logging, matters, planned, statements, unplanned};
use crate::support::{ClusterOptions, Databases, Job, MODES, assert_committed, databases_on};

const TABLES: &str =
    "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY)";

fn plan(job: &Job, name: &str) -> Value {
    let plan = job.run(&["plan", name, "--json"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    serde_json::from_str(plan.stdout.trim()).unwrap()
}

/// The plan's statements on one side, comments included.
fn shown(plan: &Value, side: &str) -> Vec<String> {
    let statements = plan["statements"].as_array().unwrap().iter();
    let of_side = statements.filter(|statement| statement["side"] == side);
    of_side
        .map(|statement| statement["sql"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_export_runs_what_the_plan_shows() {
    let source = logging(ClusterOptions::default().source());
    let target = logging(ClusterOptions::default().target());
    for mode in ["truncate", "swap"] {
        let db: Databases<'_> = databases_on(&source, &target, &format!("export_log_{mode}"));
        db.source.sql(TABLES);
        db.source
            .sql("INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1), (2)");
        let text = format!(
            "[jobs.j]\nsource = \"source\"\ntarget = \"files\"\nmode = \"{mode}\"\n\
             tables = [\"public.*\"]\n\
             [jobs.j.table.\"public.v\"]\nquery = \"SELECT 1 AS one\"\n"
        );
        let job = job(&db, &text);
        let plan = plan(&job, "j");
        assert!(listed(&job).is_empty());
        let from = source.log().len();

        assert_committed(&run(&job));

        let log = source.log();
        let ran = statements(&log[from..]);
        let planned = planned(&plan, "source");
        // Nothing else locks or writes on the source, and all that is shown runs, in this order.
        assert_eq!(unplanned(&planned, &ran), [] as [&str; 0], "{mode}");
        let mut rest = ran.iter().map(|(_, sql)| sql);
        for sql in &planned {
            assert!(
                rest.any(|ran| ran == sql),
                "{mode}: {sql} did not run:\n{ran:?}"
            );
        }
        assert_eq!(
            planned.iter().filter(|sql| sql.starts_with("COPY")).count(),
            3
        );
        let begun = planned[0].starts_with("BEGIN ISOLATION LEVEL REPEATABLE READ");
        assert!(begun && planned.last().unwrap() == "COMMIT", "{planned:?}");
        // The files' part, from beginning to end.
        let write = |file| {
            format!(
                "-- writes file public.{file}.csv under a temporary name beside its place, syncs it"
            )
        };
        assert_eq!(
            shown(&plan, "target"),
            [
                &write("a"),
                &write("b"),
                &write("v"),
                "-- compares the numbers of rows, applies the guard",
                "-- when all files are written: renames them to their names",
                "-- syncs their directories",
            ]
        );
        assert_eq!(
            listed(&job),
            ["public.a.csv", "public.b.csv", "public.v.csv"]
        );
    }
}

#[test]
fn a_load_from_files_runs_what_the_plan_shows() {
    let source = logging(ClusterOptions::default().source());
    let target = logging(ClusterOptions::default().target());
    for mode in MODES {
        for atomic in [true, false] {
            let name = format!("{mode}, atomic {atomic}");
            let db = databases_on(&source, &target, &format!("load_log_{mode}_{atomic}"));
            db.target.sql(TABLES);
            let text = format!(
                "[jobs.j]\nsource = \"files\"\ntarget = \"target\"\nmode = \"{mode}\"\n\
                 atomic = {atomic}\ntables = [\"public.a\", \"public.b\"]\n"
            );
            let job = job(&db, &text);
            let configured = std::fs::read_to_string(job.configuration()).unwrap();
            let unrecorded = configured.replace("[daemon]", "[daemon]\nhistory = 'off'");
            std::fs::write(job.configuration(), unrecorded).unwrap();
            std::fs::write(directory(&job).join("public.a.csv"), "id,v\n1,x\n").unwrap();
            std::fs::write(directory(&job).join("public.b.csv"), "id\n7\n8\n").unwrap();
            db.target.sql(&job.run(&["schema"]).stdout);
            let plan = plan(&job, "j");
            let from = target.log().len();

            assert_committed(&run(&job));

            let log = target.log();
            let ran = statements(&log[from..]);
            let planned = planned(&plan, "target");
            assert_eq!(unplanned(&planned, &ran), [] as [&str; 0], "{name}");
            let copies = |sql: &&String| sql.starts_with("COPY");
            assert_eq!(planned.iter().filter(copies).count(), 2, "{name}");
            assert!(
                ran.iter().filter(|(_, sql)| matters(sql)).count() > 2,
                "{name}"
            );
            assert_eq!(
                shown(&plan, "source")
                    .iter()
                    .filter(|sql| !sql.starts_with("--"))
                    .count(),
                0
            );
        }
    }
}
