//! Partitions and inheritance: tables below others.

use super::generate::add_column;
use super::schema::{Column, Filled, Key, Parent, ParentKind, Schema, Table, list, quoted};
use super::types::Ty;
use crate::support::dice::Dice;

/// Gives some tables partitions, and some children.
pub fn grow(dice: &mut Dice, schema: &mut Schema) {
    for n in 0..schema.tables.len() {
        match dice.below(14) {
            0..2 => partition(dice, schema, n),
            2 => inherit(dice, schema, n),
            _ => {}
        }
    }
}

fn inherit(dice: &mut Dice, schema: &mut Schema, n: usize) {
    for number in 0..=dice.below(2) {
        let parent = &schema.tables[n];
        let mut child = below(
            parent,
            &format!("{}_c{number}", parent.name),
            ParentKind::Inherits,
        );
        if dice.once_in(2) {
            child.keys = own_keys(parent, &child.name);
        }
        schema.tables.push(child);
    }
}

fn own_keys(parent: &Table, name: &str) -> Vec<Key> {
    let mut keys = parent.keys.clone();
    for (n, key) in keys.iter_mut().enumerate() {
        key.name = format!("{name} k{n}");
    }
    keys
}

fn below(parent: &Table, name: &str, kind: ParentKind) -> Table {
    Table {
        name: name.to_owned(),
        columns: parent.columns.clone(),
        keys: Vec::new(),
        foreign: Vec::new(),
        parent: Some(Parent {
            table: parent.name.clone(),
            kind,
        }),
        partition_by: None,
        unlogged: false,
    }
}

fn partition(dice: &mut Dice, schema: &mut Schema, n: usize) {
    if schema.tables[n].columns.len() < 2 && dice.once_in(2) {
        add_column(dice, &mut schema.tables[n]);
    }
    let root = &mut schema.tables[n];
    let Some(column) = by(dice, root, None) else {
        return;
    };
    // Every key of a partitioned table has to name what it is partitioned by.
    root.keys.retain(|key| key.columns.contains(&column.name));
    root.unlogged = false;
    let bounds = split(dice, &mut schema.tables[n], &column);
    let root = schema.tables[n].clone();
    for (number, bounds) in bounds.into_iter().enumerate() {
        let name = format!("{}_p{number}", root.name);
        let mut child = below(&root, &name, ParentKind::Partition(bounds.clone()));
        if dice.once_in(3) {
            attach(dice, &mut child, bounds);
        }
        let again = by(dice, &child, Some(&root)).filter(|_| dice.once_in(4));
        let inner = match &again {
            Some(column) => split(dice, &mut child, column),
            None => Vec::new(),
        };
        let above = child.clone();
        schema.tables.push(child);
        for (deeper, bounds) in inner.into_iter().enumerate() {
            let name = format!("{name}_{deeper}");
            schema
                .tables
                .push(below(&above, &name, ParentKind::Partition(bounds)));
        }
    }
}

/// The partition has its columns in an order of its own.
fn attach(dice: &mut Dice, child: &mut Table, bounds: String) {
    let at = dice.index(child.columns.len());
    child.columns.rotate_left(at);
    for column in &mut child.columns {
        column.after_dropped = dice.once_in(4);
        if column.filled.has_sequence() {
            column.filled = Filled::Null;
        }
    }
    if let Some(parent) = &mut child.parent {
        parent.kind = ParentKind::Attached(bounds);
    }
}

/// A column that the table, and its keys, can be partitioned by.
fn by(dice: &mut Dice, table: &Table, root: Option<&Table>) -> Option<Column> {
    let keys = &root.unwrap_or(table).keys;
    let fits: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| matches!(column.ty, Ty::Int | Ty::BigInt | Ty::Text | Ty::Date))
        .filter(|column| !column.is_generated())
        .filter(|column| match root {
            None => keys.is_empty() || keys.iter().any(|key| key.columns.contains(&column.name)),
            Some(_) => keys.iter().all(|key| key.columns.contains(&column.name)),
        })
        .collect();
    dice.pick(&fits).map(|column| (*column).clone())
}

/// Has the table partitioned by this column; the bounds of the partitions.
fn split(dice: &mut Dice, table: &mut Table, column: &Column) -> Vec<String> {
    let value = |n: u64| match column.ty {
        Ty::Text => format!("'k{n}'"),
        Ty::Date => format!("'2024-02-{n:02}'"),
        _ => n.to_string(),
    };
    let name = list(&[&column.name]);
    let (by, mut bounds) = match dice.below(3) {
        0 => (
            format!("RANGE ({name})"),
            vec![
                format!("FOR VALUES FROM (MINVALUE) TO ({})", value(4)),
                format!("FOR VALUES FROM ({}) TO ({})", value(4), value(8)),
            ],
        ),
        1 => (
            format!("LIST ({})", quoted(&column.name)),
            vec![
                format!("FOR VALUES IN ({}, {})", value(1), value(3)),
                format!("FOR VALUES IN ({}, {})", value(2), value(4)),
            ],
        ),
        _ => (
            format!("HASH ({name})"),
            (0..3)
                .map(|n| format!("FOR VALUES WITH (MODULUS 3, REMAINDER {n})"))
                .collect(),
        ),
    };
    if !by.starts_with("HASH") && !dice.once_in(6) {
        bounds.push("DEFAULT".to_owned());
    }
    table.partition_by = Some(by);
    bounds
}

/// Adds the column to the table, and to all that share its columns.
pub fn add_to_tree(schema: &mut Schema, name: &str, column: &Column) {
    let root = schema
        .ancestors(name)
        .pop()
        .unwrap_or_else(|| name.to_owned());
    for below in schema.tree(&root) {
        let Some(table) = schema.table_mut(&below) else {
            continue;
        };
        table.columns.push(column.clone());
    }
}
