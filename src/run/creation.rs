//! `create = "missing"` and `new_columns = "add"`: plans what the target lacks, and tries it in a transaction that is
//! rolled back. In this transaction the new tables are described like any other target.

use std::collections::{BTreeMap, BTreeSet};

use super::context::JobContext;
use crate::catalog;
use crate::catalog::attachments::AttachedColumn;
use crate::catalog::creation::{self, Creation, MadeType, Name, Object};
use crate::catalog::desc::RelationDesc;
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::create::{self, Material};
use crate::plan::{Inspected, Refusal};

/// The target's transaction while it is inspected.
pub(super) struct Trial {
    is_open: bool,
    /// Why tables cannot be made.
    pub refused: Vec<Refusal>,
    /// The columns that tables get, as far as `swap` has to know.
    pub columns: BTreeMap<QualifiedName, Vec<AttachedColumn>>,
}

impl Trial {
    /// Nothing is tried.
    pub fn none() -> Self {
        Trial {
            is_open: false,
            refused: Vec::new(),
            columns: BTreeMap::new(),
        }
    }

    /// Ends the transaction: nothing of it stays.
    pub async fn end(&self, target: &Session) -> Result<()> {
        match self.is_open {
            true => target.run(Phase::Inspect, "ROLLBACK").await,
            false => target.end_reading(Phase::Inspect).await,
        }
    }
}

/// Makes the missing tables in a transaction, which stays open, and describes them. Their entries get the
/// descriptions and what is made. Locks nothing but what is new.
pub(super) async fn attempt(
    context: &JobContext,
    source: &Session,
    target: &Session,
    entries: &mut [Inspected],
    to: &mut BTreeMap<QualifiedName, RelationDesc>,
) -> Result<Trial> {
    let job = &context.job;
    if !entries.iter().any(|entry| is_changed(job, entry)) {
        return Ok(Trial::none());
    }
    let mut planned = match plan(job, source, target, entries).await? {
        Ok(planned) => planned,
        Err(refused) => {
            return Ok(Trial {
                refused,
                ..Trial::none()
            });
        }
    };
    target.end_reading(Phase::Inspect).await?;
    target
        .begin(Phase::Inspect, "ISOLATION LEVEL READ COMMITTED READ WRITE")
        .await?;
    let mut trial = Trial {
        is_open: true,
        ..Trial::none()
    };
    let mut tried = Tried::default();
    // What joins tables comes when all of them are there.
    for joins in [false, true] {
        for (name, creation) in &planned {
            let refused = tried.all(target, name, creation, joins).await?;
            trial.refused.extend(refused);
        }
    }
    if !trial.refused.is_empty() {
        return Ok(trial);
    }
    let made_new = planned.iter().filter(|(_, creation)| creation.is_new);
    let names: Vec<QualifiedName> = made_new.map(|(name, _)| name.clone()).collect();
    to.extend(catalog::read(target, &names).await?);
    trial.columns = added(target, &planned, to).await?;
    for entry in entries {
        let Some(creation) = planned.remove(&entry.spec.target) else {
            continue;
        };
        if let Some(desc) = to.get_mut(&entry.spec.target) {
            desc.foreign_keys
                .extend(creation.outer_keys.iter().cloned());
            entry.target = Some(desc.clone());
        }
        entry.creation = Some(creation);
    }
    Ok(trial)
}

fn is_changed(job: &JobSpec, entry: &Inspected) -> bool {
    create::is_missing(job, entry) || !create::new_columns(job, entry).is_empty()
}

/// Describes columns that tables get: as columns of temporary tables, because to add them would lock the tables.
/// Returns what is attached to them, by the table that gets them.
async fn added(
    target: &Session,
    planned: &BTreeMap<QualifiedName, Creation>,
    to: &mut BTreeMap<QualifiedName, RelationDesc>,
) -> Result<BTreeMap<QualifiedName, Vec<AttachedColumn>>> {
    let mut attached = BTreeMap::new();
    let getting = planned
        .iter()
        .filter(|(_, creation)| !creation.added.is_empty());
    for (number, (name, creation)) in getting.enumerate() {
        let scratch = format!("tableferry_columns_{number}");
        let columns = creation
            .added
            .iter()
            .map(|column| column.definition.as_str());
        let columns = columns.collect::<Vec<_>>().join(", ");
        let sql = format!("CREATE TEMPORARY TABLE {scratch} ({columns})");
        let made = target.run(Phase::Inspect, &sql).await;
        made.map_err(|error| error.on(name))?;
        let sql = "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace AS n \
                   WHERE n.oid = pg_catalog.pg_my_temp_schema()";
        let what = "the schema of temporary tables";
        let row = target.one_row(Phase::Inspect, what, sql, &[]).await?;
        let scratch = [QualifiedName::new(row.get::<String>(0)?, scratch)];
        let described = catalog::read(target, &scratch).await?;
        if let (Some(desc), Some(table)) = (described.get(&scratch[0]), to.get_mut(name)) {
            table.columns.extend(desc.columns.iter().cloned());
        }
        let found = catalog::attachments(target, &scratch).await?;
        let columns = found.into_values().flat_map(|found| found.columns);
        attached.insert(name.clone(), columns.collect());
    }
    Ok(attached)
}

async fn plan(
    job: &JobSpec,
    source: &Session,
    target: &Session,
    entries: &[Inspected],
) -> Result<Result<BTreeMap<QualifiedName, Creation>, Vec<Refusal>>> {
    let changed = entries.iter().filter(|entry| is_changed(job, entry));
    let changed: Vec<&Inspected> = changed.collect();
    let models = changed.iter().filter_map(|entry| create::model(entry));
    let models: Vec<QualifiedName> = models.cloned().collect();
    let made = creation::tables(source, &models).await?;
    let columns = made.iter().flat_map(|table| &table.columns);
    let mut names: BTreeSet<Name> = columns.map(|column| column.type_name.clone()).collect();
    for entry in changed {
        let columns = entry.source.iter().flat_map(|source| &source.columns);
        let columns = columns.chain(entry.set.values());
        names.extend(columns.map(|column| Name::of(&column.ty.name)));
    }
    let types = creation::types(source, &names.iter().collect::<Vec<_>>()).await?;
    let name = |ty: &MadeType| Name {
        schema: ty.schema.clone(),
        name: ty.name.clone(),
    };
    let names: Vec<Name> = types.iter().map(name).collect();
    let asked = create::asked(entries, &made, &types, &names);
    let present = creation::present(target, &asked).await?;
    let material = Material {
        tables: entries,
        made: &made,
        types: &types,
        present: &present,
        version: target.version(),
    };
    Ok(create::plan(job, &material))
}

/// The objects that were made or refused.
#[derive(Default)]
struct Tried {
    made: BTreeSet<String>,
    refused: BTreeMap<String, Refusal>,
    without: BTreeSet<QualifiedName>,
}

impl Tried {
    /// Makes the objects of one table, those that join tables or the others, up to the first that the target refuses.
    ///
    /// *Errors:* those that say nothing of the object, such as a lost connection.
    async fn all(
        &mut self,
        target: &Session,
        name: &QualifiedName,
        creation: &Creation,
        joins: bool,
    ) -> Result<Option<Refusal>> {
        let objects = creation.objects.iter();
        for object in objects.filter(|object| object.joins.is_empty() != joins) {
            let mut joined = object.joins.iter();
            let is_skipped = object.is_outside || joined.any(|table| self.without.contains(table));
            if is_skipped || self.made.contains(&object.what) {
                continue;
            }
            if !self.refused.contains_key(&object.what) {
                match one(target, object).await? {
                    Ok(()) => {
                        self.made.insert(object.what.clone());
                        continue;
                    }
                    Err(error) => {
                        self.refused
                            .insert(object.what.clone(), refusal(object, &error));
                    }
                }
            }
            self.without.insert(name.clone());
            let refusal = self.refused.get(&object.what).cloned();
            return Ok(refusal.map(|refusal| Refusal {
                relation: name.to_string(),
                ..refusal
            }));
        }
        Ok(None)
    }
}

async fn one(target: &Session, object: &Object) -> Result<Result<(), Error>> {
    const SAVEPOINT: &str = "SAVEPOINT tableferry_object";
    let statements = object.before.iter().chain(&object.after);
    let statements: Vec<&str> = statements.map(String::as_str).collect();
    // Alone: of a batch with a syntax error, no statement is run.
    target.run(Phase::Inspect, SAVEPOINT).await?;
    let tried = target.run(Phase::Inspect, &statements.join(";\n")).await;
    let Err(error) = tried else {
        let sql = format!("RELEASE {SAVEPOINT}");
        return target.run(Phase::Inspect, &sql).await.map(Ok);
    };
    // Another session has made a schema or type of this name since it was looked for.
    if error.sqlstate() == Some("23505") {
        return Err(error.of_kind(ErrorKind::Conflict));
    }
    match error.kind() {
        ErrorKind::SchemaMismatch | ErrorKind::Permission | ErrorKind::DataRejected => {
            let sql = format!("ROLLBACK TO {SAVEPOINT}");
            target.run(Phase::Inspect, &sql).await?;
            Ok(Err(error))
        }
        _ => Err(error),
    }
}

fn refusal(object: &Object, error: &Error) -> Refusal {
    let message = format!("{} cannot be created: {}", object.what, error.message());
    let refusal = Refusal::mismatch(Side::Target, "", message).of_kind(error.kind());
    match (error.kind(), error.hint()) {
        (ErrorKind::Permission, Some(hint)) => refusal.hinted(hint),
        _ => refusal.hinted("create on the target what it lacks, or the table itself"),
    }
}
