//! Triggers, views, policies, and what else may be attached to a table.

use super::schema::{Extra, Schema, Table, qualified, quoted};
use super::types::Ty;
use crate::support::dice::Dice;

/// Attaches a few things to tables of a target, and sometimes of a source.
pub fn attach(dice: &mut Dice, schema: &mut Schema) {
    if dice.once_in(2) {
        return;
    }
    for _ in 0..1 + dice.below(3) {
        let Some(table) = dice.pick(&schema.tables).cloned() else {
            return;
        };
        let number = schema.extras.len();
        let extra = match dice.below(16) {
            0..5 => trigger(dice, schema, &table, number),
            5..7 => view(dice, &table, number),
            7 => policy(&table, number),
            8 => index(dice, &table, number),
            9 => check(&table, number),
            10 => exclusion(dice, &table, number),
            11 => rule(dice, &table, number),
            _ => attribute(dice, &table, number),
        };
        schema.extras.extend(extra);
    }
}

fn plain(feature: &'static str, table: &Table, sql: String) -> Extra {
    Extra {
        feature,
        table: table.name.clone(),
        sql,
        meddles: false,
        meddles_in_replica: false,
        writes: None,
        view: None,
    }
}

fn trigger(dice: &mut Dice, schema: &Schema, table: &Table, number: usize) -> Option<Extra> {
    let name = quoted(&format!("trigger {number}"));
    let function = qualified(&format!("function {number}"));
    let on = table.sql_name();
    let column = dice
        .pick(&table.columns)
        .filter(|column| !column.is_generated())?;
    let condition = super::job::condition(dice, table)?;
    let new_row = condition.replacen('"', "NEW.\"", 1);
    let old_row = condition.replacen('"', "OLD.\"", 1);
    let mut writes = None;
    let (feature, when, body) = match dice.below(9) {
        0 | 1 => (
            "trigger that changes rows",
            "BEFORE INSERT OR UPDATE",
            format!(
                "NEW.{} := {}; RETURN NEW;",
                quoted(&column.name),
                column.ty.literal(dice, 8)
            ),
        ),
        2 => (
            "trigger that drops inserted rows",
            "BEFORE INSERT",
            format!("IF {new_row} THEN RETURN NULL; END IF; RETURN NEW;"),
        ),
        3 => (
            "trigger that keeps rows from being deleted",
            "BEFORE DELETE",
            format!("IF {old_row} THEN RETURN NULL; END IF; RETURN OLD;"),
        ),
        4 => (
            "trigger that keeps rows from being updated",
            "BEFORE UPDATE",
            format!("IF {old_row} THEN RETURN NULL; END IF; RETURN NEW;"),
        ),
        5 => {
            let other = dice.pick(&schema.tables)?;
            let columns: Vec<_> = other.columns.iter().filter(|c| !c.is_generated()).collect();
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.ty.literal(dice, 9))
                .collect();
            writes = Some(other.name.clone());
            (
                "trigger that adds rows",
                "AFTER INSERT OR UPDATE OR DELETE",
                format!(
                    "IF pg_trigger_depth() < 2 THEN INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE \
                     VALUES ({}) ON CONFLICT DO NOTHING; END IF; RETURN NULL;",
                    other.sql_name(),
                    super::schema::list(&names),
                    values.join(", ")
                ),
            )
        }
        6 => {
            let other = dice.pick(&schema.tables)?;
            let condition = super::job::condition(dice, other)?;
            writes = Some(other.name.clone());
            (
                "trigger that deletes rows",
                "AFTER INSERT OR UPDATE",
                format!(
                    "IF pg_trigger_depth() < 2 THEN DELETE FROM {} WHERE {condition}; END IF; \
                     RETURN NULL;",
                    other.sql_name()
                ),
            )
        }
        7 => {
            let other = dice.pick(&schema.tables)?;
            let column = dice
                .pick(&other.columns)
                .filter(|column| !column.is_generated())?;
            writes = Some(other.name.clone());
            (
                "trigger that updates rows",
                "AFTER INSERT OR DELETE",
                format!(
                    "IF pg_trigger_depth() < 2 THEN UPDATE {} SET {} = {}; END IF; RETURN NULL;",
                    other.sql_name(),
                    quoted(&column.name),
                    column.ty.literal(dice, 9)
                ),
            )
        }
        _ => (
            "trigger that changes nothing",
            "BEFORE INSERT OR UPDATE",
            "RETURN NEW;".to_owned(),
        ),
    };
    let level = if when.starts_with("AFTER") && dice.once_in(2) {
        "STATEMENT"
    } else {
        "ROW"
    };
    let mode = match dice.below(8) {
        0 => "ALWAYS",
        1 => "REPLICA",
        2 => "DISABLED",
        _ => "",
    };
    let enable = match mode {
        "" => String::new(),
        "DISABLED" => format!("; ALTER TABLE {on} DISABLE TRIGGER {name}"),
        mode => format!("; ALTER TABLE {on} ENABLE {mode} TRIGGER {name}"),
    };
    let changes = feature != "trigger that changes nothing";
    Some(Extra {
        meddles: changes && matches!(mode, "" | "ALWAYS"),
        meddles_in_replica: changes && matches!(mode, "REPLICA" | "ALWAYS"),
        writes,
        ..plain(
            feature,
            table,
            format!(
                "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN {body} END $body$; \
                 CREATE TRIGGER {name} {when} ON {on} FOR EACH {level} EXECUTE FUNCTION {function}(){enable}"
            ),
        )
    })
}

fn view(dice: &mut Dice, table: &Table, number: usize) -> Option<Extra> {
    let name = qualified(&format!("view {number}"));
    let on = table.sql_name();
    if dice.once_in(6) {
        let sql = format!("CREATE MATERIALIZED VIEW {name} AS SELECT * FROM {on}");
        return Some(plain("materialized view", table, sql));
    }
    let sql = format!("CREATE VIEW {name} AS SELECT * FROM {on}");
    Some(Extra {
        view: Some(name),
        ..plain("view", table, sql)
    })
}

fn policy(table: &Table, number: usize) -> Option<Extra> {
    let on = table.sql_name();
    let sql = format!(
        "ALTER TABLE {on} ENABLE ROW LEVEL SECURITY; CREATE POLICY {} ON {on} FOR SELECT USING (true)",
        quoted(&format!("policy {number}"))
    );
    Some(plain("policy", table, sql))
}

fn index(dice: &mut Dice, table: &Table, number: usize) -> Option<Extra> {
    let column = dice
        .pick(&table.columns)
        .filter(|column| column.ty.is_indexable())?;
    let (on, name) = (table.sql_name(), quoted(&format!("index {number}")));
    let column = quoted(&column.name);
    Some(match dice.below(3) {
        0 => plain("partial index", table, {
            format!("CREATE UNIQUE INDEX {name} ON {on} ({column}) WHERE {column} IS NULL")
        }),
        1 => plain("index on an expression", table, {
            format!("CREATE INDEX {name} ON {on} (({column} IS NULL), {column} DESC)")
        }),
        _ => plain("index", table, {
            format!("CREATE INDEX {name} ON {on} ({column}) WITH (fillfactor = 70)")
        }),
    })
}

fn check(table: &Table, number: usize) -> Option<Extra> {
    let column = table.columns.iter().find(|column| column.ty.is_integer())?;
    let sql = format!(
        "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} < 40)",
        table.sql_name(),
        quoted(&format!("check {number}")),
        quoted(&column.name)
    );
    Some(plain("check constraint", table, sql))
}

fn exclusion(dice: &mut Dice, table: &Table, number: usize) -> Option<Extra> {
    let range = table.columns.iter().find(|column| column.ty == Ty::Range);
    let indexable = || table.columns.iter().find(|column| column.ty.is_indexable());
    let (column, how, operator) = match range {
        Some(column) => (column, "gist", "&&"),
        None => (indexable()?, "btree", "="),
    };
    let sql = format!(
        "ALTER TABLE {} ADD CONSTRAINT {} EXCLUDE USING {how} ({} WITH {operator}){}",
        table.sql_name(),
        quoted(&format!("exclusion {number}")),
        quoted(&column.name),
        dice.one_of(&["", " DEFERRABLE INITIALLY DEFERRED"])
    );
    Some(plain("exclusion constraint", table, sql))
}

fn rule(dice: &mut Dice, table: &Table, number: usize) -> Option<Extra> {
    let sql = format!(
        "CREATE RULE {} AS ON {} TO {} DO INSTEAD NOTHING",
        quoted(&format!("rule {number}")),
        dice.one_of(&["INSERT", "UPDATE", "DELETE"]),
        table.sql_name()
    );
    Some(plain("rule", table, sql))
}

fn attribute(dice: &mut Dice, table: &Table, number: usize) -> Option<Extra> {
    let on = table.sql_name();
    let column = dice
        .pick(&table.columns)
        .map(|column| quoted(&column.name))?;
    let key = table.keys.first().map(|key| quoted(&key.name));
    Some(match (dice.below(10), key) {
        (0, _) => plain("comment", table, {
            format!(
                "COMMENT ON TABLE {on} IS 'It''s'; COMMENT ON COLUMN {on}.{column} IS 'a column'"
            )
        }),
        (1, _) => plain("grant", table, {
            format!(
                "GRANT SELECT, INSERT ON {on} TO PUBLIC; GRANT UPDATE ({column}) ON {on} TO PUBLIC"
            )
        }),
        (2, _) => plain("storage options", table, {
            format!("ALTER TABLE {on} SET (fillfactor = 60, autovacuum_enabled = off)")
        }),
        (3, _) => plain("statistics", table, {
            let other = table.columns.last().map(|column| quoted(&column.name))?;
            let name = qualified(&format!("statistics {number}"));
            format!(
                "ALTER TABLE {on} ALTER COLUMN {column} SET STATISTICS 7; \
                 CREATE STATISTICS {name} ON {column}, {other} FROM {on}"
            )
        }),
        (4, Some(key)) => plain("replica identity", table, {
            format!("ALTER TABLE {on} REPLICA IDENTITY USING INDEX {key}")
        }),
        (5, Some(key)) => plain(
            "cluster mark",
            table,
            format!("ALTER TABLE {on} CLUSTER ON {key}"),
        ),
        (6, Some(key)) => plain("comment", table, {
            format!("COMMENT ON CONSTRAINT {key} ON {on} IS 'the key'")
        }),
        (7, _) => plain(
            "replica identity",
            table,
            format!("ALTER TABLE {on} REPLICA IDENTITY FULL"),
        ),
        (8, _) => plain("storage options", table, {
            format!("ALTER TABLE {on} ALTER COLUMN {column} SET STORAGE EXTERNAL")
        }),
        _ => plain("triggers disabled", table, {
            // A deferrable key is not unique without its trigger.
            let deferrable = table.keys.iter().any(|key| !key.deferrable.is_empty());
            let which = if deferrable { "USER" } else { "ALL" };
            format!("ALTER TABLE {on} DISABLE TRIGGER {which}")
        }),
    })
}
