//! What tables of the source are made of, for `create = "missing"`, and what is made on the target: plain data,
//! names and the server's own definitions.

mod made;

use serde::Deserialize;

use crate::catalog::desc::ForeignKey;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::param::Param;
use crate::pg::session::Session;

pub use made::{
    Asked, MadeColumn, MadeIndex, MadeKey, MadeRange, MadeSequence, MadeTable, MadeType, Present,
};

const TABLES: &str = include_str!("tables.sql");
const TYPES: &str = include_str!("types.sql");
const PRESENT: &str = include_str!("present.sql");

/// What a run makes on its target for one table of the job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Creation {
    /// In an order in which they can be made. Tables that need the same type have the same object.
    pub objects: Vec<Object>,
    /// The table itself is new; otherwise it gets columns.
    pub is_new: bool,
    /// Its rows are staged as in other runs: the run fills a column of its own in each, or statements of the user's own
    /// may have inserted rows.
    pub is_staged: bool,
    /// Its foreign keys to tables that exist. They are made last, and not when the plan is tried.
    pub outer_keys: Vec<ForeignKey>,
    /// The columns that a table which exists gets.
    pub added: Vec<AddedColumn>,
    /// What a user has to know.
    pub note: String,
}

/// A column that a table which exists gets.
#[derive(Clone, Debug, PartialEq)]
pub struct AddedColumn {
    pub name: Ident,
    /// As in CREATE TABLE.
    pub definition: String,
}

/// A schema, type, sequence, table or foreign key to make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// `type app.mood`.
    pub what: String,
    /// The statements before rows are loaded.
    pub before: Vec<String>,
    /// The statements after that.
    pub after: Vec<String>,
    /// The targets that must be loaded before it is made, if it joins two.
    pub joins: Vec<QualifiedName>,
    /// It locks a table that exists.
    pub is_outside: bool,
}

/// The name of an object in a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Name {
    pub schema: String,
    pub name: String,
}

impl Name {
    /// The same name in its other form.
    pub fn of(name: &QualifiedName) -> Self {
        Name {
            schema: name.schema.as_str().to_owned(),
            name: name.name.as_str().to_owned(),
        }
    }

    /// As the rest of the program names relations.
    pub fn qualified(&self) -> QualifiedName {
        QualifiedName::new(&self.schema, &self.name)
    }
}

/// Reads what these tables are made of, with their partitions. Other relations are not in the result.
pub async fn tables(source: &Session, names: &[QualifiedName]) -> Result<Vec<MadeTable>> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let since = |since: u32, then: &'static str, or: &'static str| {
        if source.version() >= since { then } else { or }
    };
    let sql = TABLES
        .replace(
            "@ATTACHED@",
            since(140_000, "AND NOT i.inhdetachpending", ""),
        )
        .replace(
            "@NOT_NULL_IS_VALID@",
            since(180_000, NOT_NULL_IS_VALID, "true"),
        )
        .replace("@NOT_NULL@", since(180_000, NOT_NULL, "NULL"))
        .replace("@PERIOD@", since(180_000, PERIOD, "''"))
        .replace("@COMPRESSION@", since(140_000, COMPRESSION, "NULL"));
    read(
        source,
        "what tables are made of",
        &sql,
        &[&schemas, &relations],
    )
    .await
}

const NOT_NULL_IS_VALID: &str = "\
COALESCE((SELECT nn.convalidated FROM pg_catalog.pg_constraint AS nn \
           WHERE nn.conrelid = c.oid AND nn.contype = 'n' AND nn.conkey = ARRAY[a.attnum]), true)";

const NOT_NULL: &str = "\
(SELECT json_build_object('name', nn.conname, 'no_inherit', nn.connoinherit) FROM pg_catalog.pg_constraint AS nn \
  WHERE nn.conrelid = c.oid AND nn.contype = 'n' AND nn.conkey = ARRAY[a.attnum])";

const PERIOD: &str =
    "CASE WHEN con.conperiod AND key.place = cardinality(con.conkey) THEN 'PERIOD ' ELSE '' END";

const COMPRESSION: &str = "CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END";

/// Reads these types and all that they are made of.
pub async fn types(source: &Session, names: &[&Name]) -> Result<Vec<MadeType>> {
    let (schemas, types) = halves(names);
    let (range, multirange) = match source.version() {
        140_000.. => (
            "UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range AS r WHERE r.rngmultitypid = t.oid",
            "(SELECT json_build_object('schema', mn.nspname, 'name', m.typname) FROM pg_catalog.pg_type AS m \
               JOIN pg_catalog.pg_namespace AS mn ON mn.oid = m.typnamespace WHERE m.oid = r.rngmultitypid)",
        ),
        _ => ("", "NULL"),
    };
    let sql = TYPES
        .replace("@RANGE@", range)
        .replace("@MULTIRANGE@", multirange);
    read(source, "what types are made of", &sql, &[&schemas, &types]).await
}

/// Asks which of these names the target has.
pub async fn present(target: &Session, asked: &Asked<'_>) -> Result<Present> {
    let (type_schemas, type_names) = halves(&asked.types);
    let (collation_schemas, collation_names) = halves(&asked.collations);
    let (sequence_schemas, sequence_names) = halves(&asked.sequences);
    let parameters: [&dyn Param; 9] = [
        &asked.schemas,
        &type_schemas,
        &type_names,
        &collation_schemas,
        &collation_names,
        &sequence_schemas,
        &sequence_names,
        &asked.access_methods,
        &asked.tablespaces,
    ];
    let mut rows = read(target, "what the target has", PRESENT, &parameters).await?;
    Ok(rows.pop().unwrap_or_default())
}

fn halves<'a>(names: &[&'a Name]) -> (Vec<&'a str>, Vec<&'a str>) {
    let halves = names.iter().map(|n| (n.schema.as_str(), n.name.as_str()));
    halves.unzip()
}

/// Reads rows of one JSON object each.
async fn read<T: serde::de::DeserializeOwned>(
    session: &Session,
    what: &'static str,
    sql: &str,
    parameters: &[&dyn Param],
) -> Result<Vec<T>> {
    let rows = session
        .checked(Phase::Inspect, what, sql, parameters)
        .await?;
    rows.iter()
        .map(|row| {
            let json: String = row.get(0)?;
            serde_json::from_str(&json).map_err(|error| {
                let message = format!("the query for {what} gave an unknown form");
                Error::new(ErrorKind::Bug, Phase::Inspect, session.side(), message)
                    .at(session.server())
                    .caused_by(error)
            })
        })
        .collect()
}
