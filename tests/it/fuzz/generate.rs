//! Random schemas.

use super::schema::{Column, Filled, Foreign, Key, KeyKind, Schema, Table};
use super::tree;
use super::types::Ty;
use crate::support::dice::Dice;

const ACTIONS: [&str; 8] = [
    "NO ACTION",
    "NO ACTION",
    "RESTRICT",
    "CASCADE",
    "CASCADE",
    "SET NULL",
    "SET NULL",
    "SET DEFAULT",
];

const DEFERRABLE: [&str; 5] = ["", "", "", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"];

/// A schema of one to eight tables, mostly few.
pub fn schema(dice: &mut Dice) -> Schema {
    let count = match dice.below(20) {
        0..6 => 1,
        6..12 => 2,
        12..16 => 3,
        16..18 => 4,
        18 => 5 + dice.below(2),
        _ => 7 + dice.below(2),
    };
    let mut schema = Schema::default();
    for n in 0..count {
        let name = table_name(n, dice);
        schema.tables.push(table(dice, name));
    }
    tree::grow(dice, &mut schema);
    for n in 0..schema.tables.len() {
        let wanted = match dice.below(10) {
            0..5 => 0,
            5..9 => 1,
            _ => 2,
        };
        for _ in 0..wanted {
            add_foreign(dice, &mut schema, n);
        }
    }
    schema
}

fn table_name(n: u64, dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => format!("T {n}"),
        1 => format!("select{n}\"'"),
        2 => format!("é.t{n}"),
        _ => format!("t{n}"),
    }
}

pub fn table(dice: &mut Dice, name: String) -> Table {
    let mut table = Table {
        columns: key_columns(dice),
        keys: Vec::new(),
        foreign: Vec::new(),
        parent: None,
        partition_by: None,
        unlogged: dice.once_in(25),
        name,
    };
    let key: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    if !key.is_empty() {
        // A key of two columns names them in any order.
        let mut columns = key;
        if columns.len() > 1 && dice.once_in(2) {
            columns.reverse();
        }
        let deferrable = if dice.once_in(12) {
            dice.one_of(&DEFERRABLE)
        } else {
            ""
        };
        let kind = if dice.once_in(10) {
            KeyKind::Unique
        } else {
            KeyKind::Primary
        };
        add_key(&mut table, columns, kind, deferrable);
    }
    for _ in 0..dice.below(5) {
        add_column(dice, &mut table);
    }
    if table.columns.is_empty() {
        add_column(dice, &mut table);
    }
    if dice.once_in(4) {
        add_unique(dice, &mut table);
    }
    if dice.once_in(10) {
        let at = dice.index(table.columns.len());
        table.columns.rotate_left(at);
    }
    table
}

fn key_columns(dice: &mut Dice) -> Vec<Column> {
    let column = |name: &str, ty: Ty, filled: Filled| Column {
        name: name.to_owned(),
        ty,
        not_null: true,
        filled,
        after_dropped: false,
    };
    match dice.below(20) {
        0..7 => vec![column("id", Ty::of_key(dice), Filled::Null)],
        7..11 => {
            let ty = dice.one_of(&[Ty::Int, Ty::BigInt]);
            let options = dice.one_of(&["", " (INCREMENT 10)", " (INCREMENT -1)"]);
            let filled = match dice.below(4) {
                0 => Filled::IdentityAlways,
                1 => Filled::IdentityByDefault(options.to_owned()),
                _ => Filled::Serial,
            };
            vec![column("id", ty, filled)]
        }
        11..17 => vec![
            column("id", Ty::Int, Filled::Null),
            column("Id 2", Ty::of_key(dice), Filled::Null),
        ],
        17 => vec![
            column("id", Ty::Int, Filled::Null),
            column("b", Ty::Text, Filled::Null),
            column("c", Ty::Date, Filled::Null),
        ],
        _ => Vec::new(),
    }
}

pub fn add_column(dice: &mut Dice, table: &mut Table) {
    let number = (0..).find(|n| table.column(&format!("c{n}")).is_none());
    let ty = Ty::any(dice);
    let filled = match dice.below(12) {
        0 => Filled::Default(ty.literal(dice, 5)),
        1 if ty.is_integer() && dice.once_in(2) => Filled::Serial,
        2 | 3 => match table
            .columns
            .iter()
            .find(|c| c.ty.is_integer() && !c.is_generated())
        {
            Some(integer) if ty == Ty::Int => {
                let integer = super::schema::quoted(&integer.name);
                Filled::Generated(format!("{integer}::integer % 100 + {}", dice.below(3)))
            }
            _ => Filled::Null,
        },
        _ => Filled::Null,
    };
    let serial = filled == Filled::Serial;
    table.columns.push(Column {
        name: format!("c{}", number.unwrap_or_default()),
        ty: if serial && ty == Ty::Domain {
            Ty::Int
        } else {
            ty
        },
        not_null: serial || dice.once_in(5),
        filled,
        after_dropped: dice.once_in(15),
    });
}

fn add_key(table: &mut Table, columns: Vec<String>, kind: KeyKind, deferrable: &'static str) {
    let name = format!("{} k{}", table.name, table.keys.len());
    table.keys.push(Key {
        name,
        columns,
        kind,
        deferrable,
    });
}

pub fn add_unique(dice: &mut Dice, table: &mut Table) {
    let indexable: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.ty.is_indexable())
        .map(|column| column.name.clone())
        .collect();
    let Some(first) = dice.pick(&indexable) else {
        return;
    };
    let mut columns = vec![first.clone()];
    if dice.once_in(3)
        && let Some(second) = dice.pick(&indexable)
        && second != first
    {
        columns.push(second.clone());
    }
    let kind = dice.one_of(&[KeyKind::Unique, KeyKind::Unique, KeyKind::Index]);
    let deferrable = if kind == KeyKind::Unique {
        dice.one_of(&DEFERRABLE)
    } else {
        ""
    };
    add_key(table, columns, kind, deferrable);
}

/// Makes table `n` refer to a key of a table, itself perhaps. It gets columns for that, or takes
/// those that it has.
pub fn add_foreign(dice: &mut Dice, schema: &mut Schema, n: usize) {
    let to = dice.index(schema.tables.len());
    let referenced = &schema.tables[to];
    // The keys of a partition are its parent's.
    let root = match referenced.is_partition() {
        true => schema.ancestors(&referenced.name).pop().unwrap_or_default(),
        false => referenced.name.clone(),
    };
    let keys: Vec<&Key> = schema
        .table(&root)
        .into_iter()
        .flat_map(|table| &table.keys)
        .filter(|key| key.deferrable.is_empty())
        .collect();
    let Some(key) = dice.pick(&keys) else {
        return;
    };
    let (name, to_columns) = (referenced.name.clone(), key.columns.clone());
    let types: Vec<Ty> = to_columns
        .iter()
        .filter_map(|column| referenced.column(column).map(|column| column.ty))
        .collect();
    let nullable = !dice.once_in(4);
    let own_name = schema.tables[n].name.clone();
    let is_taken = |number: &usize| {
        let prefix = format!("f{number}_");
        let mut columns = schema.tables.iter().flat_map(|table| &table.columns);
        columns.any(|column| column.name.starts_with(&prefix))
    };
    let number = (0..).find(|number| !is_taken(number)).unwrap_or_default();
    let mut columns: Vec<String> = Vec::new();
    for (i, ty) in types.into_iter().enumerate() {
        let like = schema.tables[n].columns.iter().find(|column| {
            column.ty == ty
                && !column.is_generated()
                && !columns.contains(&column.name)
                && (to != n || !to_columns.contains(&column.name))
        });
        if let Some(like) = like
            && dice.once_in(3)
        {
            columns.push(like.name.clone());
            continue;
        }
        let column = format!("f{number}_{i}");
        let default = dice.once_in(6);
        let made = Column {
            name: column.clone(),
            ty,
            not_null: !nullable,
            filled: if default {
                Filled::Default(ty.literal(dice, 5))
            } else {
                Filled::Null
            },
            after_dropped: false,
        };
        tree::add_to_tree(schema, &own_name, &made);
        columns.push(column);
    }
    let more = format!(
        "{}{}",
        if dice.once_in(10) { " MATCH FULL" } else { "" },
        dice.one_of(&DEFERRABLE)
    );
    schema.tables[n].foreign.push(Foreign {
        name: format!("{own_name} f{number}"),
        columns,
        table: name,
        to: to_columns,
        on_delete: dice.one_of(&ACTIONS),
        on_update: dice.one_of(&ACTIONS),
        more,
    });
    // A target of one's own choice for a unique key beside the one that rows are known by.
    if dice.once_in(4) {
        add_unique(dice, &mut schema.tables[n]);
    }
}
