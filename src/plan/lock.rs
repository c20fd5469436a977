//! The locks that a run takes on relations, derived from its plan.
//!
//! Functions that triggers, defaults or a `query` call may take more locks, which no catalog lists.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::catalog::desc::RelationKind;
use crate::config::spec::{JobSpec, Mode};
use crate::error::Side;
use crate::pg::ident::QualifiedName;
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::swap;
use crate::plan::used::{Use, Used, add_use};

/// A lock that a statement takes until the end of its transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lock {
    /// The side.
    pub side: Side,
    /// The relation.
    pub relation: String,
    /// The lock mode, as in SQL.
    pub lock: &'static str,
    /// What other sessions cannot do while it is held.
    pub blocks: &'static str,
}

/// A lock mode, and what it blocks.
type LockKind = (&'static str, &'static str);

const EVERYBODY: LockKind = ("ACCESS EXCLUSIVE", "everybody, readers too, until COMMIT");
/// Of a table whose partitions are replaced: those that get no rows are not locked.
const PARENT: LockKind = (
    "SHARE UPDATE EXCLUSIVE",
    "DDL, VACUUM and ANALYZE of the parent, until COMMIT",
);
const SWAPPED: LockKind = (
    "SHARE UPDATE EXCLUSIVE, then ACCESS EXCLUSIVE",
    "DDL and VACUUM; everybody while the tables are replaced",
);
const ROWS: LockKind = (
    "ROW EXCLUSIVE",
    "DDL, CREATE INDEX and VACUUM FULL, until COMMIT",
);

impl Use {
    fn kind(self) -> LockKind {
        match self {
            Use::LooksUp => (
                "ROW SHARE",
                "DDL and TRUNCATE, until COMMIT, where foreign keys look rows up",
            ),
            Use::Advances => ("ROW EXCLUSIVE", "ALTER and DROP SEQUENCE, until COMMIT"),
            Use::Changes => (
                "ROW EXCLUSIVE",
                "DDL, CREATE INDEX and VACUUM FULL, until COMMIT, where foreign keys change rows",
            ),
        }
    }
}

/// The locks of a job's run: on the source, on the target until COMMIT, and after COMMIT.
pub fn locks(plan: &JobPlan, job: &JobSpec) -> Vec<Lock> {
    let mut source: Vec<&QualifiedName> = plan.seen_locks.source.iter().collect();
    source.extend(
        plan.tables
            .iter()
            .filter_map(|t| t.source_relation.as_ref()),
    );
    source.sort_unstable();
    source.dedup();
    let reads = |relation: &QualifiedName| Lock {
        side: Side::Source,
        relation: relation.to_string(),
        lock: "ACCESS SHARE",
        blocks: "DDL, TRUNCATE and VACUUM FULL, until the copy ends",
    };
    let mut list: Vec<Lock> = source.into_iter().map(reads).collect();

    let into_files = |table: &CopyPlan| table.target_kind == RelationKind::File;
    if plan.tables.iter().any(into_files) {
        return list;
    }
    let kind = match job.mode {
        Mode::Truncate => EVERYBODY,
        Mode::Swap => SWAPPED,
        Mode::Append | Mode::Merge | Mode::Upsert => ROWS,
    };
    // Nobody else sees a table that the run makes.
    let existing = plan.tables.iter().filter(|table| !table.is_new());
    let mut targets: Vec<&QualifiedName> = Vec::new();
    for name in with_partitions(plan, existing) {
        // Several sources write one table.
        if !targets.contains(&name) {
            targets.push(name);
        }
    }
    let parents = plan
        .tables
        .iter()
        .filter(|t| t.partitions.replaced.is_some());
    let parents: Vec<&QualifiedName> = parents.map(|table| &table.target).collect();
    list.extend(targets.iter().map(|name| match parents.contains(name) {
        true => on_target(name, PARENT),
        false => on_target(name, kind),
    }));
    list.extend(of_creation(&plan.tables));
    let mut others: BTreeMap<QualifiedName, LockKind> = BTreeMap::new();
    for (relation, does) in used(&plan.tables) {
        let parts = plan.seen_locks.partitions.get(&relation);
        for part in parts.into_iter().flatten() {
            others.insert(part.clone(), does.kind());
        }
        others.insert(relation, does.kind());
    }
    others.extend(swap::other_locks(&plan.tables));
    others.retain(|relation, _| !targets.contains(&relation));
    list.extend(others.iter().map(|(name, kind)| on_target(name, *kind)));

    let makes = |table: &&CopyPlan| table.partitions.missing.is_some();
    for table in plan.tables.iter().filter(makes) {
        let attach = "DDL, VACUUM and ANALYZE, if partitions are created";
        list.push(on_target(&table.target, ("SHARE UPDATE EXCLUSIVE", attach)));
        let referenced = table.used.iter().filter(|(_, does)| **does == Use::LooksUp);
        let writes = "writes, if partitions are created, which get the foreign keys";
        list.extend(referenced.map(|(name, _)| on_target(name, ("SHARE ROW EXCLUSIVE", writes))));
    }

    if job.analyze {
        let kind = (
            "SHARE UPDATE EXCLUSIVE",
            "DDL and VACUUM, during ANALYZE after COMMIT",
        );
        // A shadow is analyzed before it is published.
        let mut analyzed = targets.clone();
        if job.mode == Mode::Swap {
            let parents = plan.tables.iter().filter_map(|t| t.partition_of.as_ref());
            analyzed = parents.collect();
            analyzed.sort_unstable();
            analyzed.dedup();
        }
        list.extend(analyzed.iter().map(|name| on_target(name, kind)));
    }
    list
}

/// The relations of the target whose partitions are locked with them.
pub fn partitioned_candidates(plan: &JobPlan) -> Vec<QualifiedName> {
    let targets = plan.tables.iter().map(|table| table.target.clone());
    targets.chain(used(&plan.tables).into_keys()).collect()
}

/// The locks of what is made on tables that exist: columns, and foreign keys that point to them.
fn of_creation(tables: &[CopyPlan]) -> Vec<Lock> {
    let mut locks = Vec::new();
    for table in tables {
        let Some(creation) = &table.creation else {
            continue;
        };
        if !creation.is_new && !matches!(table.load, Load::Shadow(_)) {
            locks.push(on_target(&table.target, EVERYBODY));
        }
        let writes = (
            "SHARE ROW EXCLUSIVE",
            "writes, until COMMIT, because a new table refers to it",
        );
        locks.extend(
            creation
                .outer_keys
                .iter()
                .map(|key| on_target(&key.to, writes)),
        );
    }
    locks
}

fn with_partitions<'a>(
    plan: &'a JobPlan,
    tables: impl Iterator<Item = &'a CopyPlan>,
) -> impl Iterator<Item = &'a QualifiedName> {
    tables.flat_map(|table| {
        let parts = plan.seen_locks.partitions.get(&table.target);
        std::iter::once(&table.target).chain(parts.into_iter().flatten())
    })
}

/// The relations that all tables use.
fn used(tables: &[CopyPlan]) -> Used {
    let mut all = Used::new();
    for table in tables {
        let by_effects = match &table.load {
            Load::Staged(staged) => Some(&staged.effects.outside),
            Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        };
        for (relation, does) in table.used.iter().chain(by_effects.into_iter().flatten()) {
            add_use(&mut all, relation.clone(), *does);
        }
    }
    all
}

fn on_target(relation: &QualifiedName, (lock, blocks): LockKind) -> Lock {
    Lock {
        side: Side::Target,
        relation: relation.to_string(),
        lock,
        blocks,
    }
}
