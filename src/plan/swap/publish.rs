//! The statements that replace the old tables by the new ones, and the locks that they need.
//!
//! All locks that other sessions may notice are taken first, in the usual order: views, parents, tables, their
//! sequences, and last the tables that foreign keys reference. Other sessions may still use another order. So
//! the wait for all locks together is limited to a time far below `deadlock_timeout`; then all are released.

use std::collections::BTreeMap;

use super::types::{PublishSql, Shadow};
use super::{Names, acl, comment, literal, make, options, quoted};
use crate::catalog::attachments::{Attachments, Policy, View};
use crate::pg::ident::QualifiedName;
use crate::plan::copy::{CopyPlan, Load};

/// The publishing statements of all swapped tables of a job.
pub fn publish_sql(tables: &[CopyPlan]) -> PublishSql {
    let swapped: Vec<(&CopyPlan, &Shadow)> = tables
        .iter()
        .filter_map(|table| match &table.load {
            Load::Shadow(shadow) => Some((table, &**shadow)),
            Load::Direct | Load::Staged(_) | Load::File(_) => None,
        })
        .collect();
    if swapped.is_empty() {
        return PublishSql::default();
    }
    let views: BTreeMap<QualifiedName, &View> = swapped
        .iter()
        .flat_map(|(_, shadow)| &shadow.attachments.views)
        .map(|view| (QualifiedName::new(&view.schema, &view.name), view))
        .collect();
    let mut parts = lock(&swapped, &views);
    for (table, shadow) in &swapped {
        parts.swap.extend(rename(&table.target, shadow));
    }
    // The view stays the same object, with its owner, privileges, comments, triggers and dependent objects.
    // Only its query is parsed again, and refers to the new table by the old name.
    for (name, view) in &views {
        parts.swap.push(replace_view(name, view));
    }
    let retired: Vec<String> = swapped.iter().map(|(_, s)| s.retired.sql()).collect();
    parts
        .swap
        .push(format!("DROP TABLE {}", retired.join(", ")));
    // A DEFAULT partition comes last: it would be read for each partition that is attached beside it.
    let is_default = |shadow: &Shadow| {
        let partition = shadow.attachments.partition.as_ref();
        partition.is_some_and(|partition| partition.bound == "DEFAULT")
    };
    let (defaults, others): (Vec<_>, Vec<_>) =
        swapped.iter().partition(|(_, shadow)| is_default(shadow));
    for (table, shadow) in others.into_iter().chain(defaults) {
        parts.swap.extend(restore_names(&table.target, shadow));
    }
    parts
}

/// The locks on relations that are not targets of the job, each with what it blocks.
pub fn other_locks(tables: &[CopyPlan]) -> BTreeMap<QualifiedName, (&'static str, &'static str)> {
    let parts = publish_sql(tables);
    let moment = (
        "ACCESS EXCLUSIVE",
        "everybody, while the tables are replaced",
    );
    let referenced = (
        "SHARE ROW EXCLUSIVE, then ACCESS EXCLUSIVE",
        "writers, while the foreign key of a large table is checked; everybody while the \
         tables are replaced",
    );
    let all = parts.lock.into_iter().map(|(name, _)| (name, moment));
    let writers = parts.lock_referenced.into_iter();
    all.chain(writers.map(|(name, _)| (name, referenced)))
        .collect()
}

fn parent(old: &Attachments) -> Option<QualifiedName> {
    let partition = old.partition.as_ref()?;
    Some(QualifiedName::new(&partition.schema, &partition.name))
}

/// The DEFAULT partition, whose partition constraint changes with DETACH and ATTACH.
fn beside(old: &Attachments) -> Option<QualifiedName> {
    let default = old.partition.as_ref()?.default.as_ref()?;
    Some(QualifiedName::new(&default.schema, &default.name))
}

/// Views come first: a reader that has locked a view and then waits for its table would find the table
/// dropped. LOCK would lock all tables of a view, but setting its owner to the same role locks only the
/// view. This also works for sequences, which LOCK does not accept.
fn lock(swapped: &[(&CopyPlan, &Shadow)], views: &BTreeMap<QualifiedName, &View>) -> PublishSql {
    let mut parts = PublishSql::default();
    for (name, view) in views {
        let (view_name, owner) = (name.sql(), quoted(&view.owner));
        let sql = format!("ALTER VIEW {view_name} OWNER TO {owner}");
        parts.lock.push((name.clone(), sql));
    }
    let shadows = || swapped.iter().map(|(_, shadow)| *shadow);
    let parents = shadows().filter_map(|shadow| parent(&shadow.attachments));
    let targets = swapped.iter().map(|(table, _)| table.target.clone());
    let defaults = shadows().filter_map(|shadow| beside(&shadow.attachments));
    for name in parents.chain(targets).chain(defaults) {
        lock_table(&mut parts, name);
    }
    for shadow in shadows() {
        let columns = shadow.attachments.columns.iter();
        for column in columns {
            let owned = column.sequences.iter().map(|s| (&s.schema, &s.name));
            let identity = column.identity_sequence.iter();
            for (schema, name) in owned.chain(identity.map(|s| (&s.schema, &s.name))) {
                let name = QualifiedName::new(schema, name);
                let owner = quoted(&shadow.attachments.owner);
                let sql = format!("ALTER SEQUENCE {} OWNER TO {owner}", name.sql());
                parts.lock.push((name, sql));
            }
        }
    }
    for shadow in shadows() {
        for key in &shadow.outer_keys {
            parts.keys.extend(key.statements.iter().cloned());
            match &key.after_rename {
                Some(statements) => parts.keys_late.extend(statements.iter().cloned()),
                None => parts.keys_early.extend(key.statements.iter().cloned()),
            }
            if key.reads_rows {
                parts.keys_read.push(shadow.name.clone());
                parts.keys_read.extend(key.tables.iter().cloned());
            }
            for name in &key.tables {
                let sql = format!("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE", name.sql());
                let lock = (name.clone(), sql);
                if !parts.lock_referenced.contains(&lock) {
                    parts.lock_referenced.push(lock);
                }
                lock_table(&mut parts, name.clone());
            }
        }
    }
    parts
}

fn lock_table(parts: &mut PublishSql, name: QualifiedName) {
    if !parts.lock.iter().any(|(locked, _)| *locked == name) {
        let sql = format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", name.sql());
        parts.lock.push((name, sql));
    }
}

fn rename(target: &QualifiedName, shadow: &Shadow) -> Vec<String> {
    let names = Names::new(shadow.name.clone(), target);
    let mut list = Vec::new();
    if let Some(partition) = &shadow.attachments.partition {
        list.push(format!(
            "ALTER TABLE {} DETACH PARTITION {}",
            QualifiedName::new(&partition.schema, &partition.name).sql(),
            target.sql()
        ));
    }
    for (number, column) in shadow.attachments.columns.iter().enumerate() {
        if let Some(old) = &column.identity_sequence {
            let passing = names.part(&old.schema, 's', number).sql();
            let further = if old.settings.increment > 0 { '>' } else { '<' };
            list.push(format!(
                "SELECT pg_catalog.setval({}::pg_catalog.regclass, old.last_value, old.is_called) \
                 FROM {} AS old, {passing} AS new WHERE old.last_value {further} new.last_value \
                 OR old.last_value = new.last_value AND old.is_called",
                literal(Some(&passing)),
                QualifiedName::new(&old.schema, &old.name).sql(),
            ));
        }
        for sequence in &column.sequences {
            list.push(format!(
                "ALTER SEQUENCE {} OWNED BY {}.{}",
                QualifiedName::new(&sequence.schema, &sequence.name).sql(),
                shadow.name.sql(),
                quoted(&column.name)
            ));
        }
    }
    list.push(format!(
        "ALTER TABLE {} RENAME TO {}",
        target.sql(),
        shadow.retired.name.sql()
    ));
    list.push(format!(
        "ALTER TABLE {} RENAME TO {}",
        shadow.name.sql(),
        target.name.sql()
    ));
    list
}

fn replace_view(name: &QualifiedName, view: &View) -> String {
    let with = if view.options.is_empty() {
        String::new()
    } else {
        format!(" WITH ({})", options(&view.options))
    };
    format!(
        "CREATE OR REPLACE VIEW {}{with} AS {}",
        name.sql(),
        view.definition.trim().trim_end_matches(';')
    )
}

/// Renames objects whose names were in use by the old table, and creates policies, whose expressions may
/// contain the table's name.
fn restore_names(target: &QualifiedName, shadow: &Shadow) -> Vec<String> {
    let names = Names::new(shadow.name.clone(), target);
    let old = &shadow.attachments;
    let table = target.sql();
    let mut list = Vec::new();
    for (number, index) in old.indexes.iter().enumerate() {
        list.push(format!(
            "ALTER INDEX {} RENAME TO {}",
            names.index(number).sql(),
            quoted(&index.name)
        ));
    }
    for (number, column) in old.columns.iter().enumerate() {
        if let Some(sequence) = &column.identity_sequence {
            list.push(format!(
                "ALTER SEQUENCE {} RENAME TO {}",
                names.part(&sequence.schema, 's', number).sql(),
                quoted(&sequence.name)
            ));
        }
    }
    for (number, statistics) in old.statistics.iter().enumerate() {
        list.push(format!(
            "ALTER STATISTICS {} RENAME TO {}",
            names.part(&statistics.schema, 'x', number).sql(),
            quoted(&statistics.name)
        ));
    }
    for policy in &old.policies {
        list.extend(create_policy(&table, policy));
    }
    if old.row_security {
        list.push(format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
    }
    if old.force_row_security {
        list.push(format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"));
    }
    let inherited = || old.triggers.iter().filter(|t| t.parent_enabled.is_some());
    if let Some(partition) = &old.partition {
        for trigger in inherited() {
            list.push(format!("DROP TRIGGER {} ON {table}", quoted(&trigger.name)));
        }
        list.push(format!(
            "ALTER TABLE {} ATTACH PARTITION {table} {}",
            QualifiedName::new(&partition.schema, &partition.name).sql(),
            partition.bound
        ));
        if make::bound_condition(old).is_some() {
            list.push(format!(
                "ALTER TABLE {table} DROP CONSTRAINT {}",
                make::BOUND
            ));
        }
    }
    list.extend(inherited().filter_map(|t| make::trigger_comment(&table, t)));
    let all_off = old.constraint_trigger_states == ["D"];
    if all_off {
        list.push(format!("ALTER TABLE {table} DISABLE TRIGGER ALL"));
    }
    // Triggers that exist already were created with the table, or are inherited from its parent.
    let changed = old.triggers.iter().filter(|trigger| {
        all_off
            || trigger
                .parent_enabled
                .as_ref()
                .is_some_and(|state| *state != trigger.enabled)
    });
    list.extend(changed.map(|trigger| make::set_state(&table, trigger)));
    list
}

fn create_policy(table: &str, policy: &Policy) -> Vec<String> {
    let name = quoted(&policy.name);
    let kind = if policy.permissive {
        "PERMISSIVE"
    } else {
        "RESTRICTIVE"
    };
    let command = match policy.command.as_str() {
        "r" => "SELECT",
        "a" => "INSERT",
        "w" => "UPDATE",
        "d" => "DELETE",
        _ => "ALL",
    };
    let roles: Vec<String> = policy
        .roles
        .iter()
        .map(|r| acl::role(r.as_deref()))
        .collect();
    let mut sql = format!(
        "CREATE POLICY {name} ON {table} AS {kind} FOR {command} TO {}",
        roles.join(", ")
    );
    if let Some(using) = &policy.using {
        sql.push_str(&format!(" USING ({using})"));
    }
    if let Some(check) = &policy.check {
        sql.push_str(&format!(" WITH CHECK ({check})"));
    }
    let mut list = vec![sql];
    list.extend(comment(
        &format!("POLICY {name} ON {table}"),
        policy.comment.as_ref(),
    ));
    list
}
