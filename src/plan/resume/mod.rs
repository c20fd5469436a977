//! `resume = true`: what several workers have loaded stays loaded if the run dies, and the next run goes on with
//! it.
//!
//! Each part of a table is committed on its own, together with a row in a table of parts. That table also says
//! what the source was when the rows were read: the mark of `compare = "changed"` (`catalog/change_mark.rs`). A
//! run that finds such a load:
//!
//! 1. takes it over. Renaming the table of parts keeps out workers of the run that died.
//! 2. loads the parts that are missing, but only rows that were not written since the mark. The loaded table
//!    then has rows of one snapshot only, so no key is in it twice.
//! 3. finds the rows that differ, as `compare = "changed"` does, and writes these to the loaded table. A row
//!    that was not written by one of the transactions in the table of parts counts as changed.
//!
//! A load that does not allow this is dropped, and a warning says why.

pub mod types;

use std::collections::BTreeMap;

use crate::catalog::change_mark::ChangeState;
use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::catalog::load_state::{FoundLoad, LoadState};
use crate::catalog::mark::Present;
use crate::config::spec::{JobSpec, Scope, TableInput, TableSpec};
use crate::pg::ident::{QualifiedName, fnv1a, quote_literal};
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::shared::{KeptTables, Shared};
use crate::plan::staged::parts::Parts;
use crate::plan::staged::source_key::SourceKey;
use crate::plan::staged::stream::{self, Both};
use crate::plan::staged::stream_input::StreamInput;
use crate::plan::staged::{changed, key_index};
use types::{BringUp, KeptLoad, ResumePlan};

/// Tables with less on the source's disk are loaded again as quickly.
const SMALL_BYTES: u64 = 1 << 20;

/// Could a load of this table be kept? For deciding whether marks are read. Otherwise the reason, if it is worth
/// a warning.
pub fn may_be_kept(job: &JobSpec, entry: &Inspected) -> Result<(), Option<String>> {
    if !job.resume {
        return Err(None);
    }
    let (Some(source), Some(target)) = (&entry.source, &entry.target) else {
        return Err(None);
    };
    let is_table =
        |desc: &RelationDesc| matches!(desc.kind, RelationKind::Table | RelationKind::Partitioned);
    if !matches!(entry.spec.input, TableInput::Relation(_)) || !is_table(source) {
        return Err(Some("the source is not a table".to_owned()));
    }
    if source.bytes_estimate < SMALL_BYTES {
        return Err(None);
    }
    if entry.spec.watermark.is_some() {
        return Err(Some("a watermark reads only what is new".to_owned()));
    }
    if !source.privileges.select {
        return Err(Some("the role of the source lacks SELECT".to_owned()));
    }
    if !is_table(target) {
        return Err(Some("the target is not a table".to_owned()));
    }
    if !target.privileges.temporary {
        return Err(Some(
            "the role of the target may not make temporary tables".to_owned(),
        ));
    }
    Ok(())
}

/// The input of planning one table.
pub struct Table<'a> {
    pub input: StreamInput<'a>,
    pub shared: &'a Shared,
    pub state: &'a LoadState,
    /// The table that is loaded.
    pub loaded: QualifiedName,
    /// Statements that create it, if it is a shadow.
    pub definition: Option<String>,
    /// Statements that bring a shadow that was created earlier to what the target is now.
    pub refresh: Vec<String>,
    /// The position of the table in the job.
    pub number: usize,
    /// The conditions of its ranges; empty if it is not divided.
    pub conditions: Vec<String>,
}

/// A table's plan, and the conditions of the parts that this run loads: empty for the whole table.
pub struct Planned {
    pub resume: ResumePlan,
    pub conditions: Vec<String>,
}

/// Plans one table, or says why what is loaded of it cannot be kept.
pub fn plan(table: Table<'_>) -> Result<Planned, String> {
    let Table {
        input,
        shared,
        state,
        loaded,
        ..
    } = &table;
    let target = input.target;
    if !target.triggers.is_empty() {
        return Err("triggers of the target may change rows while they are loaded".to_owned());
    }
    // The rows that are loaded are compared whole, whatever `scope` says of the target's.
    let spec = TableSpec {
        scope: Scope::Table,
        on_missing: None,
        insert_only: Vec::new(),
        synced_at: None,
        source_value: None,
        ..input.spec.clone()
    };
    let desc = RelationDesc {
        name: loaded.clone(),
        kind: RelationKind::Table,
        rows_estimate: None,
        ..target.clone()
    };
    let input = StreamInput {
        spec: &spec,
        target: &desc,
        ..*input
    };
    let index = key_index(&spec, &desc).ok_or_else(|| "the target has no key".to_owned())?;
    let query = query(&table);
    let changes = change_state(state);
    changed::is_possible(&input, index, &changes)?;
    let parts = Parts {
        spec: &spec,
        target: &desc,
        columns: input.pairs.iter().map(|pair| pair.target).collect(),
        key: index,
        stage: QualifiedName::new("pg_temp", format!("tableferry_differing_{}", table.number)),
        changes: QualifiedName::new("pg_temp", "tableferry_unused"),
        gone: None,
        source_key: SourceKey::default(),
    };
    let both = stream::both(&input, parts, true)?;
    let name = shared.parts(&target.name, loaded);
    let marking = changes.marking(query);
    let mut conditions = table.conditions.clone();
    if conditions.is_empty() {
        conditions.push(String::new());
    }
    let mut resume = ResumePlan {
        create: create(&name, &shared.parts_mark(&target.name), &conditions),
        numbers: (1..).take(conditions.len()).collect(),
        drop: format!("DROP TABLE {}", name.sql()),
        parts: name,
        marking,
        kept: None,
    };
    let found = state.found.as_ref();
    if let Some(found) = found.filter(|_| shared.kept(&target.name).is_some()) {
        let of_source = changed::source_is_changed(input.source, &found.mark.source, &changes);
        (resume.numbers, conditions) = missing(found, &of_source);
        resume.kept = Some(kept(&table, &input, found, both, (&resume, of_source)));
    }
    Ok(Planned { resume, conditions })
}

/// A hash of what is read, and of what it is read into.
fn query(table: &Table<'_>) -> String {
    let definition = table.definition.as_deref().unwrap_or_default();
    let text = format!("{}\n{definition}", table.input.select);
    format!("{:016x}", fnv1a(text.as_bytes()))
}

fn change_state(state: &LoadState) -> ChangeState {
    let (since, target) = match &state.found {
        Some(found) => (Ok(found.mark.clone()), found.now.clone()),
        None => {
            let none = Present {
                place: state.target.clone(),
                relation: Default::default(),
                has_foreign: false,
            };
            (Err(String::new()), none)
        }
    };
    ChangeState {
        since,
        source: state.source.clone(),
        target,
        columns: state.columns.clone(),
        replayed: state.replayed,
    }
}

fn create(parts: &QualifiedName, mark: &str, conditions: &[String]) -> Vec<String> {
    let literal = |text: &str| quote_literal(text).trim_start().to_owned();
    let rows: Vec<String> = (1..)
        .zip(conditions)
        .map(|(number, condition): (i32, &String)| format!("({number}, {})", literal(condition)))
        .collect();
    let parts = parts.sql();
    vec![
        format!(
            "CREATE TABLE {parts} (part pg_catalog.int4 PRIMARY KEY, what pg_catalog.text NOT NULL, \
             transaction pg_catalog.int8)"
        ),
        format!("COMMENT ON TABLE {parts} IS {}", literal(mark)),
        format!(
            "INSERT INTO {parts} (part, what) VALUES {}",
            rows.join(", ")
        ),
    ]
}

/// The parts that are not complete, and what has to be read of each: not what was written since the mark, because
/// a row that was moved to another part would come twice.
fn missing(found: &FoundLoad, is_changed: &str) -> (Vec<i32>, Vec<String>) {
    let open = found.list.iter().filter(|part| part.transaction.is_none());
    open.map(|part| {
        let unchanged = format!("NOT {is_changed}");
        let condition = match part.condition.is_empty() {
            true => unchanged,
            false => format!("{} AND {unchanged}", part.condition),
        };
        (part.number, condition)
    })
    .unzip()
}

fn kept(
    table: &Table<'_>,
    input: &StreamInput<'_>,
    found: &FoundLoad,
    both: Both<'_>,
    (resume, of_source): (&ResumePlan, String),
) -> KeptLoad {
    let (loaded, parts) = (found.loaded.sql(), found.parts.sql());
    let mut adopt = vec![
        format!("LOCK TABLE {loaded} IN ACCESS EXCLUSIVE MODE"),
        format!("ALTER TABLE {parts} RENAME TO {}", resume.parts.name.sql()),
        format!(
            "COMMENT ON TABLE {} IS {}",
            resume.parts.sql(),
            quote_literal(&table.shared.parts_mark(&table.input.target.name)).trim_start()
        ),
    ];
    let indexes = found.indexes.iter();
    adopt.extend(indexes.map(|index| format!("DROP INDEX {}", index.sql())));
    adopt.extend(table.refresh.iter().cloned());
    let Both {
        parts,
        stream,
        copy_out,
        copy_in,
        source_order,
        target_order,
    } = both;
    let orders = (source_order.as_str(), target_order.as_str());
    let mut changed = changed::between(
        input,
        parts.key,
        &stream,
        orders,
        (of_source, String::new()),
    );
    changed.target.is_indexed = false;
    let (stage, from) = (parts.stage.sql(), parts.target_from());
    let gone = parts.gone.as_ref().map_or(String::new(), |gone| gone.sql());
    KeptLoad {
        found: found.parts.clone(),
        list: found.list.clone(),
        adopt,
        bring_up: BringUp {
            changed,
            lock: format!("LOCK TABLE {from} IN ACCESS SHARE MODE"),
            copy_out,
            create: parts.create(None).join("; "),
            copy_in,
            analyze: parts.analyze(),
            delete: format!(
                "DELETE FROM {from} AS \"target\" USING {stage} AS \"staged\" WHERE {}",
                parts.same_as_staged("\"target\"")
            ),
            insert: format!(
                "{} SELECT {} FROM {stage} AS \"staged\" WHERE \"staged\".{gone} IS NOT TRUE",
                parts.insert_into(),
                parts.columns_sql("\"staged\".")
            ),
            count: format!("SELECT pg_catalog.count(*) FROM {from}"),
        },
    }
}

/// The loads that can be kept, and for the other ones why not. `plan` is the plan that keeps none.
pub fn choose(
    plan: &JobPlan,
    tables: &[Inspected],
) -> (KeptTables, BTreeMap<QualifiedName, String>) {
    let (mut kept, mut lost) = (KeptTables::new(), BTreeMap::new());
    for entry in tables {
        let found = entry.load.as_ref().and_then(|state| {
            let found = state.found.as_ref()?;
            Some((state, found))
        });
        let Some((state, found)) = found else {
            continue;
        };
        let target = &entry.spec.target;
        let table = plan.tables.iter().find(|table| table.target == *target);
        match usable(table, state, found) {
            Ok(()) => {
                kept.insert(target.clone(), found.loaded.clone());
            }
            Err(why) => {
                lost.insert(target.clone(), why);
            }
        }
    }
    (kept, lost)
}

fn usable(table: Option<&CopyPlan>, state: &LoadState, found: &FoundLoad) -> Result<(), String> {
    let resume = table.and_then(|table| table.resume.as_ref());
    let resume = resume.ok_or_else(|| "it cannot be compared with the source".to_owned())?;
    if found.list.iter().all(|part| part.transaction.is_none()) {
        return Err("no part of it was complete".to_owned());
    }
    let changes = change_state(state);
    changes.usable(&resume.marking.source.query)?;
    if found.loaded.schema != resume.parts.schema {
        return Err("another mode has loaded it".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::change_mark::ChangeMark;
    use crate::catalog::load_state::LoadedPart;
    use crate::catalog::mark::{Mark, SourceHistory, SourcePosition};

    fn found() -> FoundLoad {
        let place = SourcePosition {
            history: SourceHistory {
                system: "73".to_owned(),
                timeline: 1,
                database: 5,
            },
            xmin: 700,
            xmax: 700,
            wal: Default::default(),
        };
        let mark = Mark {
            value: None,
            query: "q".to_owned(),
            history: place.history.clone(),
            xmin: 700,
            wal: Default::default(),
            relation: Default::default(),
        };
        let part = |number, condition: &str, transaction| LoadedPart {
            number,
            condition: condition.to_owned(),
            transaction,
        };
        FoundLoad {
            parts: QualifiedName::new("s", "tableferry_parts_1"),
            loaded: QualifiedName::new("s", "tableferry_shadow_1"),
            indexes: Vec::new(),
            mark: ChangeMark {
                source: mark.clone(),
                target: mark,
                transaction: 0,
            },
            list: vec![
                part(1, "ctid < '(5,0)'", Some(701)),
                part(2, "ctid >= '(5,0)'", None),
            ],
            now: Present {
                place,
                relation: Default::default(),
                has_foreign: false,
            },
        }
    }

    #[test]
    fn only_missing_parts_are_read_without_what_has_changed() {
        let (numbers, conditions) = missing(&found(), "(age(xmin) <= 3)");
        assert_eq!(numbers, [2]);
        assert_eq!(conditions, ["ctid >= '(5,0)' AND NOT (age(xmin) <= 3)"]);
        let mut whole = found();
        whole.list[1].condition = String::new();
        let (_, conditions) = missing(&whole, "(age(xmin) <= 3)");
        assert_eq!(conditions, ["NOT (age(xmin) <= 3)"]);
    }

    #[test]
    fn a_load_without_a_plan_is_not_kept() {
        let found = found();
        let state = LoadState {
            source: found.now.clone(),
            target: found.now.place.clone(),
            replayed: None,
            columns: Vec::new(),
            found: None,
        };
        let why = usable(None, &state, &found).unwrap_err();
        assert!(why.contains("cannot be compared"), "{why}");
    }
}
