//! Locks that protect a snapshot.
//!
//! A snapshot that is older than a TRUNCATE or a rewriting ALTER TABLE reads no rows, without an error. So the
//! first statement of the transaction locks the tables: LOCK takes no snapshot, the first query does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio_postgres::Row;

use crate::catalog::output;
use crate::config::spec::{TableInput, TableSpec};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// One relation that the source's transaction reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockTarget {
    pub name: QualifiedName,
    /// `ONLY` the table, not its inheritance children.
    pub only: bool,
    /// Why it is not locked, if it isn't.
    pub skipped: Option<String>,
}

/// Kind, and what the role may do, of the relations that a job reads.
const LOCKABLE: &str = "\
SELECT wanted.schema, wanted.name, c.relkind::pg_catalog.text, \
       COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false), \
       COALESCE(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false), \
       COALESCE(pg_catalog.has_any_column_privilege(c.oid, 'SELECT'), false) \
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (schema, name) \
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema \
LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
     AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// The relations to lock before the first query of the snapshot's transaction, in a stable order. Must be
/// called before that transaction begins. The plan reports a relation that does not exist.
///
/// *Errors:* `Permission`, naming every relation that the role cannot read; server errors about a query.
pub async fn lock_list(source: &Session, tables: &[TableSpec]) -> Result<Vec<LockTarget>> {
    // True: the job names the relation. False: it comes from the plan of a query, which also shows base
    // tables of views that the role need not be allowed to read.
    let mut names: BTreeMap<QualifiedName, bool> = BTreeMap::new();
    let mut trees: BTreeSet<&QualifiedName> = BTreeSet::new();
    for table in tables {
        match &table.input {
            TableInput::Relation(name) => {
                names.insert(name.clone(), true);
                if table.children {
                    trees.insert(name);
                }
            }
            TableInput::File(_) => {}
            TableInput::Query(query) => {
                for name in relations_of(source, query)
                    .await
                    .map_err(|error| error.on(&table.target))?
                {
                    names.entry(name).or_insert(false);
                }
            }
        }
    }
    let schemas: Vec<&str> = names.keys().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.keys().map(|name| name.name.as_str()).collect();
    let rows = source
        .query(Phase::Lock, LOCKABLE, &[&schemas, &relations])
        .await?;
    let mut targets = Vec::new();
    let mut denied = Vec::new();
    for row in rows {
        let name = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let Some(kind) = row.get::<_, Option<String>>(2) else {
            continue;
        };
        let named = names.get(&name).copied().unwrap_or(false);
        let access = Access {
            schema: row.get(3),
            table: row.get(4),
            column: row.get(5),
        };
        match access.skip_reason(&kind, named) {
            Ok(skipped) => targets.push(LockTarget {
                only: kind == "r" && !trees.contains(&name),
                name,
                skipped,
            }),
            Err(lacking) => denied.push(format!("{lacking} {name}")),
        }
    }
    if !denied.is_empty() {
        return Err(Error::new(
            ErrorKind::Permission,
            Phase::Lock,
            source.side(),
            format!("the role lacks {}", denied.join(", ")),
        )
        .at(source.server())
        .hinted("GRANT SELECT on them, and USAGE on their schemas, or `exclude` them"));
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

/// What the role may do with a relation.
struct Access {
    schema: bool,
    table: bool,
    column: bool,
}

impl Access {
    /// Why a relation is not locked, if so. An error names the missing privilege.
    fn skip_reason(&self, kind: &str, named: bool) -> Result<Option<String>, &'static str> {
        let reason = match kind {
            "m" => {
                "PostgreSQL has no LOCK for materialized views; REFRESH leaves no gap for old \
                    snapshots"
            }
            "f" => "PostgreSQL has no LOCK for foreign tables",
            _ if self.schema && self.table => return Ok(None),
            _ if !named => "the query reads it through a view, whose owner may lock it",
            _ if !self.schema => return Err("USAGE on the schema of"),
            _ if self.column => {
                "LOCK needs SELECT on the whole table, and the role has it on columns only: a \
                 TRUNCATE at the wrong moment would look like an empty table"
            }
            _ => return Err("SELECT on"),
        };
        Ok(Some(reason.to_owned()))
    }
}

/// `LOCK TABLE … IN ACCESS SHARE MODE`; None when nothing can be locked.
pub fn lock_statement(targets: &[LockTarget]) -> Option<String> {
    let list: Vec<String> = targets
        .iter()
        .filter(|target| target.skipped.is_none())
        .map(|target| {
            let only = if target.only { "ONLY " } else { "" };
            format!("{only}{}", target.name.sql())
        })
        .collect();
    (!list.is_empty()).then(|| format!("LOCK TABLE {} IN ACCESS SHARE MODE", list.join(", ")))
}

/// Takes the locks, in the first statement after BEGIN. Waits at most `lock_timeout`.
pub async fn lock(source: &Session, targets: &[LockTarget]) -> Result<()> {
    let Some(sql) = lock_statement(targets) else {
        return Ok(());
    };
    let locked = source.answer(Phase::Lock, source.client().batch_execute(&sql));
    locked.await?.map_err(|error| {
        // The server names the relation without its schema, and only in its message.
        let message = error.as_db_error().map(|db| db.message().to_owned());
        let made = source.error(Phase::Lock, error);
        let mut named = targets
            .iter()
            .filter(|target| names(message.as_deref(), target));
        match (named.next(), named.next()) {
            (Some(only), None) => made.on(&only.name),
            _ => made,
        }
    })
}

/// The relations that the session's open transaction has locked, without indexes and catalogs.
pub async fn locked(session: &Session) -> Result<Vec<QualifiedName>> {
    let sql = "SELECT DISTINCT n.nspname::pg_catalog.text, c.relname::pg_catalog.text \
                 FROM pg_catalog.pg_locks AS l \
                 JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() \
                  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
                                     WHERE d.datname = pg_catalog.current_database()) \
                  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";
    let rows = session.query(Phase::Inspect, sql, &[]).await?;
    let name = |row: &Row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(rows.iter().map(name).collect())
}

/// The partitions, at every level, of those of the relations that are partitioned.
pub async fn partitions(
    session: &Session,
    names: &[QualifiedName],
) -> Result<BTreeMap<QualifiedName, Vec<QualifiedName>>> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let sql = "WITH RECURSIVE part (top, oid) AS ( \
                   SELECT c.oid, i.inhrelid \
                     FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), \
                                     pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (schema, name) \
                     JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema \
                     JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
                          AND c.relkind = 'p' \
                     JOIN pg_catalog.pg_inherits AS i ON i.inhparent = c.oid \
                   UNION \
                   SELECT part.top, i.inhrelid FROM part \
                     JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid) \
               SELECT tn.nspname::pg_catalog.text, t.relname::pg_catalog.text, \
                      n.nspname::pg_catalog.text, c.relname::pg_catalog.text \
                 FROM part \
                 JOIN pg_catalog.pg_class AS t ON t.oid = part.top \
                 JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace \
                 JOIN pg_catalog.pg_class AS c ON c.oid = part.oid \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                ORDER BY 1, 2, 3, 4";
    let mut found: BTreeMap<QualifiedName, Vec<QualifiedName>> = BTreeMap::new();
    for row in session
        .query(Phase::Inspect, sql, &[&schemas, &relations])
        .await?
    {
        let text = |at: usize| row.get::<_, String>(at);
        let parts = found.entry(QualifiedName::new(text(0), text(1)));
        parts
            .or_default()
            .push(QualifiedName::new(text(2), text(3)));
    }
    Ok(found)
}

fn names(message: Option<&str>, target: &LockTarget) -> bool {
    message.is_some_and(|text| {
        text.ends_with(&format!(" {}", target.name.name.as_str()))
            || text.contains(&format!("\"{}\"", target.name.name.as_str()))
            || text.contains(&format!(
                "\"{}.{}\"",
                target.name.schema.as_str(),
                target.name.name.as_str()
            ))
    })
}

/// The relations that a query's plan reads.
async fn relations_of(source: &Session, query: &str) -> Result<Vec<QualifiedName>> {
    // Parsed alone first: text that closes the parenthesis below and continues is not a valid statement.
    output::prepare(source, query, output::A_QUERY).await?;
    let wrapped = format!("EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM ({query}\n) AS \"source\"");
    let failed = |error| output::sql_error(source, error, output::A_QUERY);
    let explained = source.answer(Phase::Inspect, source.client().simple_query(&wrapped));
    let messages = explained.await?.map_err(failed)?;
    let text: String = messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    let plan: Value = serde_json::from_str(&text).map_err(|error| {
        Error::new(
            ErrorKind::Bug,
            Phase::Inspect,
            source.side(),
            "EXPLAIN gave no JSON",
        )
        .caused_by(error)
    })?;
    let mut found = Vec::new();
    collect_relations(&plan, &mut found);
    Ok(found)
}

fn collect_relations(plan: &Value, found: &mut Vec<QualifiedName>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| collect_relations(part, found)),
        Value::Object(node) => {
            if let (Some(Value::String(schema)), Some(Value::String(name))) =
                (node.get("Schema"), node.get("Relation Name"))
            {
                found.push(QualifiedName::new(schema.clone(), name.clone()));
            }
            node.values()
                .for_each(|part| collect_relations(part, found));
        }
        _ => {}
    }
}
