//! `create_partitions`: partitions that a partitioned target lacks, made like their neighbours.
//!
//! A new range is as wide as its neighbours and continues them; a new list has one value. The table is made
//! with the parent's columns and attached, because that lets others read and write the parent.

mod bound;
mod name;
pub mod replaced;
pub mod swapped;
pub mod types;

use crate::catalog::constraints::Constraints;
use crate::catalog::inspected::Inspected;
use crate::catalog::partitioning::{Partition, Partitioning};
use crate::config::spec::{JobSpec, Mode, OnError, TableInput};
use crate::error::{ErrorKind, Side};
use crate::pg::ident::{IDENT_BYTES_MAX, Ident, QualifiedName, quote_literal};
use crate::plan::column::ColumnPlan;
use crate::plan::copy::Load;
use crate::plan::refusal::Refusal;
use crate::plan::staged::types::Partitionless;

use types::{Missing, Partitions};

use bound::{Extent, Point, Width, literals};

/// Partitions that a run makes for one table.
pub const PARTITIONS_MAX: usize = 1000;

/// A partition that does not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Its name.
    pub name: QualifiedName,
    /// What makes it, in order.
    pub statements: Vec<String>,
}

/// Plans it for one table. `select` reads the rows of the source.
pub fn plan(
    job: &JobSpec,
    inspected: &Inspected,
    columns: &[ColumnPlan],
    (load, select): (&Load, &str),
    refusals: &mut Vec<Refusal>,
) -> Partitions {
    let mut partitions = Partitions {
        replaced: replaced::plan(job, inspected, columns, select, refusals),
        ..Partitions::default()
    };
    let found = on_source(job, inspected, columns, select);
    if !inspected.spec.create_partitions {
        let is_direct = *load == Load::Direct && job.on_error == OnError::Abort;
        let is_cheap = matches!(inspected.spec.input, TableInput::Relation(_));
        partitions.on_source = found.ok().filter(|_| is_direct && is_cheap);
        return partitions;
    }
    let Some(column) = check(job, inspected, refusals) else {
        return partitions;
    };
    let mut refuse = |message: String| {
        let message = format!("`create_partitions = true`, but {message}");
        let refusal = Refusal::mismatch(Side::Target, &inspected.spec.target, message);
        refusals.push(refusal.hinted("use mode `merge` or `upsert`, which find them in staging"));
    };
    let from = match (load, found) {
        (Load::Staged(staged), _) => Some((staged.stage.sql(), false)),
        (_, Ok(_)) => Some((as_source(select), true)),
        (_, Err(why)) => {
            refuse(format!(
                "keys without a partition cannot be found on the source: {why}"
            ));
            None
        }
    };
    if columns.iter().all(|copied| copied.name != column) {
        refuse(format!(
            "column {column} of its partition key is not copied"
        ));
    }
    partitions.missing = from.map(|(from, on_source)| Missing {
        column,
        from,
        on_source,
    });
    partitions
}

fn as_source(select: &str) -> String {
    format!("({select}) AS \"source\"")
}

/// Counts the source's rows without a partition, where the source judges values as the target does.
fn on_source(
    job: &JobSpec,
    inspected: &Inspected,
    columns: &[ColumnPlan],
    select: &str,
) -> Result<Partitionless, &'static str> {
    let constraints = inspected
        .constraints
        .as_ref()
        .ok_or("it has no partitions")?;
    let condition = fits_none(constraints).ok_or("each row has a partition")?;
    let keys = source_judges(job, inspected, columns, &condition)?;
    let shown = keys
        .iter()
        .map(|key| format!("{}::pg_catalog.text", Ident::new(key.as_str()).sql()));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let from = format!("FROM {} WHERE {condition}", as_source(select));
    Ok(Partitionless {
        count: format!("SELECT pg_catalog.count(*) {from}"),
        examples: format!(
            "SELECT DISTINCT ROW({shown})::pg_catalog.text {from} ORDER BY 1 LIMIT 5"
        ),
        columns: keys.join(", "),
    })
}

/// Does the source judge conditions on the partition key as the target does? Gives the key's columns.
fn source_judges<'a>(
    job: &JobSpec,
    inspected: &'a Inspected,
    columns: &[ColumnPlan],
    condition: &str,
) -> Result<&'a Vec<String>, &'static str> {
    if matches!(inspected.spec.input, TableInput::File(_)) {
        return Err("a file is not read before it is loaded");
    }
    let constraints = inspected
        .constraints
        .as_ref()
        .ok_or("it has no partitions")?;
    let has_triggers = inspected
        .target
        .as_ref()
        .is_none_or(|t| !t.triggers.is_empty());
    // A partition that is swapped is loaded alone, and its bound is a constraint: a row that a trigger has moved is
    // refused.
    if has_triggers && job.mode != Mode::Swap {
        return Err("triggers of the target may change rows");
    }
    let keys = constraints.partition_columns.as_ref();
    let keys = keys.ok_or("its partition key has an expression")?;
    // Names that the source need not have, and orders of texts that it need not share.
    if condition.contains("satisfies_hash_partition") || condition.contains("COLLATE") {
        return Err("only the target can evaluate its bounds");
    }
    for key in keys {
        let copied = columns.iter().find(|column| column.name.as_str() == key);
        let copied = copied.ok_or("a column of its partition key is not copied")?;
        let ty = copied.target_type.as_str();
        let is_text = ty == "text" || ty.starts_with("character");
        let known = [
            "smallint",
            "integer",
            "bigint",
            "numeric",
            "date",
            "timestamp",
            "uuid",
            "boolean",
        ];
        let is_known = known.iter().any(|known| ty.starts_with(known));
        let is_same = copied.source_type == copied.target_type && !ty.ends_with("[]");
        let is_ordered = condition.contains(" >= ") || condition.contains(" < ");
        if !is_same || !(is_known || is_text && !is_ordered && constraints.equal_by_bytes) {
            return Err("both sides need the same built-in type of its partition key");
        }
    }
    Ok(keys)
}

/// The condition that no partition takes a row; None where there is always one.
pub fn fits_none(constraints: &Constraints) -> Option<String> {
    // A partition without a condition takes every row.
    let leaves = constraints.leaves.as_ref()?;
    let bounds: Option<Vec<&String>> = leaves.iter().map(Option::as_ref).collect();
    let bounds: Vec<String> = bounds?.iter().map(|bound| format!("({bound})")).collect();
    let fits = match bounds.is_empty() {
        true => "false".to_owned(),
        false => bounds.join(" OR "),
    };
    Some(format!("NOT COALESCE({fits}, false)"))
}

/// Refuses what cannot get partitions by its neighbours' pattern. Gives the column of the partition key, or None
/// where no row lacks a partition.
pub fn check(job: &JobSpec, inspected: &Inspected, refusals: &mut Vec<Refusal>) -> Option<Ident> {
    let target = inspected.target.as_ref()?;
    let mut refuse = |message: &str, hint: &str| {
        let message = format!("`create_partitions = true`, but {message}");
        refusals.push(
            Refusal::mismatch(Side::Target, &target.name, message)
                .of_kind(ErrorKind::Config)
                .hinted(hint),
        );
        None
    };
    let by_hand = "create the partitions by hand, or a DEFAULT partition";
    if job.mode == Mode::Swap {
        return refuse(
            "mode `swap` replaces plain tables and partitions that exist",
            by_hand,
        );
    }
    if job.on_error == OnError::Quarantine {
        return refuse(
            "`on_error = \"quarantine\"` sets rows without a partition aside",
            "choose one of them",
        );
    }
    let constraints = inspected.constraints.as_ref();
    let Some(partitioning) = constraints.and_then(|found| found.partitioning.as_ref()) else {
        return refuse("it is not partitioned", "take `create_partitions` out");
    };
    if partitioning.partitions.iter().any(Partition::is_default) {
        return None;
    }
    if !target.ancestors.is_empty() {
        return refuse("it is a partition itself", "name the parent as the target");
    }
    let kind = partitioning.strategy.as_str();
    let Some(column) = partitioning.column.as_deref().filter(|_| kind != "h") else {
        let message = match kind {
            "h" => "it is partitioned by hash, and no row lacks a partition where all are there",
            _ => "its partition key is not one column",
        };
        return refuse(message, by_hand);
    };
    if partitioning.partitions.is_empty() {
        return refuse("it has no partition that a new one could be like", by_hand);
    }
    if let Some(other) = partitioning.partitions.iter().find(|p| !p.is_table) {
        let message = format!("its partition {} is not a plain table", other.name());
        return refuse(&message, by_hand);
    }
    if !partitioning.is_owner {
        return refuse(
            "only the owner of a table can attach partitions to it",
            "make the role a member of the table's owner",
        );
    }
    Some(Ident::new(column))
}

/// The partitions that these keys lack. *Errors:* why one cannot be made like its neighbours.
pub fn new(
    parent: &QualifiedName,
    constraints: &Constraints,
    keys: &[Option<String>],
) -> Result<Vec<NewPartition>, String> {
    let partitioning = constraints.partitioning.as_ref();
    let partitioning = partitioning.ok_or("it is no longer partitioned")?;
    match partitioning.strategy.as_str() {
        "r" => ranges(parent, partitioning, keys),
        _ => lists(parent, partitioning, keys),
    }
}

fn ranges(
    parent: &QualifiedName,
    partitioning: &Partitioning,
    keys: &[Option<String>],
) -> Result<Vec<NewPartition>, String> {
    let ty = partitioning.ty.as_deref().unwrap_or_default();
    let unlike = |what: &str| format!("its partition key of type {ty} has {what}");
    let mut known: Vec<(String, Extent, &Partition)> = Vec::new();
    for partition in &partitioning.partitions {
        let extent = extent(ty, &partition.bound).ok_or_else(|| {
            format!(
                "the bounds of partition {} are not whole numbers or times",
                partition.name()
            )
        })?;
        known.push((partition.name().name.as_str().to_owned(), extent, partition));
    }
    let mut points = Vec::new();
    for key in keys {
        let key = key
            .as_ref()
            .ok_or_else(|| unlike("a NULL, which no range holds"))?;
        let point = Point::parse(ty, key)
            .ok_or_else(|| unlike("a value that is no whole number or time"))?;
        points.push(point);
    }
    points.sort();
    let mut made = Vec::new();
    for key in points {
        if known.iter().any(|(_, extent, _)| extent.holds(key)) {
            continue;
        }
        let neighbours = neighbours(&known, key);
        let (base, width) = continued(&neighbours)?;
        let extent = Extent::around(key, base, width).ok_or("a partition would be out of range")?;
        let (from, to) = match (extent.from, extent.to) {
            (Some(from), Some(to)) => (from.sql(ty), to.sql(ty)),
            _ => return Err("a partition would be out of range".to_owned()),
        };
        if let Some((other, ..)) = known.iter().find(|(_, other, _)| other.overlaps(&extent)) {
            return Err(format!(
                "a partition FROM ({from}) TO ({to}), as wide as its neighbours, would overlap partition {other}"
            ));
        }
        let named: Vec<(&str, Extent)> = neighbours
            .iter()
            .map(|(n, e, _)| (n.as_str(), *e))
            .collect();
        let name = name::of_range(parent.name.as_str(), &named, extent);
        let name = unused(
            name.unwrap_or_default(),
            known.iter().map(|(name, ..)| name.as_str()),
        );
        let like = neighbours[0].2;
        let bound = format!("FROM ({from}) TO ({to})");
        made.push(like_neighbour(parent, like, &name, &bound)?);
        known.push((name, extent, like));
    }
    Ok(made)
}

type Known<'a> = (String, Extent, &'a Partition);

fn extent(ty: &str, bound: &str) -> Option<Extent> {
    let values = literals(bound);
    let [from, to] = values.as_slice() else {
        return None;
    };
    let point = |value: &Option<String>| match value {
        None => Some(None),
        Some(text) => Point::parse(ty, text).map(Some),
    };
    Some(Extent {
        from: point(from)?,
        to: point(to)?,
    })
}

/// The ranges with two bounds that are next to a key: one on each side or, where one side has none, two of the
/// other. The nearest below comes first.
fn neighbours<'k, 'p>(known: &'k [Known<'p>], key: Point) -> Vec<&'k Known<'p>> {
    let bounded = known
        .iter()
        .filter(|(_, e, _)| e.from.is_some() && e.to.is_some());
    let (mut below, mut above): (Vec<_>, Vec<_>) = bounded.partition(|(_, e, _)| e.to <= Some(key));
    below.sort_by_key(|(_, e, _)| std::cmp::Reverse(e.to));
    above.sort_by_key(|(_, e, _)| e.from);
    match (below.is_empty(), above.is_empty()) {
        (false, false) => vec![below[0], above[0]],
        _ => below.into_iter().chain(above).take(2).collect(),
    }
}

/// Where the next range begins, and the width that all neighbours have.
fn continued(neighbours: &[&Known<'_>]) -> Result<(Point, Width), String> {
    let nearest = neighbours.first().ok_or("no partition has two bounds")?;
    let shared = |width: &Width| {
        neighbours
            .iter()
            .all(|(_, e, _)| e.widths().contains(width))
    };
    let width = nearest.1.widths().into_iter().find(shared);
    let width = width.ok_or_else(|| {
        let names: Vec<&str> = neighbours.iter().map(|(name, ..)| name.as_str()).collect();
        format!(
            "the neighbouring partitions {} are not equally wide",
            names.join(" and ")
        )
    })?;
    let base = nearest.1.to.ok_or("no partition has two bounds")?;
    Ok((base, width))
}

fn lists(
    parent: &QualifiedName,
    partitioning: &Partitioning,
    keys: &[Option<String>],
) -> Result<Vec<NewPartition>, String> {
    let mut names: Vec<String> = Vec::new();
    let mut single: Vec<(String, Option<String>)> = Vec::new();
    for partition in &partitioning.partitions {
        let name = partition.name().name.as_str().to_owned();
        if let [value] = literals(&partition.bound).as_slice() {
            single.push((name.clone(), value.clone()));
        }
        names.push(name);
    }
    let named: Vec<(&str, Option<&str>)> = single
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .collect();
    let like = partitioning
        .partitions
        .last()
        .ok_or("it has no partition")?;
    let mut keys: Vec<&Option<String>> = keys.iter().collect();
    keys.sort();
    let mut made = Vec::new();
    for key in keys {
        let name = name::of_value(parent.name.as_str(), &named, key.as_deref());
        let name = unused(name, names.iter().map(String::as_str));
        let literal = key
            .as_ref()
            .map(|key| quote_literal(key).trim_start().to_owned());
        let bound = format!("IN ({})", literal.unwrap_or_else(|| "NULL".to_owned()));
        made.push(like_neighbour(parent, like, &name, &bound)?);
        names.push(name);
    }
    Ok(made)
}

/// The name, with a number where another partition has it.
fn unused<'a>(name: String, taken: impl Iterator<Item = &'a str>) -> String {
    let taken: Vec<&str> = taken.collect();
    let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    let free = names.find(|name| !taken.contains(&name.as_str()));
    free.unwrap_or(name)
}

fn like_neighbour(
    parent: &QualifiedName,
    like: &Partition,
    name: &str,
    bound: &str,
) -> Result<NewPartition, String> {
    let neighbour = like.name();
    if name.len() > IDENT_BYTES_MAX {
        return Err(format!(
            "the name {name} of a new partition would be too long"
        ));
    }
    if !like.own.is_empty() {
        let own = like.own.join(", ");
        return Err(format!(
            "partition {neighbour} has what its parent does not have: {own}"
        ));
    }
    if !like.may_create {
        return Err(format!(
            "the role lacks CREATE on schema {}",
            neighbour.schema
        ));
    }
    let name = QualifiedName::new(neighbour.schema.as_str(), name);
    let (new, parent) = (name.sql(), parent.sql());
    let unlogged = if like.unlogged { "UNLOGGED " } else { "" };
    let options = like.options.as_ref();
    let options = options.map_or(String::new(), |options| format!(" WITH ({options})"));
    let space = like.tablespace.as_ref();
    let space = space.map_or(String::new(), |space| {
        format!(" TABLESPACE {}", Ident::new(space.as_str()).sql())
    });
    let mut statements = vec![
        format!(
            "CREATE {unlogged}TABLE {new} (LIKE {parent} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES \
             EXCLUDING STATISTICS){options}{space}"
        ),
        format!("ALTER TABLE {parent} ATTACH PARTITION {new} FOR VALUES {bound}"),
    ];
    statements.extend(like.grants.iter().map(|grant| {
        let option = if grant.grantable {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        format!(
            "GRANT {} ON {new} TO {}{option}",
            grant.privilege, grant.grantee
        )
    }));
    if let Some(owner) = &like.owner {
        statements.push(format!(
            "ALTER TABLE {new} OWNER TO {}",
            Ident::new(owner.as_str()).sql()
        ));
    }
    Ok(NewPartition { name, statements })
}

#[cfg(test)]
mod tests;
