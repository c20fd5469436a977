//! The schema of a database.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::database::Database;

/// The output of `pg_dump --schema-only` (owners, grants, indexes, triggers, and so on) without the ledger.
/// None if this machine has no pg_dump that is new enough for the server.
#[track_caller]
pub fn schema_of(database: &Database<'_>) -> Option<String> {
    let major = database.cluster.version() / 10_000;
    let pg_dump = (major..=30)
        .map(|version| format!("/usr/lib/postgresql/{version}/bin/pg_dump"))
        .find(|path| Path::new(path).exists())?;
    let output = Command::new(pg_dump)
        .args(["--schema-only", "--exclude-schema=tableferry", "--dbname"])
        .arg(database.uri())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pg_dump: {stderr}");
    let dump = String::from_utf8(output.stdout).unwrap();
    // Newer minor versions guard their scripts with a random key.
    let lines = dump
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// Asserts that the database's schema is unchanged. A failure shows the lines that differ.
#[track_caller]
pub fn assert_same_schema(before: &Option<String>, db: &Database<'_>) {
    let after = schema_of(db);
    let (Some(before), Some(after)) = (before, &after) else {
        return;
    };
    let (old, new): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().collect(), after.lines().collect());
    assert!(
        before == after,
        "only before:\n{}\nonly after:\n{}",
        old.difference(&new).copied().collect::<Vec<_>>().join("\n"),
        new.difference(&old).copied().collect::<Vec<_>>().join("\n"),
    );
}
