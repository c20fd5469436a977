//! SQL fragments that the statements of the staged modes share.

use super::differs::differs;
use super::source_key::SourceKey;
use crate::catalog::desc::{
    ColumnDesc, Identity, KeyColumn, RelationDesc, RelationKind, UniqueIndex,
};
use crate::config::spec::{Scope, TableSpec};
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::pairs;
use crate::plan::shared::Shared;
use crate::plan::sql::{self, closed};

/// The names and expressions from which the statements of both modes are built.
pub(in crate::plan) struct Parts<'a> {
    pub spec: &'a TableSpec,
    pub target: &'a RelationDesc,
    pub columns: Vec<&'a ColumnDesc>,
    pub key: &'a UniqueIndex,
    pub stage: QualifiedName,
    pub changes: QualifiedName,
    /// The staging table's column that is true for rows which only the target has, false for those that differ, and NULL
    /// for those that only the source has; None if the target's rows are not staged.
    pub gone: Option<Ident>,
    /// The properties of the key on the source.
    pub source_key: SourceKey,
}

impl Parts<'_> {
    /// The target without the rows of a plain table's children.
    pub fn target_from(&self) -> String {
        match self.target.kind {
            RelationKind::Partitioned => self.target.name.sql(),
            _ => format!("ONLY {}", self.target.name.sql()),
        }
    }

    /// `"a", "b"`, each with `prefix`.
    pub fn columns_sql(&self, prefix: &str) -> String {
        sql::names(prefix, self.columns.iter().map(|column| &column.name))
    }

    /// Columns that an UPDATE may set: no GENERATED ALWAYS AS IDENTITY columns, and key columns only if
    /// equal values can have different bytes.
    pub fn settable(&self) -> Vec<&ColumnDesc> {
        self.compared()
            .filter(|column| column.identity != Some(Identity::Always))
            .collect()
    }

    /// Identity columns besides the key whose values no UPDATE can change.
    pub fn fixed(&self) -> Vec<&ColumnDesc> {
        self.compared()
            .filter(|column| column.identity == Some(Identity::Always))
            .collect()
    }

    /// The columns that can differ between two rows with the same key.
    fn compared(&self) -> impl Iterator<Item = &ColumnDesc> + Clone {
        let compared = self.columns.iter().copied();
        let compared = compared.filter(|column| !self.spec.insert_only.contains(&column.name));
        compared.filter(|column| {
            let in_key = self.key.columns.iter().find(|key| key.name == column.name);
            in_key.is_none_or(|key| !key.equal_is_identical)
        })
    }

    /// The same key in two relations, by the unique index's own equality.
    pub fn same_key(&self, left: &str, right: impl Fn(usize, &Ident) -> String) -> String {
        same_index(self.key, left, right)
    }

    /// The staged rows and the target's rows of the same keys.
    pub fn same_as_staged(&self, left: &str) -> String {
        self.same_key(left, |_, name| format!("\"staged\".{}", name.sql()))
    }

    /// The table of changes: `row` is the staged row, or NULL if the source lacks the row; `is_new` is set
    /// if the target lacks it; `key_…` is the target's key. `gone` says which rows of the target without a
    /// staged row are included.
    pub fn make_changes(&self, gone: Gone<'_>) -> String {
        let keys = |from: &str| -> String {
            let columns = self.key.columns.iter().enumerate();
            columns
                .map(|(at, column)| format!(", {from}.{} AS {}", column.name.sql(), key_name(at)))
                .collect()
        };
        let differs = differs("\"target\"", "\"staged\"", self.compared())
            .map_or(String::new(), |differs| format!(" OR {differs}"));
        let join = match gone {
            Gone::None | Gone::Apart(_) | Gone::Staged => "LEFT",
            Gone::Joined => "FULL",
        };
        let apart = match gone {
            Gone::None | Gone::Joined => String::new(),
            // Another session may have deleted or marked the row in the meantime.
            Gone::Staged => format!(
                " UNION ALL SELECT NULL::pg_catalog.tid, false{} FROM {} AS \"staged\" JOIN {} AS \"target\" ON {}{}{}",
                keys("\"target\""),
                self.stage.sql(),
                self.target_from(),
                self.same_as_staged("\"target\""),
                self.gone_term(&format!(" WHERE {}", self.of_run_and("\"target\".")), ""),
                self.rows_without_key(&keys(&self.target.name.sql())),
            ),
            Gone::Apart(filter) => {
                // The subquery has only the target in scope, so the filter's names are not ambiguous.
                let name = self.target.name.sql();
                let filter =
                    filter.map_or(String::new(), |filter| format!("({}) AND ", closed(filter)));
                let staged = match self.joins_fully() {
                    true => format!(
                        "{} AS \"staged\" WHERE {}",
                        self.stage.sql(),
                        self.same_as_staged(&name)
                    ),
                    // If the equality can be neither hashed nor merged, keys are looked up in the target's
                    // index.
                    false => format!(
                        "{} AS \"staged\" JOIN {} AS \"same\" ON {} \
                         WHERE \"same\".tableoid OPERATOR(pg_catalog.=) {name}.tableoid \
                         AND \"same\".ctid OPERATOR(pg_catalog.=) {name}.ctid",
                        self.stage.sql(),
                        self.target_from(),
                        self.same_as_staged("\"same\""),
                    ),
                };
                format!(
                    " UNION ALL SELECT NULL::pg_catalog.tid, false{} FROM {} WHERE {}{filter}\
                     NOT EXISTS (SELECT FROM {staged})",
                    keys(&name),
                    self.target_from(),
                    self.of_run_and(&format!("{name}.")),
                )
            }
        };
        let kept = self.gone_term("", " IS NOT TRUE AND (");
        let end = if kept.is_empty() { "" } else { ")" };
        let differing = format!("\"target\".ctid IS NULL{differs}");
        let mark = self.spec.on_missing.as_ref();
        let returns = mark.map_or(String::new(), |mark| {
            format!(" OR \"target\".{} IS NOT NULL", mark.sql())
        });
        let differing = match self.of_run("\"target\".") {
            None => format!("\"staged\".ctid IS NULL OR {differing}"),
            // Other rows are none that the source lacks.
            Some(of_run) => format!(
                "CASE WHEN \"staged\".ctid IS NULL THEN {of_run} ELSE {differing}{returns} END"
            ),
        };
        format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS \
             SELECT \"staged\".ctid AS \"row\", \"target\".ctid IS NULL AS \"is_new\"{} \
             FROM {} AS \"staged\" {join} JOIN {} AS \"target\" ON {} \
             WHERE {kept}{differing}{end}{apart}",
            self.changes.sql(),
            keys("\"target\""),
            self.stage.sql(),
            self.target_from(),
            self.same_as_staged("\"target\""),
        )
    }

    /// Are the values of this column numbers or the like, which are compared quickly?
    pub fn is_short(&self, key: &KeyColumn) -> bool {
        let column = self.target.column(&key.name);
        matches!(
            column.and_then(|column| pairs::key(&column.ty)),
            Some("int2" | "int4" | "int8" | "oid" | "date" | "timestamp" | "timestamptz" | "uuid")
        )
    }

    /// The mark of staged rows, between `before` and `after`; empty if there is no mark.
    fn gone_term(&self, before: &str, after: &str) -> String {
        let term = |gone: &Ident| format!("{before}\"staged\".{}{after}", gone.sql());
        self.gone.as_ref().map_or(String::new(), term)
    }

    /// The target's rows with NULL in the key. They are never staged, so the source does not have them.
    fn rows_without_key(&self, keys: &str) -> String {
        let filter = self.delete_filter();
        let filter = filter.map_or(String::new(), |filter| format!("({}) AND ", closed(filter)));
        match self.key_may_be_null() {
            true => format!(
                " UNION ALL SELECT NULL::pg_catalog.tid, false{keys} FROM {} WHERE {}{filter}({})",
                self.target_from(),
                self.of_run_and(""),
                self.lacks_key(),
            ),
            false => String::new(),
        }
    }

    pub fn key_may_be_null(&self) -> bool {
        self.key.columns.iter().any(|key| {
            let column = self.target.column(&key.name);
            column.is_none_or(|column| !column.not_null)
        })
    }

    /// A column name that the staging table does not use.
    pub fn free_name(&self, wanted: &str) -> Ident {
        let mut name = Ident::new(wanted);
        while self.columns.iter().any(|column| column.name == name) {
            name = Ident::new(format!("{}_", name.as_str()));
        }
        name
    }

    /// Drops the table of changes before another comparison creates it.
    pub fn drop_changes(&self) -> String {
        format!("DROP TABLE {}", self.changes.sql())
    }

    /// PostgreSQL implements FULL JOIN only by hash or merge.
    pub fn joins_fully(&self) -> bool {
        let columns = &self.key.columns;
        columns.iter().all(|column| column.hashes) || columns.iter().all(|column| column.merges)
    }

    /// Returns the numbers of gone, changed and new rows.
    pub fn count_changes(&self) -> String {
        format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE \"row\" IS NULL), \
             pg_catalog.count(*) FILTER (WHERE \"row\" IS NOT NULL AND NOT \"is_new\"), \
             pg_catalog.count(*) FILTER (WHERE \"is_new\") FROM {}",
            self.changes.sql()
        )
    }

    /// The FROM clause: the changes with their staged rows.
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
            "INSERT INTO {} AS \"target\" ({}{}){overriding}",
            self.target.name.sql(),
            self.columns_sql(""),
            self.own_names()
        )
    }

    /// Collects statistics of what the staging table is joined by: values of other columns are only compared. A sample of
    /// 3000 rows tells their number and how many keys there are; the default one takes longer than the join gains.
    pub fn analyze(&self) -> String {
        let key = self.key.columns.iter().map(|column| &column.name);
        let columns = sql::names("", key.chain(&self.gone));
        format!(
            "SET LOCAL default_statistics_target = 10; ANALYZE {} ({columns}); \
             SET LOCAL default_statistics_target TO DEFAULT",
            self.stage.sql()
        )
    }

    /// Creates the staging table without defaults, constraints and generated columns: the target applies
    /// its own.
    ///
    /// Other sessions cannot write into a temporary table, so the staging table of several workers is
    /// unlogged. Autovacuum is off, because it would lock the table.
    pub fn create(&self, shared: Option<&Shared>) -> Vec<String> {
        let stage = self.stage.sql();
        let (columns, from) = (self.columns_sql(""), self.target_from());
        let gone = self.gone.as_ref().map_or(String::new(), |gone| {
            format!(", NULL::pg_catalog.bool AS {}", gone.sql())
        });
        let rows = format!("AS SELECT {columns}{gone} FROM {from} WITH NO DATA");
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

    pub fn null_keys(&self) -> String {
        format!(
            "SELECT pg_catalog.count(*) FROM {} AS \"staged\" WHERE {}({})",
            self.stage.sql(),
            self.gone_term("", " IS NOT TRUE AND "),
            self.lacks_key()
        )
    }

    /// No key matches a row with NULL in its key.
    pub fn lacks_key(&self) -> String {
        let terms: Vec<String> = self
            .key
            .columns
            .iter()
            .map(|column| format!("{} IS NULL", column.name.sql()))
            .collect();
        terms.join(" OR ")
    }

    fn grouping(&self) -> String {
        let terms: Vec<String> = self.key.columns.iter().map(key_sql).collect();
        format!(
            "FROM {} AS \"staged\"{} GROUP BY {} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1",
            self.stage.sql(),
            self.gone_term(" WHERE ", " IS NOT TRUE"),
            terms.join(", ")
        )
    }

    /// Returns the rows of a sample of the staged ones, and how many of them are new, or differ by this
    /// condition. $1 is the number of staged rows.
    pub fn sample(&self, differs: Option<&str>) -> String {
        let stage = self.stage.sql();
        format!(
            "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE \"target\".ctid IS NULL{}) \
             FROM (SELECT * FROM {stage} TABLESAMPLE pg_catalog.system (LEAST(100, {}.0 OPERATOR(pg_catalog./) \
             GREATEST(1, $1::pg_catalog.int8))) LIMIT {}) AS \"staged\" LEFT JOIN {} AS \"target\" ON {}",
            differs.map_or(String::new(), |differs| format!(" OR {differs}")),
            100 * SAMPLE_ROWS,
            2 * SAMPLE_ROWS,
            self.target_from(),
            self.same_as_staged("\"target\"")
        )
    }

    /// Returns how many more rows than keys other than NULL there are: numbers and the like are sorted faster than their
    /// groups are counted. None for other keys.
    pub fn surplus_rows(&self) -> Option<String> {
        let [key] = self.key.columns.as_slice() else {
            return None;
        };
        self.is_short(key).then(|| {
            format!(
                "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.-) pg_catalog.count(DISTINCT {}) \
                 FROM {} AS \"staged\"{}",
                key.name.sql(),
                self.stage.sql(),
                self.gone_term(" WHERE ", " IS NOT TRUE"),
            )
        })
    }

    pub fn repeated_keys(&self) -> String {
        format!(
            "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(\"rows\"), 0)::pg_catalog.int8 \
             FROM (SELECT pg_catalog.count(*) AS \"rows\" {}) AS \"repeated\"",
            self.grouping()
        )
    }

    /// Returns the number of keys that more than one row of the target has.
    pub fn repeated_in_target(&self) -> String {
        let keys: Vec<String> = self.key.columns.iter().map(key_sql).collect();
        format!(
            "SELECT pg_catalog.count(*) FROM (SELECT FROM {} WHERE NOT ({}) GROUP BY {} \
             HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1) AS \"repeated\"",
            self.target_from(),
            self.lacks_key(),
            keys.join(", ")
        )
    }

    pub fn repeated_examples(&self) -> String {
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

    /// Does `scope` limit which rows may be deleted?
    pub fn delete_filter(&self) -> Option<&str> {
        match self.spec.scope {
            Scope::Where => self.spec.filter.as_deref(),
            Scope::Table => None,
        }
    }
}

/// Staged rows that are compared to see whether most of them differ.
const SAMPLE_ROWS: u32 = 4000;

/// A key's column with the collation of its index.
fn key_sql(column: &KeyColumn) -> String {
    match &column.collation {
        Some(name) => format!("{} COLLATE {}", column.name.sql(), name.sql()),
        None => column.name.sql(),
    }
}

/// Which rows of the target without a staged row are included in the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Gone<'a> {
    /// None.
    None,
    /// All, found by the same join as the other changes.
    Joined,
    /// Those that are staged with the mark.
    Staged,
    /// Those that satisfy a condition, or all, found by a separate join.
    Apart(Option<&'a str>),
}

/// The condition that two rows have the same key, by the unique index's own equality.
pub(in crate::plan) fn same_index(
    index: &UniqueIndex,
    left: &str,
    right: impl Fn(usize, &Ident) -> String,
) -> String {
    let terms: Vec<String> = index
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

/// The name of a key column in the table of changes.
pub(in crate::plan) fn key_name(at: usize) -> String {
    format!("\"key_{at}\"")
}

/// `"a" = "staged"."a", …`.
pub(in crate::plan) fn assignments(columns: &[&ColumnDesc], from: &str) -> String {
    let list: Vec<String> = columns
        .iter()
        .map(|column| format!("{} = {from}.{}", column.name.sql(), column.name.sql()))
        .collect();
    list.join(", ")
}

/// `a, b`, for messages.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a Ident>) -> String {
    let names: Vec<String> = names.map(ToString::to_string).collect();
    names.join(", ")
}
