//! The statements that create the new table before it is loaded.

use super::{Names, literal, option, quoted};
use crate::catalog::attachments::{AttachedColumn, AttachedTrigger, Attachments, IdentitySequence};
use crate::pg::ident::QualifiedName;

/// Otherwise, `default_tablespace` of a role or database would apply to objects without TABLESPACE.
pub const OWN_TABLESPACE: &str = "SET LOCAL default_tablespace = ''";

/// The constraint because of which ATTACH PARTITION does not scan the whole table under its lock.
pub(super) const BOUND: &str = "tableferry_bound";

pub(super) fn make(
    names: &Names,
    old: &Attachments,
    server_version: u32,
    mark: &str,
) -> Vec<String> {
    let shadow = names.shadow.sql();
    let mut list = vec![OWN_TABLESPACE.to_owned()];
    list.push(create(&shadow, old, server_version));
    list.push(format!(
        "COMMENT ON TABLE {shadow} IS {}",
        literal(Some(mark))
    ));
    list.push(format!(
        "ALTER TABLE {shadow} OWNER TO {}",
        quoted(&old.owner)
    ));
    for check in &old.checks {
        list.push(format!(
            "ALTER TABLE {shadow} ADD CONSTRAINT {} {}",
            quoted(&check.name),
            check.definition
        ));
    }
    if let Some(condition) = bound_condition(old) {
        list.push(format!(
            "ALTER TABLE {shadow} ADD CONSTRAINT {BOUND} CHECK ({condition})"
        ));
    }
    for (number, column) in old.columns.iter().enumerate() {
        list.extend(column_settings(&shadow, column));
        if let Some(sequence) = &column.identity_sequence {
            list.extend(identity(names, number, column, sequence));
        }
    }
    for trigger in &old.triggers {
        list.extend(create_trigger(&shadow, old, trigger));
    }
    list.extend(row_type(&shadow, old));
    list
}

/// The privileges and comments of the row type.
fn row_type(shadow: &str, old: &Attachments) -> Vec<String> {
    let row_type = &old.row_type;
    let object = format!("TYPE {shadow}");
    let mut list: Vec<String> = Vec::new();
    list.extend(super::comment(&object, row_type.comment.as_ref()));
    let array = format!("{object}[]");
    list.extend(super::comment(&array, row_type.array_comment.as_ref()));
    // ALTER DEFAULT PRIVILEGES does not apply to the row types of tables.
    list.extend(super::acl::acl(
        &object,
        &old.owner,
        row_type.acl_is_default,
        &[],
        &row_type.grants,
    ));
    list
}

pub(super) fn bound_condition(old: &Attachments) -> Option<&String> {
    old.partition.as_ref()?.condition.as_ref()
}

fn create(shadow: &str, old: &Attachments, server_version: u32) -> String {
    // Since version 18, NOT NULL is a constraint with a name, and is created with it.
    let named_not_null = server_version >= 180_000;
    let columns: Vec<String> = old
        .columns
        .iter()
        .map(|column| column_definition(column, named_not_null))
        .collect();
    let mut sql = format!(
        "CREATE {}TABLE {shadow} ({})",
        if old.unlogged { "UNLOGGED " } else { "" },
        columns.join(", ")
    );
    if let Some(method) = &old.access_method {
        sql.push_str(&format!(" USING {}", quoted(method)));
    }
    let toast = old
        .toast_options
        .iter()
        .map(|text| format!("toast.{}", option(text)));
    let options: Vec<String> = old
        .options
        .iter()
        .map(|text| option(text))
        .chain(toast)
        .collect();
    if !options.is_empty() {
        sql.push_str(&format!(" WITH ({})", options.join(", ")));
    }
    if let Some(tablespace) = &old.tablespace {
        sql.push_str(&format!(" TABLESPACE {}", quoted(tablespace)));
    }
    sql
}

fn column_definition(column: &AttachedColumn, named_not_null: bool) -> String {
    let mut sql = format!("{} {}", quoted(&column.name), column.type_text);
    if let Some(collation) = &column.collation {
        sql.push_str(&format!(" COLLATE {collation}"));
    }
    match (&column.expression, column.generated.as_str()) {
        (Some(expression), "") => sql.push_str(&format!(" DEFAULT {expression}")),
        (Some(expression), kind) => {
            let kind = if kind == "v" { "VIRTUAL" } else { "STORED" };
            sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) {kind}"));
        }
        (None, _) => {}
    }
    if column.not_null && !named_not_null {
        sql.push_str(" NOT NULL");
    }
    sql
}

fn column_settings(shadow: &str, column: &AttachedColumn) -> Vec<String> {
    let alter = |what: String| {
        format!(
            "ALTER TABLE {shadow} ALTER COLUMN {} {what}",
            quoted(&column.name)
        )
    };
    let mut list = Vec::new();
    list.extend(
        column
            .storage
            .iter()
            .map(|s| alter(format!("SET STORAGE {s}"))),
    );
    list.extend(
        column
            .compression
            .iter()
            .map(|c| alter(format!("SET COMPRESSION {c}"))),
    );
    list.extend(
        column
            .statistics
            .iter()
            .map(|n| alter(format!("SET STATISTICS {n}"))),
    );
    if !column.options.is_empty() {
        list.push(alter(format!("SET ({})", super::options(&column.options))));
    }
    list
}

/// The sequence of an identity column cannot be moved to another table: a new sequence continues at its
/// position.
fn identity(
    names: &Names,
    number: usize,
    column: &AttachedColumn,
    sequence: &IdentitySequence,
) -> Vec<String> {
    let passing = names.part(&sequence.schema, 's', number);
    let kind = if column.identity == "a" {
        "ALWAYS"
    } else {
        "BY DEFAULT"
    };
    let add = format!(
        "ALTER TABLE {} ALTER COLUMN {} ADD GENERATED {kind} AS IDENTITY (SEQUENCE NAME {} {})",
        names.shadow.sql(),
        quoted(&column.name),
        passing.sql(),
        sequence.settings.sql(),
    );
    let mut list = vec![add];
    if sequence.type_text != column.type_text {
        list.push(format!(
            "ALTER SEQUENCE {} AS {}",
            passing.sql(),
            sequence.type_text
        ));
    }
    list.push(position(&passing, sequence));
    list
}

fn position(passing: &QualifiedName, sequence: &IdentitySequence) -> String {
    let old = QualifiedName::new(&sequence.schema, &sequence.name).sql();
    format!(
        "SELECT pg_catalog.setval({}::pg_catalog.regclass, last_value, is_called) FROM {old}",
        literal(Some(&passing.sql()))
    )
}

/// The statements that move the new sequences of identity columns to where the old ones are.
pub(super) fn positions(names: &Names, old: &Attachments) -> Vec<String> {
    let sequences = old
        .columns
        .iter()
        .enumerate()
        .filter_map(|(number, column)| {
            let sequence = column.identity_sequence.as_ref()?;
            Some((names.part(&sequence.schema, 's', number), sequence))
        });
    sequences
        .map(|(passing, sequence)| position(&passing, sequence))
        .collect()
}

/// Triggers are created before the load, because they fire for the loaded rows. This includes those that a
/// partition inherits from its parent; they are dropped before the partition is attached.
fn create_trigger(shadow: &str, old: &Attachments, trigger: &AttachedTrigger) -> Vec<String> {
    let on = format!(" ON {} ", old.sql_name);
    let definition = trigger
        .definition
        .replacen(&on, &format!(" ON {shadow} "), 1);
    let mut list = vec![definition];
    if trigger.enabled != "O" {
        list.push(set_state(shadow, trigger));
    }
    list.extend(trigger_comment(shadow, trigger));
    list
}

/// `ALTER TABLE … DISABLE TRIGGER …`.
pub(super) fn set_state(table: &str, trigger: &AttachedTrigger) -> String {
    let state = match trigger.enabled.as_str() {
        "D" => "DISABLE",
        "R" => "ENABLE REPLICA",
        "A" => "ENABLE ALWAYS",
        _ => "ENABLE",
    };
    format!(
        "ALTER TABLE {table} {state} TRIGGER {}",
        quoted(&trigger.name)
    )
}

pub(super) fn trigger_comment(table: &str, trigger: &AttachedTrigger) -> Option<String> {
    super::comment(
        &format!("TRIGGER {} ON {table}", quoted(&trigger.name)),
        trigger.comment.as_ref(),
    )
}
