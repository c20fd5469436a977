//! What a database holds besides its rows.

use std::process::Command;

use super::database::Database;

/// All that `pg_dump --schema-only` says of a database: owners, grants, indexes, triggers, and so on.
#[track_caller]
pub fn schema_of(database: &Database<'_>) -> String {
    let output = Command::new("pg_dump")
        .args(["--schema-only", "--exclude-schema=tableferry", "--dbname"])
        .arg(database.uri())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pg_dump: {stderr}");
    let dump = String::from_utf8(output.stdout).unwrap();
    // Newer pg_dumps guard their scripts with a random key.
    let lines = dump
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}
