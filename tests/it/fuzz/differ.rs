//! The target's schema: the source's with differences.

use super::generate::{add_column, add_foreign, add_unique};
use super::schema::{Filled, Schema};
use crate::support::dice::Dice;

/// A target for this source: the same, or with a few things that only one side has.
pub fn target(dice: &mut Dice, source: &Schema) -> Schema {
    let mut target = source.clone();
    if dice.once_in(3) {
        return target;
    }
    for n in 0..target.tables.len() {
        // The columns of a partition, and of what inherits, are its parent's.
        let alone = target.tables[n].parent.is_none()
            && target.children(&target.tables[n].name).next().is_none();
        let table = &mut target.tables[n];
        match dice.below(16) {
            0 if !table.foreign.is_empty() => {
                table.foreign.remove(0);
            }
            1 => add_foreign(dice, &mut target, n),
            2 => add_unique(dice, table),
            3 if table.keys.len() > 1 => {
                table.keys.pop();
            }
            4 if alone => {
                add_column(dice, table);
                if let Some(column) = table.columns.last_mut()
                    && column.filled == Filled::Null
                {
                    column.not_null = false;
                }
            }
            5 if alone => {
                let at = dice.index(table.columns.len());
                let wide = table.columns[at].ty.wider();
                let plain = matches!(table.columns[at].filled, Filled::Null);
                let in_foreign = table
                    .foreign
                    .iter()
                    .any(|foreign| foreign.columns.contains(&table.columns[at].name));
                if let Some(wide) = wide
                    && plain
                    && !in_foreign
                {
                    table.columns[at].ty = wide;
                }
            }
            6 if alone && table.columns.len() > 2 => {
                table.columns.pop();
            }
            7 if alone => {
                let at = dice.index(table.columns.len());
                table.columns.swap(0, at);
            }
            8 if alone => {
                let integer = table.columns.iter().position(|column| {
                    column.ty.is_integer()
                        && column.filled == Filled::Null
                        && column.not_null
                        // PostgreSQL has no ON DELETE SET NULL of such a column.
                        && !table.foreign.iter().any(|f| f.columns.contains(&column.name))
                });
                if let Some(at) = integer {
                    table.columns[at].filled = Filled::IdentityAlways;
                    if table.columns[at].ty == super::types::Ty::Domain {
                        table.columns[at].filled = Filled::Null;
                    }
                }
            }
            9 => {
                for foreign in &mut table.foreign {
                    foreign.on_delete = "CASCADE";
                    foreign.on_update = "CASCADE";
                }
            }
            10 if alone => {
                let plain = table.columns.iter().position(|column| {
                    column.filled == Filled::Null && column.ty == super::types::Ty::Int
                });
                // A generated column cannot be computed from another one.
                let is_read = |at: usize| {
                    let name = super::schema::quoted(&table.columns[at].name);
                    table.columns.iter().any(|column| {
                        matches!(&column.filled, Filled::Generated(value) if value.starts_with(&name))
                    })
                };
                if let Some(at) = plain.filter(|at| dice.once_in(3) && !is_read(*at)) {
                    table.columns[at].filled = Filled::Generated(format!("{}", dice.below(3)));
                }
            }
            _ => {}
        }
    }
    if dice.once_in(5) {
        rename(dice, &mut target);
    }
    target
}

/// The prefix of a table's name that only the target has.
const RENAMED: &str = "w ";

/// Gives a table another name than it has on the source.
fn rename(dice: &mut Dice, target: &mut Schema) {
    let Some(table) = dice.pick(&target.tables) else {
        return;
    };
    let old = table.name.clone();
    let new = format!("{RENAMED}{old}");
    for table in &mut target.tables {
        for name in table.foreign.iter_mut().map(|foreign| &mut foreign.table) {
            if *name == old {
                name.clone_from(&new);
            }
        }
        if let Some(parent) = &mut table.parent
            && parent.table == old
        {
            parent.table.clone_from(&new);
        }
        if table.name == old {
            table.name.clone_from(&new);
        }
    }
    // What was attached on the source names its table in SQL.
    target.extras.retain(|extra| extra.table != old);
}

/// The name on the source of a table of the target.
pub fn source_name(target: &str) -> &str {
    target.strip_prefix(RENAMED).unwrap_or(target)
}
