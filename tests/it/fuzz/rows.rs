//! Random rows. The server drops those that violate a constraint.

use std::collections::BTreeMap;

use super::schema::{Filled, Schema, Table, list};
use crate::support::dice::Dice;

/// Rows of one table, as literals.
#[derive(Clone, Debug)]
pub struct Rows {
    pub table: String,
    pub columns: Vec<String>,
    pub values: Vec<Vec<String>>,
}

impl Rows {
    pub fn statements(&self, schema: &Schema) -> Vec<String> {
        let Some(table) = schema.table(&self.table) else {
            return Vec::new();
        };
        let known: Vec<usize> = (0..self.columns.len())
            .filter(|&at| {
                table
                    .column(&self.columns[at])
                    .is_some_and(|c| !c.is_generated())
            })
            .collect();
        let columns: Vec<&String> = known.iter().map(|&at| &self.columns[at]).collect();
        let insert = |values: &Vec<String>| {
            let values: Vec<&str> = known.iter().map(|&at| values[at].as_str()).collect();
            format!(
                "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
                table.sql_name(),
                list(&columns),
                values.join(", ")
            )
        };
        if known.is_empty() {
            return Vec::new();
        }
        self.values.iter().map(insert).collect()
    }
}

/// Rows for all tables of a side, those that others refer to first, if there is such an order.
pub fn rows(dice: &mut Dice, schema: &Schema) -> Vec<Rows> {
    let mut made: BTreeMap<String, Rows> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for name in by_reference(schema) {
        let Some(table) = schema.table(&name) else {
            continue;
        };
        // The rows of partitions come through their parents.
        if table.is_partition() && !dice.once_in(10) {
            continue;
        }
        let count = match dice.below(20) {
            0..3 => 0,
            3..12 => 1 + dice.below(6),
            12..19 => 5 + dice.below(11),
            _ => 16 + dice.below(25),
        };
        let mut all = Rows {
            table: name.clone(),
            columns: written(table),
            values: Vec::new(),
        };
        for _ in 0..count {
            let row = row(dice, table, &all, &made, count);
            all.values.push(row);
        }
        order.push(name.clone());
        made.insert(name, all);
    }
    order.iter().filter_map(|name| made.remove(name)).collect()
}

fn written(table: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for column in table.columns.iter().filter(|column| !column.is_generated()) {
        names.push(column.name.clone());
    }
    names
}

fn row(
    dice: &mut Dice,
    table: &Table,
    own: &Rows,
    others: &BTreeMap<String, Rows>,
    count: u64,
) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for name in &own.columns {
        let Some(column) = table.column(name) else {
            continue;
        };
        let in_key = table.keys.iter().any(|key| key.columns.contains(name));
        let range = if in_key { count + count / 2 } else { 6 };
        let value = if !column.not_null && dice.once_in(6) {
            "NULL".to_owned()
        } else if matches!(column.filled, Filled::Serial | Filled::Default(_)) && dice.once_in(3) {
            "DEFAULT".to_owned()
        } else {
            column.ty.literal(dice, range)
        };
        values.push(value);
    }
    for foreign in &table.foreign {
        let referenced = if foreign.table == table.name {
            Some(own)
        } else {
            others.get(&foreign.table)
        };
        let Some(parent) = referenced.and_then(|rows| dice.pick(&rows.values).zip(Some(rows)))
        else {
            continue;
        };
        let (parent, rows) = parent;
        for (column, to) in foreign.columns.iter().zip(&foreign.to) {
            let at = own.columns.iter().position(|name| name == column);
            let from = rows.columns.iter().position(|name| name == to);
            if let (Some(at), Some(from)) = (at, from)
                && values[at] != "NULL"
            {
                values[at] = parent[from].clone();
            }
        }
    }
    values
}

/// The target's rows before the first run: like the source's with changes, or others.
pub fn target_rows(dice: &mut Dice, source: &[Rows], target: &Schema) -> Vec<Rows> {
    match dice.below(10) {
        0 => return Vec::new(),
        1..4 => return rows(dice, target),
        _ => {}
    }
    let mut all = source.to_vec();
    for rows in &mut all {
        let Some(table) = target.table(&rows.table) else {
            continue;
        };
        rows.values.retain(|_| !dice.once_in(8));
        for values in &mut rows.values {
            let at = dice.index(rows.columns.len());
            if let Some(column) = table.column(&rows.columns[at])
                && dice.once_in(4)
            {
                values[at] = column.ty.literal(dice, 8);
            }
        }
    }
    all
}

/// The tables' names, referenced ones before those that refer to them; circles in any order.
pub fn by_reference(schema: &Schema) -> Vec<String> {
    let mut left: Vec<&Table> = schema.tables.iter().collect();
    let mut order: Vec<String> = Vec::new();
    while !left.is_empty() {
        let is_free = |table: &&Table| {
            table.foreign.iter().all(|foreign| {
                foreign.table == table.name || !left.iter().any(|t| t.name == foreign.table)
            })
        };
        let at = left.iter().position(is_free).unwrap_or(0);
        order.push(left.remove(at).name.clone());
    }
    order
}
