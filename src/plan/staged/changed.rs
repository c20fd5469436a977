//! Finding differences by what has changed since the last run, on either side.
//!
//! 1. Each side gives the keys of the rows that were written since the last run (`catalog/change_mark.rs`).
//! 2. Deleted rows leave no trace, so each side gives the number of its rows, and the sum of 64-bit hashes of their
//!    keys. If these are the same, both sides have the same keys. If they are still the same without the rows near
//!    the changed ones, all other rows have the same keys on both sides.
//! 3. Otherwise keys are cut into buckets by the first column of the key, and both sides count and sum by bucket: a
//!    bucket that differs is compared whole.
//!
//! What is to be compared goes through the ordered streams (`staged/stream.rs`), restricted to these ranges of keys.

use super::changed_side::ChangedSide;
use super::stream_input::StreamInput;
use super::types::{Changed, Choice, Stream};
use crate::catalog::change_mark::{ChangeState, known_leaves};
use crate::catalog::desc::{RelationDesc, RelationKind, TypeDesc, TypeShape, UniqueIndex};
use crate::catalog::inspected::Inspected;
use crate::catalog::mark::Mark;
use crate::config::spec::{Compare, JobSpec, Mode, Scope, TableInput, TableSpec};
use crate::pg::ident::{Ident, fnv1a, quote_literal};
use crate::plan::columns::ColumnPair;
use crate::plan::staged::plain_filter;
use crate::plan::{compare, pairs, sql};

/// Tables of few rows are cut into so many buckets.
const BUCKETS_MIN: u64 = 16;

/// The most buckets that a table is cut into.
const BUCKETS_MAX: u64 = 1 << 17;

/// The size of a row of a table that was never analyzed.
const ROW_BYTES_GUESS: u64 = 64;

/// Rows of a bucket, where the table is not too large.
const ROWS_PER_BUCKET: u64 = 16;

/// Is it worth knowing what changes in this table? Small ones are compared as quickly.
fn may_be_worth_it(job: &JobSpec, source: &RelationDesc) -> bool {
    match job.compare {
        Compare::Changed => true,
        Compare::Auto => source.bytes_estimate >= SMALL_BYTES,
        Compare::Stream | Compare::Full => false,
    }
}

/// Tables with less on the source's disk are small.
const SMALL_BYTES: u64 = 1 << 20;

/// Why it is not known what has changed, where no mark was read.
pub(super) const NOT_ASKED: &str = "it takes a `merge` of a table into a table, and SELECT on both";

/// Could a job compare what has changed?
pub fn may_be_asked_for(job: &JobSpec) -> bool {
    job.mode == Mode::Merge
        && job.may_stream()
        // What these statements write would count as the source's.
        && !job.sql.is_in_transaction()
        && matches!(job.compare, Compare::Auto | Compare::Changed)
}

/// Could this entry be compared by what has changed, if there were a mark? For deciding whether a mark is read.
pub fn may_be_marked(job: &JobSpec, entry: &Inspected) -> bool {
    let is_table = |desc: &RelationDesc| {
        matches!(desc.kind, RelationKind::Table | RelationKind::Partitioned)
            && desc.privileges.select
    };
    let (Some(source), Some(target)) = (&entry.source, &entry.target) else {
        return false;
    };
    may_be_asked_for(job)
        && entry.spec.watermark.is_none()
        && is_table(source)
        && is_table(target)
        && may_be_worth_it(job, source)
}

/// Plans to compare what has changed, for a table that can be compared by streams.
pub(super) fn choose(
    input: &StreamInput<'_>,
    index: &UniqueIndex,
    stream: &Stream,
    orders: (&str, &str),
) -> Choice {
    let none = |why: String| Choice {
        marking: None,
        changed: Err(why),
    };
    let Some(state) = input.changes else {
        return none(NOT_ASKED.to_owned());
    };
    let possible = is_compared_whole(input).and_then(|()| is_possible(input, index, state));
    if let Err(why) = possible {
        return none(why);
    }
    let query = format!("{:016x}", fnv1a(compared(input).as_bytes()));
    let marking = state.marking(query);
    let changed = state.usable(&marking.source.query).map(|mark| {
        let of_target = is_changed(
            input.target,
            &mark.target,
            Some(mark.transaction),
            &known_leaves(&mark.target, &state.target),
        );
        let of_source = source_is_changed(input.source, &mark.source, state);
        Box::new(between(
            input,
            index,
            stream,
            orders,
            (of_source, of_target),
        ))
    });
    Choice {
        marking: Some(marking),
        changed,
    }
}

/// What is compared: with another text, rows that have not changed may differ.
fn compared(input: &StreamInput<'_>) -> String {
    let mut text = input.select.to_owned();
    for column in &input.spec.insert_only {
        text.push_str(&format!(" -- without {column}"));
    }
    text
}

/// The statements that compare both sides, given what is true for rows that have changed.
pub(in crate::plan) fn between(
    input: &StreamInput<'_>,
    index: &UniqueIndex,
    stream: &Stream,
    orders: (&str, &str),
    (of_source, of_target): (String, String),
) -> Changed {
    let side = |is_source: bool| side(input, index, is_source, orders);
    let (mut source, mut target) = (side(true), side(false));
    source.is_changed = of_source;
    target.is_changed = of_target;
    let rows = input.source.rows_estimate.max(input.target.rows_estimate);
    let guess = input.source.bytes_estimate / ROW_BYTES_GUESS;
    Changed {
        stream: stream.clone(),
        source,
        target,
        has_one_row_a_value: index.columns.len() == 1,
        rows: rows.unwrap_or(u64::MAX),
        buckets: (rows.unwrap_or(guess) / ROWS_PER_BUCKET).clamp(BUCKETS_MIN, BUCKETS_MAX),
    }
}

/// True for rows of the source that were written since the mark.
pub(in crate::plan) fn source_is_changed(
    source: &RelationDesc,
    mark: &Mark,
    state: &ChangeState,
) -> String {
    is_changed(source, mark, None, &known_leaves(mark, &state.source))
}

/// Does the run make the whole target the same as the source?
fn is_compared_whole(input: &StreamInput<'_>) -> Result<(), String> {
    if input.job.mode != Mode::Merge {
        return Err("rows that only the target has are not deleted".to_owned());
    }
    if input.spec.scope == Scope::Where && input.spec.filter.is_some() {
        return Err("`scope = \"where\"` limits what is compared".to_owned());
    }
    Ok(())
}

/// Values may only change together with a row version, and a key must have one place.
pub(in crate::plan) fn is_possible(
    input: &StreamInput<'_>,
    index: &UniqueIndex,
    state: &ChangeState,
) -> Result<(), String> {
    let spec: &TableSpec = input.spec;
    if !matches!(spec.input, TableInput::Relation(_)) || spec.children {
        return Err("the source is not a single table".to_owned());
    }
    if state.source.has_foreign || state.target.has_foreign {
        return Err(
            "foreign tables, or tables of another access method, do not tell who wrote a row"
                .to_owned(),
        );
    }
    if input.source.row_security_applies || input.target.row_security_applies {
        return Err("row security hides rows".to_owned());
    }
    if let Some(pair) = input.pairs.iter().find(|pair| pair.expression.is_some()) {
        return Err(format!("`set` computes column {}", pair.target.name));
    }
    let computed = |pair: &&ColumnPair<'_>| {
        pair.source.generated.is_some() && input.source.server_version >= 180_000
    };
    if let Some(pair) = input.pairs.iter().find(computed) {
        return Err(format!("column {} is generated", pair.source.name));
    }
    let depends =
        |pair: &&ColumnPair<'_>| [pair.source, pair.target].iter().any(|c| depends(&c.ty));
    if let Some(pair) = input.pairs.iter().find(depends) {
        return Err(format!(
            "values of column {} depend on something else than its rows",
            pair.source.name
        ));
    }
    if let Some(filter) = &spec.filter {
        plain_filter::check(filter, input.source)?;
    }
    is_served(input, index)?;
    for column in &index.columns {
        if [input.source, input.target]
            .iter()
            .any(|desc| may_be_null(desc, &column.name))
        {
            return Err(format!("key column {} may be NULL", column.name));
        }
    }
    let Some(lead) = index.columns.first() else {
        return Err("the target has no key".to_owned());
    };
    let pair = input
        .pairs
        .iter()
        .find(|pair| pair.target.name == lead.name);
    if !pair.is_some_and(|pair| is_integer(&pair.source.ty) && is_integer(&pair.target.ty)) {
        return Err(format!(
            "the key's first column, {}, is not an integer",
            lead.name
        ));
    }
    for column in &index.columns {
        let pair = input
            .pairs
            .iter()
            .find(|pair| pair.target.name == column.name);
        if pair.is_none_or(|pair| !has_one_text(&pair.source.ty) || !has_one_text(&pair.target.ty))
        {
            return Err(format!("key column {} is a text", column.name));
        }
    }
    Ok(())
}

/// A unique index of the source serves the order of the key, and each key is there once.
fn is_served(input: &StreamInput<'_>, index: &UniqueIndex) -> Result<(), String> {
    let names = |index: &UniqueIndex| -> Vec<Ident> {
        index
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect()
    };
    let served = |of: &UniqueIndex| of.is_plain && of.immediate && names(of) == names(index);
    match input.source.unique_indexes.iter().any(served) && index.immediate {
        true => Ok(()),
        false => Err("no unique index of the source is over the key".to_owned()),
    }
}

/// Since version 18, NOT NULL may be declared NOT VALID, but not of a primary key's columns.
fn may_be_null(desc: &RelationDesc, name: &Ident) -> bool {
    let not_null = desc.column(name).is_some_and(|column| column.not_null);
    !desc.primary_key.contains(name) && (!not_null || desc.server_version >= 180_000)
}

fn side(
    input: &StreamInput<'_>,
    index: &UniqueIndex,
    is_source: bool,
    (source_order, target_order): (&str, &str),
) -> ChangedSide {
    let desc = if is_source {
        input.source
    } else {
        input.target
    };
    let from = sql::from_item(&TableInput::Relation(desc.name.clone()), desc.kind);
    let lead = index.columns[0].name.clone();
    let hash = index.columns.iter().fold("0".to_owned(), |seed, column| {
        let name = column.name.sql();
        let pair = input
            .pairs
            .iter()
            .find(|pair| pair.target.name == column.name);
        match pair.is_some_and(|pair| is_integer(&pair.source.ty)) {
            true => format!("pg_catalog.hashint8extended({name}::pg_catalog.int8, {seed})"),
            false => format!(
                "pg_catalog.hashtextextended({name}::pg_catalog.text COLLATE \"C\", {seed})"
            ),
        }
    });
    ChangedSide {
        spread: spread(desc, &lead, &from),
        from,
        columns: input.columns.to_vec(),
        format: input.format.clone(),
        filter: match is_source {
            true => input.spec.filter.clone(),
            // `scope = "where"` is not compared so.
            false => compare::within(input.spec),
        },
        lead,
        key: index
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect(),
        hash,
        is_changed: String::new(),
        order: if is_source {
            source_order
        } else {
            target_order
        }
        .to_owned(),
        is_indexed: true,
    }
}

fn spread(desc: &RelationDesc, lead: &Ident, from: &str) -> String {
    let literal = |text: &str| quote_literal(text).trim_start().to_owned();
    format!(
        "SELECT pg_catalog.min({0})::pg_catalog.int8, pg_catalog.max({0})::pg_catalog.int8, \
         (SELECT s.histogram_bounds::pg_catalog.text::pg_catalog.int8[] FROM pg_catalog.pg_stats AS s \
         WHERE s.schemaname = {1} AND s.tablename = {2} AND s.attname = {3} AND s.inherited = {4}) FROM {from}",
        lead.sql(),
        literal(desc.name.schema.as_str()),
        literal(desc.name.name.as_str()),
        literal(lead.as_str()),
        desc.kind == RelationKind::Partitioned,
    )
}

/// Ages are distances from one transaction id, the same for all of a statement, around the circle. A row whose
/// transaction has no place in the last 2^31 has the greatest age, or one that makes it look changed.
fn is_changed(desc: &RelationDesc, mark: &Mark, own: Option<u64>, known: &[u32]) -> String {
    let xid = |number: u64| format!("'{}'::pg_catalog.xid", number % (1 << 32));
    let mut term = format!(
        "pg_catalog.age(xmin) <= (SELECT pg_catalog.age({}))",
        xid(mark.xmin)
    );
    if let Some(own) = own {
        term = format!("{term} AND xmin <> {}", xid(own));
    }
    // Partitions may be attached before the scan, with rows of any age.
    if desc.kind == RelationKind::Partitioned {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        term = format!(
            "{term} OR tableoid <> ALL ('{{{}}}'::pg_catalog.oid[])",
            known.join(",")
        );
    }
    format!("({term})")
}

fn is_integer(ty: &TypeDesc) -> bool {
    matches!(key_type(ty), Some("int2" | "int4" | "int8"))
}

/// Equal values have the same text on all servers, in ASCII.
fn has_one_text(ty: &TypeDesc) -> bool {
    matches!(
        key_type(ty),
        Some(
            "int2"
                | "int4"
                | "int8"
                | "date"
                | "timestamp"
                | "timestamptz"
                | "uuid"
                | "bytea"
                | "bool"
                | "oid"
        )
    )
}

fn key_type(ty: &TypeDesc) -> Option<&str> {
    match &ty.shape {
        TypeShape::Domain { base, .. } => key_type(base),
        _ => pairs::key(ty),
    }
}

/// The text of such a value changes with the catalogue or a setting.
fn depends(ty: &TypeDesc) -> bool {
    match &ty.shape {
        TypeShape::Array(inner)
        | TypeShape::Range(inner)
        | TypeShape::Multirange(inner)
        | TypeShape::Domain { base: inner, .. } => depends(inner),
        TypeShape::Composite(attributes) => attributes.iter().any(|part| depends(&part.ty)),
        TypeShape::Base => {
            let name = ty.name.name.as_str();
            ty.is_builtin() && (name == "money" || name.starts_with("reg") || name == "aclitem")
        }
        TypeShape::Enum(_) | TypeShape::Pseudo => false,
    }
}
