//! What was generated, and how runs ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::case::{Act, Case, Place};
use super::schema::{Filled, KeyKind, ParentKind};
use super::stage::Played;

#[derive(Default)]
struct Line {
    rounds: u64,
    committed: u64,
    refused: u64,
    violations: u64,
}

/// The runs of a mode.
#[derive(Default)]
struct Runs {
    all: u64,
    committed: u64,
    refused: BTreeMap<String, u64>,
    violations: u64,
}

#[derive(Default)]
pub struct Tally {
    rounds: u64,
    invalid: u64,
    violations: u64,
    features: BTreeMap<String, Line>,
    modes: BTreeMap<&'static str, Runs>,
    reasons: BTreeMap<String, u64>,
    not_made: BTreeMap<String, u64>,
    compared: BTreeMap<String, u64>,
}

impl Tally {
    pub fn count(&mut self, case: &Case, played: Option<&Played>) {
        self.rounds += 1;
        let Some(played) = played else {
            self.invalid += 1;
            return;
        };
        let violated = u64::from(played.violation.is_some());
        self.violations += violated;
        let committed = played
            .ended
            .iter()
            .filter(|ended| ended.refused.is_none())
            .count() as u64;
        let refused = played.ended.len() as u64 - committed;
        for feature in features(case) {
            let line = self.features.entry(feature).or_default();
            line.rounds += 1;
            line.committed += committed;
            line.refused += refused;
            line.violations += violated;
        }
        for ended in &played.ended {
            let runs = self.modes.entry(ended.mode).or_default();
            runs.all += 1;
            for way in &ended.compared {
                *self.compared.entry(way.clone()).or_default() += 1;
            }
            match &ended.refused {
                None => runs.committed += 1,
                Some((kind, words)) => {
                    *runs.refused.entry(kind.clone()).or_default() += 1;
                    *self.reasons.entry(words.clone()).or_default() += 1;
                }
            }
        }
        if let Some(mode) = played.violated {
            let runs = self.modes.entry(mode).or_default();
            runs.all += 1;
            runs.violations += 1;
        }
        for message in &played.not_made {
            let message: String = message.chars().take(60).collect();
            *self.not_made.entry(message).or_default() += 1;
        }
    }

    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Rounds whose tables could not be made: mistakes of the generator.
    pub fn invalid(&self) -> u64 {
        self.invalid
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        let mut sum = Tally::default();
        for tally in tallies {
            sum.rounds += tally.rounds;
            sum.invalid += tally.invalid;
            sum.violations += tally.violations;
            for (feature, line) in tally.features {
                let total = sum.features.entry(feature).or_default();
                total.rounds += line.rounds;
                total.committed += line.committed;
                total.refused += line.refused;
                total.violations += line.violations;
            }
            for (mode, runs) in tally.modes {
                sum.modes.entry(mode).or_default().add(&runs);
            }
            for (reason, count) in tally.reasons {
                *sum.reasons.entry(reason).or_default() += count;
            }
            for (way, count) in tally.compared {
                *sum.compared.entry(way).or_default() += count;
            }
            for (message, count) in tally.not_made {
                *sum.not_made.entry(message).or_default() += count;
            }
        }
        sum
    }
}

impl Runs {
    fn add(&mut self, other: &Runs) {
        self.all += other.all;
        self.committed += other.committed;
        self.violations += other.violations;
        for (kind, count) in &other.refused {
            *self.refused.entry(kind.clone()).or_default() += count;
        }
    }
}

impl Tally {
    /// The runs by mode and by the kind of what refused them.
    fn modes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Runs::default();
        self.modes.values().for_each(|runs| all.add(runs));
        let kinds: Vec<&String> = all.refused.keys().collect();
        write!(f, "| mode | runs | committed |")?;
        kinds.iter().try_for_each(|kind| write!(f, " `{kind}` |"))?;
        write!(f, " violations |\n|---|---:|---:|")?;
        kinds.iter().try_for_each(|_| write!(f, "---:|"))?;
        writeln!(f, "---:|")?;
        let modes = self.modes.iter().map(|(mode, runs)| (*mode, runs));
        for (mode, runs) in modes.chain([("**all**", &all)]) {
            write!(f, "| {mode} | {} | {} |", runs.all, runs.committed)?;
            for kind in &kinds {
                let count = runs.refused.get(*kind).copied().unwrap_or_default();
                write!(f, " {count} |")?;
            }
            writeln!(f, " {} |", runs.violations)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.modes(f)?;
        writeln!(
            f,
            "| rounds with | rounds | runs committed | runs refused | violations |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        for (feature, line) in &self.features {
            writeln!(
                f,
                "| {feature} | {} | {} | {} | {} |",
                line.rounds, line.committed, line.refused, line.violations
            )?;
        }
        writeln!(f, "\n| refused | runs |\n|---|---:|")?;
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in reasons {
            writeln!(f, "| {reason} | {count} |")?;
        }
        writeln!(f, "\n| compared by | tables |\n|---|---:|")?;
        for (way, count) in &self.compared {
            writeln!(f, "| {way} | {count} |")?;
        }
        if std::env::var_os("TABLEFERRY_FUZZ_DEBUG").is_some() {
            writeln!(f, "\nnot made:")?;
            for (message, count) in &self.not_made {
                writeln!(f, "{count} {message}")?;
            }
        }
        writeln!(
            f,
            "\n{} rounds, {} without tables, {} violations",
            self.rounds, self.invalid, self.violations
        )
    }
}

/// What a case is made of.
fn features(case: &Case) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut add = |feature: &str| found.insert(feature.to_owned());
    for place in [Place::Source, Place::Target] {
        let schema = case.schema(place);
        for extra in &schema.extras {
            add(extra.feature);
        }
        for table in &schema.tables {
            if table.columns.iter().any(|column| column.after_dropped) {
                add("dropped column");
            }
            match table.parent.as_ref().map(|parent| &parent.kind) {
                Some(ParentKind::Inherits) => add("inheritance"),
                Some(ParentKind::Partition(_)) => add("partition"),
                Some(ParentKind::Attached(_)) => add("attached partition"),
                None => false,
            };
            if table.is_partition() && table.partition_by.is_some() {
                add("partitions of partitions");
            }
            match table.primary() {
                Some(key) if key.columns.len() > 1 => add("key of several columns"),
                Some(_) => add("key of one column"),
                None => add("no primary key"),
            };
            for key in &table.keys {
                if key.kind != KeyKind::Primary {
                    add("second unique index");
                }
                if !key.deferrable.is_empty() {
                    add("deferrable key");
                }
            }
            for column in &table.columns {
                if let Some(feature) = column.ty.feature() {
                    add(feature);
                }
                match &column.filled {
                    Filled::Null => false,
                    Filled::Default(_) => add("default"),
                    Filled::Serial => add("serial column"),
                    Filled::IdentityAlways | Filled::IdentityByDefault(_) => add("identity column"),
                    Filled::Generated(_) => add("generated column"),
                };
            }
            for foreign in &table.foreign {
                add(&format!("foreign key, ON DELETE {}", foreign.on_delete));
                add(&format!("foreign key, ON UPDATE {}", foreign.on_update));
                if foreign.table == table.name {
                    add("foreign key to itself");
                }
                if foreign.more.contains("DEFERRABLE") {
                    add("deferrable foreign key");
                }
            }
        }
    }
    for act in &case.acts {
        let Act::Run(job, beside) = act else {
            add("changes between runs");
            continue;
        };
        match beside.as_ref().map(|beside| beside.place) {
            Some(Place::Source) => add("source written during a run"),
            Some(Place::Target) => add("target written during a run"),
            None => false,
        };
        if job.workers > 1 {
            add("several workers");
        }
        if job.replace {
            add("replace = \"partitions\"");
        }
        if !job.atomic {
            add("atomic = false");
        }
        if job.verify == "checksum" {
            add("verify = \"checksum\"");
        }
        if job.triggers == "skip" {
            add("triggers = \"skip\"");
        }
        for entry in &job.tables {
            if entry.columns.is_some() {
                add("columns");
            }
            if entry.condition.is_some() {
                add("where");
            }
            if !entry.set.is_empty() {
                add("set");
            }
            if entry.within {
                add("scope = \"where\"");
            }
        }
    }
    found
}
