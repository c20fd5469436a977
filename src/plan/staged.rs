//! Loading through a staging table: what it is, what is checked in it, and which rows of the target
//! have to change. The modes say how they change: `merge.rs`, `upsert.rs`.
//!
//! The staging table has the target's column types, so that the COPY format decided for the target
//! holds for it. Equal keys are what the target's unique index takes for equal; equal rows are the
//! same bytes, because `=` calls 1.0 and 1.00, or -0 and 0, equal, and json has no `=` at all.

use crate::catalog::desc::{ColumnDesc, Identity, RelationDesc, RelationKind, UniqueIndex};
use crate::config::spec::{JobSpec, Mode, Scope, TableSpec};
use crate::error::Side;
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::refusal::Refusal;
use crate::plan::shared::Shared;
use crate::plan::table::Setting;
use crate::plan::{merge, upsert};

/// How one table is loaded through a staging table.
#[derive(Clone, Debug, PartialEq)]
pub struct Staged {
    /// The staging table.
    pub stage: QualifiedName,
    /// Makes it.
    pub create: Vec<String>,
    /// Drops it, in the transaction that publishes; none where it goes with its transaction.
    pub drop: Option<String>,
    /// Gives the planner its statistics.
    pub analyze: String,
    /// Gives the number of staged rows without a whole key.
    pub null_keys: String,
    /// Gives the number of keys that are staged more than once, and of their rows.
    pub repeated_keys: String,
    /// Gives some of those keys, for a person.
    pub repeated_examples: String,
    /// Makes the target's rows of the staged ones.
    pub apply: Apply,
}

/// What makes the target's rows of the staged ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Apply {
    /// The target becomes the same as the staging table.
    Merge(merge::Merge),
    /// The target's rows get the staged values, and rows are added.
    Upsert(upsert::Upsert),
}

/// What the statements of both modes are made of.
pub(super) struct Parts<'a> {
    pub spec: &'a TableSpec,
    pub target: &'a RelationDesc,
    pub columns: Vec<&'a ColumnDesc>,
    pub key: &'a UniqueIndex,
    pub stage: QualifiedName,
    pub changes: QualifiedName,
}

/// The tables of a plan that are staged.
pub fn of(plan: &JobPlan) -> impl Iterator<Item = (&CopyPlan, &Staged)> {
    plan.tables.iter().filter_map(|table| match &table.load {
        Load::Direct | Load::Shadow(_) => None,
        Load::Staged(staged) => Some((table, staged.as_ref())),
    })
}

/// What runs on the target between the load and the end, in order.
pub fn statements(plan: &JobPlan) -> Vec<&str> {
    let mut list = Vec::new();
    let mut merges = Vec::new();
    let mut upserts = Vec::new();
    for (_, staged) in of(plan) {
        list.extend([&staged.analyze, &staged.null_keys, &staged.repeated_keys]);
        match &staged.apply {
            Apply::Merge(merge) => merges.push(merge),
            Apply::Upsert(upsert) => upserts.push(upsert),
        }
    }
    for merge in &merges {
        list.extend([
            &merge.make_changes,
            &merge.analyze_changes,
            &merge.count_changes,
        ]);
        list.extend(&merge.fixed_changes);
    }
    for (at, step) in merge::steps(&merges) {
        list.extend(merges[at].statements(step));
    }
    for upsert in upserts {
        list.extend(&upsert.make_changes);
        list.extend([&upsert.count_new, &upsert.insert]);
    }
    list.into_iter().map(String::as_str).collect()
}

/// Does this entry load through a staging table?
pub fn is_staged(job: &JobSpec, spec: &TableSpec) -> bool {
    match job.mode {
        Mode::Merge | Mode::Upsert => true,
        Mode::Append => spec.watermark.is_some(),
        Mode::Truncate | Mode::Swap => false,
    }
}

/// Plans the staging of one table.
pub fn plan(
    job: &JobSpec,
    spec: &TableSpec,
    target: &RelationDesc,
    columns: Vec<&ColumnDesc>,
    setting: &Setting<'_>,
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Option<Staged> {
    privileges(job, target, refusals);
    let key = key(job, spec, target, &columns, refusals)?;
    let number = setting.number;
    let parts = Parts {
        spec,
        target,
        columns,
        key,
        stage: match setting.shared {
            Some(shared) => shared.stage(&target.name),
            None => QualifiedName::new("pg_temp", format!("tableferry_{number}")),
        },
        changes: QualifiedName::new("pg_temp", format!("tableferry_{number}_changes")),
    };
    let apply = match job.mode {
        Mode::Merge => Apply::Merge(merge::plan(&parts, warnings)),
        _ => Apply::Upsert(upsert::plan(job, &parts, refusals, warnings)),
    };
    Some(Staged {
        create: parts.create(setting.shared),
        drop: setting
            .shared
            .map(|_| format!("DROP TABLE {}", parts.stage.sql())),
        analyze: format!("ANALYZE {}", parts.stage.sql()),
        null_keys: parts.null_keys(),
        repeated_keys: parts.repeated_keys(),
        repeated_examples: parts.repeated_examples(),
        stage: parts.stage.clone(),
        apply,
    })
}

fn privileges(job: &JobSpec, target: &RelationDesc, refusals: &mut Vec<Refusal>) {
    let has = target.privileges;
    let needed = [
        ("SELECT", has.select, true),
        ("UPDATE", has.update, job.mode != Mode::Append),
        ("DELETE", has.delete, job.mode == Mode::Merge),
    ];
    for (privilege, granted, needs) in needed {
        if needs && !granted {
            let name = &target.name;
            refusals.push(
                Refusal::permission(Side::Target, name, format!("the role lacks {privilege}"))
                    .hinted(format!(
                        "GRANT {privilege} ON {name} TO the role of the target"
                    )),
            );
        }
    }
    if !has.temporary {
        refusals.push(
            Refusal::permission(
                Side::Target,
                &target.name,
                "the role may not make temporary tables in the database, which staging needs",
            )
            .hinted("GRANT TEMPORARY ON DATABASE … TO the role of the target"),
        );
    }
}

/// The unique index that says which rows are the same, or why there is none.
fn key<'a>(
    job: &JobSpec,
    spec: &TableSpec,
    target: &'a RelationDesc,
    columns: &[&ColumnDesc],
    refusals: &mut Vec<Refusal>,
) -> Option<&'a UniqueIndex> {
    let mode = job.mode.as_str();
    let mut refuse = |message: String, hint: &str| {
        refusals.push(Refusal::mismatch(Side::Target, &target.name, message).hinted(hint));
        None
    };
    let names = match &spec.key {
        Some(names) => names,
        None if target.primary_key.is_empty() => {
            let what = if spec.watermark.is_some() && job.mode == Mode::Append {
                "`append` with a watermark reads rows again, so it needs a key to know them by, \
                 and the target has no primary key"
                    .to_owned()
            } else {
                format!("`{mode}` needs a key, and the target has no primary key")
            };
            return refuse(
                what,
                "set `key` to the columns of a unique index, or add a primary key",
            );
        }
        None => &target.primary_key,
    };
    let list = list(names.iter());
    let unread: Vec<&Ident> = names
        .iter()
        .filter(|name| columns.iter().all(|column| column.name != **name))
        .collect();
    if let Some(name) = unread.first() {
        return refuse(
            format!("key column {name} is not copied"),
            "a key column has to be among the columns that the source gives",
        );
    }
    let over = |index: &&UniqueIndex| {
        index.columns.len() == names.len()
            && index
                .columns
                .iter()
                .all(|column| names.contains(&column.name))
    };
    let mut candidates = target.unique_indexes.iter().filter(over);
    let found = candidates.clone().find(|index| index.is_plain);
    match (found, candidates.next()) {
        (Some(index), _) => Some(index),
        (None, Some(other)) => refuse(
            format!(
                "{} over ({list}) is partial, an exclusion constraint, or not valid",
                other.name
            ),
            "a key needs a unique index or constraint over exactly its columns, without WHERE",
        ),
        (None, None) => refuse(
            format!("no unique index or constraint is exactly over the key ({list})"),
            "add one to the target: CREATE UNIQUE INDEX; or name the columns of another in `key`",
        ),
    }
}

pub(super) fn list<'a>(names: impl Iterator<Item = &'a Ident>) -> String {
    let names: Vec<String> = names.map(ToString::to_string).collect();
    names.join(", ")
}

impl Parts<'_> {
    /// The target without the rows of a plain table's children.
    pub fn target_from(&self) -> String {
        match self.target.kind {
            RelationKind::Partitioned => self.target.name.sql(),
            _ => format!("ONLY {}", self.target.name.sql()),
        }
    }

    /// `"a", "b"`, each after `prefix`.
    pub fn columns_sql(&self, prefix: &str) -> String {
        sql_list(prefix, self.columns.iter().map(|column| &column.name))
    }

    /// Columns that an UPDATE may set: not GENERATED ALWAYS AS IDENTITY, and of the key only what
    /// can differ though it is equal.
    pub fn settable(&self) -> Vec<&Ident> {
        self.compared()
            .filter(|column| column.identity != Some(Identity::Always))
            .map(|column| &column.name)
            .collect()
    }

    /// Identity columns besides the key whose values no UPDATE can change.
    pub fn fixed(&self) -> Vec<&Ident> {
        self.compared()
            .filter(|column| column.identity == Some(Identity::Always))
            .map(|column| &column.name)
            .collect()
    }

    /// What can differ between two rows of the same key.
    fn compared(&self) -> impl Iterator<Item = &ColumnDesc> + Clone {
        self.columns.iter().copied().filter(|column| {
            let in_key = self.key.columns.iter().find(|key| key.name == column.name);
            in_key.is_none_or(|key| !key.equal_is_identical)
        })
    }

    /// The same key in two relations, by the unique index's own equality.
    pub fn same_key(&self, left: &str, right: impl Fn(usize, &Ident) -> String) -> String {
        let terms: Vec<String> = self
            .key
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let collation = match &column.collation {
                    Some(name) => format!(" COLLATE {}", name.sql()),
                    None => String::new(),
                };
                format!(
                    "{left}.{}{collation} OPERATOR({}.{}) {}",
                    column.name.sql(),
                    column.equality.schema.sql(),
                    column.equality.symbol,
                    right(at, &column.name)
                )
            })
            .collect();
        terms.join(" AND ")
    }

    /// The staged rows and the target's rows of the same keys.
    pub fn same_as_staged(&self, left: &str) -> String {
        self.same_key(left, |_, name| format!("\"staged\".{}", name.sql()))
    }

    /// The changes: `row` is the staged row, NULL where there is none; `is_new` where the target
    /// has none; `key_…` the target's key.
    pub fn make_changes(&self, join: &str) -> String {
        let keys: String = self
            .key
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!(", \"target\".{} AS {}", column.name.sql(), key_name(at)))
            .collect();
        let differs = differs("\"target\"", "\"staged\"", self.compared().map(|c| &c.name));
        let differs = differs.map_or(String::new(), |differs| format!(" OR {differs}"));
        format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS \
             SELECT \"staged\".ctid AS \"row\", \"target\".ctid IS NULL AS \"is_new\"{keys} \
             FROM {} AS \"staged\" {join} JOIN {} AS \"target\" ON {} \
             WHERE \"staged\".ctid IS NULL OR \"target\".ctid IS NULL{differs}",
            self.changes.sql(),
            self.stage.sql(),
            self.target_from(),
            self.same_as_staged("\"target\""),
        )
    }

    /// Gives how many rows of the target are gone, changed, and new.
    pub fn count_changes(&self) -> String {
        format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE \"row\" IS NULL), \
             pg_catalog.count(*) FILTER (WHERE \"row\" IS NOT NULL AND NOT \"is_new\"), \
             pg_catalog.count(*) FILTER (WHERE \"is_new\") FROM {}",
            self.changes.sql()
        )
    }

    /// `FROM` the changes and their staged rows.
    pub fn changed_rows(&self) -> String {
        format!(
            "{} AS \"change\" JOIN {} AS \"staged\" ON \"staged\".ctid OPERATOR(pg_catalog.=) \
             \"change\".\"row\"",
            self.changes.sql(),
            self.stage.sql()
        )
    }

    /// `INSERT INTO … (…)`, up to its query.
    pub fn insert_into(&self) -> String {
        let overriding = if self
            .columns
            .iter()
            .any(|column| column.identity == Some(Identity::Always))
        {
            " OVERRIDING SYSTEM VALUE"
        } else {
            ""
        };
        format!(
            "INSERT INTO {} AS \"target\" ({}){overriding}",
            self.target.name.sql(),
            self.columns_sql("")
        )
    }

    /// Without defaults, constraints and generated columns: those are the target's affair.
    ///
    /// A session's temporary tables are its own: what several load is unlogged. Nothing but the run
    /// itself should lock it.
    fn create(&self, shared: Option<&Shared>) -> Vec<String> {
        let stage = self.stage.sql();
        let (columns, from) = (self.columns_sql(""), self.target_from());
        let rows = format!("AS SELECT {columns} FROM {from} WITH NO DATA");
        match shared {
            None => vec![format!(
                "CREATE TEMPORARY TABLE {stage} ON COMMIT DROP {rows}"
            )],
            Some(shared) => vec![
                format!("CREATE UNLOGGED TABLE {stage} WITH (autovacuum_enabled = false) {rows}"),
                format!(
                    "COMMENT ON TABLE {stage} IS {}",
                    quote_literal(&shared.stage_mark(&self.target.name)).trim_start()
                ),
            ],
        }
    }

    fn null_keys(&self) -> String {
        let terms: Vec<String> = self
            .key
            .columns
            .iter()
            .map(|column| format!("{} IS NULL", column.name.sql()))
            .collect();
        format!(
            "SELECT pg_catalog.count(*) FROM {} WHERE {}",
            self.stage.sql(),
            terms.join(" OR ")
        )
    }

    fn grouping(&self) -> String {
        let terms: Vec<String> = self
            .key
            .columns
            .iter()
            .map(|column| match &column.collation {
                Some(name) => format!("{} COLLATE {}", column.name.sql(), name.sql()),
                None => column.name.sql(),
            })
            .collect();
        format!(
            "FROM {} GROUP BY {} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1",
            self.stage.sql(),
            terms.join(", ")
        )
    }

    fn repeated_keys(&self) -> String {
        format!(
            "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(\"rows\"), 0)::pg_catalog.int8 \
             FROM (SELECT pg_catalog.count(*) AS \"rows\" {}) AS \"repeated\"",
            self.grouping()
        )
    }

    fn repeated_examples(&self) -> String {
        let key: Vec<String> = self
            .key
            .columns
            .iter()
            .map(|column| format!("pg_catalog.min({}::pg_catalog.text)", column.name.sql()))
            .collect();
        format!(
            "SELECT ROW({})::pg_catalog.text {} ORDER BY 1 LIMIT 5",
            key.join(", "),
            self.grouping()
        )
    }

    /// Does the entry limit what may be deleted?
    pub fn delete_filter(&self) -> Option<&str> {
        match self.spec.scope {
            Scope::Where => self.spec.filter.as_deref(),
            Scope::Table => None,
        }
    }
}

/// The name of a key's column in the changes.
pub(super) fn key_name(at: usize) -> String {
    format!("\"key_{at}\"")
}

/// `"a", "b"`, each after `prefix`.
pub(super) fn sql_list<'a>(prefix: &str, names: impl Iterator<Item = &'a Ident>) -> String {
    let list: Vec<String> = names
        .map(|name| format!("{prefix}{}", name.sql()))
        .collect();
    list.join(", ")
}

/// Two rows differ in a byte of these columns; None without columns. The casts keep PostgreSQL from
/// looking for the operator column by column.
pub(super) fn differs<'a>(
    left: &str,
    right: &str,
    names: impl Iterator<Item = &'a Ident> + Clone,
) -> Option<String> {
    names.clone().next()?;
    let row = |of: &str| {
        let list = sql_list(&format!("{of}."), names.clone());
        format!("ROW({list})::pg_catalog.record")
    };
    Some(format!(
        "{} OPERATOR(pg_catalog.*<>) {}",
        row(left),
        row(right)
    ))
}

/// `"a" = "staged"."a", …`.
pub(super) fn assignments(names: &[&Ident], from: &str) -> String {
    let list: Vec<String> = names
        .iter()
        .map(|name| format!("{} = {from}.{}", name.sql(), name.sql()))
        .collect();
    list.join(", ")
}
