//! The programs in `examples/`, built and run against a server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::support::{Database, databases};

const TABLE: &str = "CREATE TABLE readings (id bigint PRIMARY KEY, sensor text, value float8)";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of the examples' programs. Cargo builds them only with all tests.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--locked", "--quiet", "--examples"])
            .current_dir(root());
        let built = build.output().unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        program().parent().unwrap().join("examples")
    })
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tableferry"))
}

/// A command that finds the database by the environment, and `tableferry` by the path.
fn command(program: impl AsRef<std::ffi::OsStr>, database: &Database<'_>) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = self::program().parent().unwrap().display().to_string();
    let mut command = Command::new(program);
    command
        .env("PATH", format!("{own}:{path}"))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", database.cluster.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGSSLMODE", "disable")
        .env("PGDATABASE", database.name());
    command
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The sum of what the programs write.
fn sum(database: &Database<'_>) -> Option<String> {
    database.rows("SELECT count(*) || ' ' || sum(value) FROM readings")[0][0].clone()
}

#[test]
fn rust_programs_load_and_read() {
    let db = databases("examples");
    db.both(TABLE);
    let load = || {
        command(built().join("load_rows"), &db.target)
            .output()
            .unwrap()
    };
    assert_eq!(succeeded(&load()), "1000 rows inserted\n");
    assert_eq!(sum(&db.target).as_deref(), Some("1000 50050"));
    let read = command(built().join("read_rows"), &db.target)
        .output()
        .unwrap();
    let means = succeeded(&read);
    assert_eq!(
        (means.lines().count(), means.lines().next()),
        (7, Some("sensor 0: 74.9"))
    );

    let mut program = command(built().join("load_csv"), &db.target)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut socket = TcpStream::connect(output.next().unwrap().unwrap()).unwrap();
    let csv = (1..=999).map(|i| format!("{i},x,1\n")).collect::<String>();
    write!(socket, "id,sensor,value\n{csv}").unwrap();
    drop(socket);
    assert_eq!(output.next().unwrap().unwrap(), "999 updated, 1 deleted");
    assert!(program.wait().unwrap().success());

    let mut copy = command(built().join("copy_blocks"), &db.target);
    let copied = copy
        .args([db.target.conninfo(), db.source.conninfo()])
        .output()
        .unwrap();
    assert_eq!(succeeded(&copied), "100 rows\n");
    assert_eq!(sum(&db.source).as_deref(), Some("100 100"));

    db.target
        .sql("TRUNCATE readings; ALTER TABLE readings ADD CHECK (id < 900)");
    let failed = load();
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("23514"), "{said}");
    assert_eq!(db.target.count("readings"), 0);
    db.wait_until_left();
}

#[test]
fn a_python_program_loads_all_of_its_rows_or_none() {
    let db = databases("examples_python");
    db.target.sql(TABLE);
    let text = std::fs::read_to_string(root().join("examples/load_rows.py")).unwrap();
    let run = |text: &str| command("python3", &db.target).args(["-c", text]).output();
    succeeded(&run(&text).expect("python3 must be installed"));
    assert_eq!(sum(&db.target).as_deref(), Some("1000 50050"));
    db.target.sql("TRUNCATE readings");
    // It raises an exception, or is killed, when most rows have been sent; or one of them is rejected.
    let values = "i / 10]";
    for failing in [
        "1 / (i - 990)]",
        "__import__('os').kill(__import__('os').getpid(), 9 * (i > 990))]",
        "'x' * (i > 990)]",
    ] {
        assert!(text.contains(values));
        let many = text.replace(values, failing).replace("1001", "100000");
        let failed = run(&many).unwrap();
        assert!(!failed.status.success(), "{failing}");
        db.wait_until_left();
        assert_eq!(db.target.count("readings"), 0, "{failing}");
    }
}

#[test]
fn the_documentation_shows_the_examples_as_they_are() {
    let page = std::fs::read_to_string(root().join("docs/programs.md")).unwrap();
    for (name, language) in [("load_rows.rs", "rust"), ("load_rows.py", "python")] {
        let text = std::fs::read_to_string(root().join("examples").join(name)).unwrap();
        assert!(
            page.contains(&format!("```{language}\n{text}```\n")),
            "{name}"
        );
    }
}
