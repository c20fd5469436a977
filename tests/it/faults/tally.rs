//! What the rounds came to, as a table.

use std::collections::BTreeMap;
use std::fmt;

use super::kinds::Kind;

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The new rows are there.
    Committed,
    /// The old rows are there.
    RolledBack,
}

/// What one round came to.
#[derive(Debug)]
pub struct Result {
    /// Did the fault strike before the run was over?
    pub injected: bool,
    /// How it ended, or what was wrong.
    pub ended: std::result::Result<Ended, String>,
}

#[derive(Default)]
struct Line {
    injected: u64,
    committed: u64,
    rolled_back: u64,
    violations: u64,
}

/// The lines of all kinds.
#[derive(Default)]
pub struct Tally(BTreeMap<Kind, Line>);

impl Tally {
    pub fn count(&mut self, kind: Kind, result: Result) {
        let line = self.0.entry(kind).or_default();
        if let Err(what) = &result.ended {
            println!("VIOLATION {kind:?}: {what}");
            line.violations += 1;
        }
        if result.injected {
            line.injected += 1;
            match result.ended {
                Ok(Ended::Committed) => line.committed += 1,
                Ok(Ended::RolledBack) => line.rolled_back += 1,
                Err(_) => {}
            }
        }
    }

    pub fn injected(&self) -> u64 {
        self.0.values().map(|line| line.injected).sum()
    }

    pub fn violations(&self) -> u64 {
        self.0.values().map(|line| line.violations).sum()
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        let mut sum = Tally::default();
        for (kind, line) in tallies.flat_map(|tally| tally.0) {
            sum.0.entry(kind).or_default().add(&line);
        }
        sum
    }
}

impl Line {
    fn add(&mut self, other: &Line) {
        self.injected += other.injected;
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.violations += other.violations;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | injected | committed | rolled back | violations |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        let mut sum = Line::default();
        for (kind, line) in &self.0 {
            row(f, kind.name(), line)?;
            sum.add(line);
        }
        row(f, "**all**", &sum)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, line: &Line) -> fmt::Result {
    let Line {
        injected,
        committed,
        rolled_back,
        violations,
    } = line;
    writeln!(
        f,
        "| {name} | {injected} | {committed} | {rolled_back} | {violations} |"
    )
}
