//! The columns of a table to make.

use super::names::Names;
use super::{Maker, comment, quoted};
use crate::catalog::creation::{MadeColumn, MadeSequence, MadeTable, Name, Object};
use crate::catalog::desc::ColumnDesc;
use crate::pg::ident::{Ident, QualifiedName, quote_literal};

/// What becomes of a column of the source's table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The target gets it as it is.
    Kept,
    /// `set` gives its values.
    Computed,
    /// The run fills it (`on_missing`, `synced_at`).
    Own,
    /// `columns` does not name it.
    Dropped,
}

impl Maker<'_, '_> {
    /// What becomes of the column.
    pub(super) fn fate(&self, column: &str) -> Fate {
        let spec = &self.entry.spec;
        let column = Ident::new(column);
        match &spec.columns {
            _ if spec.is_own(&column) => Fate::Own,
            _ if spec.set.contains_key(&column) => Fate::Computed,
            Some(columns) if !columns.contains(&column) => Fate::Dropped,
            _ => Fate::Kept,
        }
    }

    /// The definitions of a table's columns. The sequences that their defaults use are made first.
    pub(super) fn columns(
        &mut self,
        table: &MadeTable,
        names: Names<'_>,
        key: &[Ident],
    ) -> Vec<String> {
        let mut list = Vec::new();
        for column in &table.columns {
            match self.fate(&column.name) {
                Fate::Kept => list.push(self.column(column, names, key)),
                Fate::Computed => list.extend(self.computed(&Ident::new(&column.name), key)),
                Fate::Own | Fate::Dropped => {}
            }
        }
        let own = |name: &&Ident| !table.columns.iter().any(|c| c.name == name.as_str());
        for name in self.entry.spec.set.keys().filter(own) {
            list.extend(self.computed(name, key));
        }
        list.extend(self.own_columns());
        list
    }

    /// Columns that the run fills itself.
    pub(super) fn own_columns(&self) -> impl Iterator<Item = String> + use<'_> {
        let own = self.entry.spec.own_columns();
        own.map(|(_, name)| format!("{} timestamp with time zone", name.sql()))
    }

    /// A column that `set` fills.
    fn computed(&mut self, name: &Ident, key: &[Ident]) -> Option<String> {
        let desc = self.entry.set.get(name)?;
        Some(self.result_column(desc, key))
    }

    /// A column of a query, a view or an expression.
    pub(super) fn result_column(&mut self, desc: &ColumnDesc, key: &[Ident]) -> String {
        let name = Name::of(&desc.ty.name);
        self.ty(desc.name.as_str(), &name);
        let not_null = if key.contains(&desc.name) {
            " NOT NULL"
        } else {
            ""
        };
        format!("{} {}{not_null}", desc.name.sql(), desc.type_text)
    }

    fn column(&mut self, column: &MadeColumn, names: Names<'_>, key: &[Ident]) -> String {
        self.ty(&column.name, &column.type_name);
        let mut sql = format!("{} {}", quoted(&column.name), column.type_text);
        if let Some(collation) = &column.collation {
            self.collation(column, collation);
            sql.push_str(&format!(
                " COLLATE {}.{}",
                quoted(&collation.schema),
                quoted(&collation.name)
            ));
        }
        let sequences = self.sequences(column, names);
        match (&column.expression, column.generated.as_str()) {
            (Some(default), "") => {
                let default = with_names(default, &sequences);
                sql.push_str(&format!(" DEFAULT {default}"));
            }
            (Some(expression), "v") => {
                let what = format!(
                    "column {} is a virtual generated column",
                    Ident::new(&column.name)
                );
                self.refuse_before(180_000, &what);
                sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) VIRTUAL"));
            }
            (Some(expression), _) => {
                sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) STORED"));
            }
            (None, _) => {}
        }
        // A partition has the identity, and the sequence, of the table above it.
        if let Some(sequence) = column.sequences.iter().find(|sequence| sequence.internal) {
            let kind = if column.identity == "a" {
                "ALWAYS"
            } else {
                "BY DEFAULT"
            };
            let name = names.of(&sequence.schema, &sequence.name).sql();
            sql.push_str(&format!(
                " GENERATED {kind} AS IDENTITY (SEQUENCE NAME {name} {})",
                sequence.settings.sql()
            ));
        }
        match &column.not_null_constraint {
            Some(constraint) if column.not_null => {
                sql.push_str(&format!(
                    " CONSTRAINT {} NOT NULL",
                    quoted(&constraint.name)
                ));
                if constraint.no_inherit && self.material.version >= 180_000 {
                    sql.push_str(" NO INHERIT");
                }
            }
            _ if column.not_null || key.contains(&Ident::new(&column.name)) => {
                sql.push_str(" NOT NULL")
            }
            _ => {}
        }
        sql
    }

    pub(super) fn collation(&mut self, column: &MadeColumn, collation: &Name) {
        if !self.material.present.collations.contains(collation) {
            let message = format!(
                "column {} has collation {}, which the target does not have",
                Ident::new(&column.name),
                collation.qualified()
            );
            self.refuse(
                message,
                "CREATE COLLATION on the target, or create the table there with another one",
            );
        }
    }

    /// Makes the sequences that a column owns or takes numbers from. Returns the target's name of each.
    fn sequences<'c>(
        &mut self,
        column: &'c MadeColumn,
        names: Names<'_>,
    ) -> Vec<(&'c MadeSequence, QualifiedName)> {
        let sequences = column
            .sequences
            .iter()
            .filter(|sequence| !sequence.internal);
        sequences
            .map(|sequence| (sequence, self.sequence(sequence, names)))
            .collect()
    }

    fn sequence(&mut self, sequence: &MadeSequence, names: Names<'_>) -> QualifiedName {
        let name = match sequence.owned {
            true => names.of(&sequence.schema, &sequence.name),
            false => QualifiedName::new(&sequence.schema, &sequence.name),
        };
        let what = format!("sequence {name}");
        let existing = Name {
            schema: sequence.schema.clone(),
            name: sequence.name.clone(),
        };
        let exists = !sequence.owned && self.material.present.sequences.contains(&existing);
        if exists || self.has(&what) {
            return name;
        }
        self.schema(name.schema.as_str());
        let unlogged = match sequence.unlogged && self.material.version >= 150_000 {
            true => "UNLOGGED ",
            false => "",
        };
        let sql = name.sql();
        let mut before = vec![format!(
            "CREATE {unlogged}SEQUENCE {sql} AS {} {}",
            sequence.type_text,
            sequence.settings.sql()
        )];
        before.extend(comment(
            &format!("SEQUENCE {sql}"),
            sequence.comment.as_ref(),
        ));
        self.objects.push(Object {
            what,
            before,
            ..Object::default()
        });
        name
    }

    /// The statements about columns that follow CREATE TABLE.
    pub(super) fn column_settings(
        &mut self,
        table: &MadeTable,
        name: &QualifiedName,
        names: Names<'_>,
    ) -> Vec<String> {
        let sql = name.sql();
        let mut list = Vec::new();
        for column in &table.columns {
            if self.fate(&column.name) != Fate::Kept {
                continue;
            }
            let quoted = quoted(&column.name);
            let alter =
                |what: String| format!("ALTER TABLE ONLY {sql} ALTER COLUMN {quoted} {what}");
            list.extend(
                column
                    .storage
                    .iter()
                    .map(|s| alter(format!("SET STORAGE {s}"))),
            );
            match &column.compression {
                Some(method) if self.material.version >= 140_000 => {
                    list.push(alter(format!("SET COMPRESSION {method}")));
                }
                Some(method) => {
                    let column = Ident::new(&column.name);
                    self.left_out
                        .push(format!("compression {method} of column {column}"));
                }
                None => {}
            }
            // That of an identity column is as the table is.
            let differs = |s: &&MadeSequence| s.internal && s.unlogged != table.unlogged;
            let version = self.material.version;
            for sequence in column.sequences.iter().filter(differs) {
                let kind = if sequence.unlogged {
                    "UNLOGGED"
                } else {
                    "LOGGED"
                };
                let sequence = names.of(&sequence.schema, &sequence.name).sql();
                list.extend(
                    (version >= 150_000).then(|| format!("ALTER SEQUENCE {sequence} SET {kind}")),
                );
            }
            for sequence in column.sequences.iter().filter(|s| s.owned && !s.internal) {
                let sequence = names.of(&sequence.schema, &sequence.name).sql();
                list.push(format!("ALTER SEQUENCE {sequence} OWNED BY {sql}.{quoted}"));
            }
            list.extend(comment(
                &format!("COLUMN {sql}.{quoted}"),
                column.comment.as_ref(),
            ));
        }
        list
    }
}

/// The default, with the target's names of its sequences.
fn with_names(default: &str, sequences: &[(&MadeSequence, QualifiedName)]) -> String {
    let mut default = default.to_owned();
    for (sequence, name) in sequences {
        if (name.schema.as_str(), name.name.as_str()) != (&sequence.schema, &sequence.name) {
            let own = quote_literal(&name.sql());
            let own = format!("{}::regclass", own.trim_start());
            default = default.replace(&format!("{}::regclass", sequence.literal), &own);
        }
    }
    default
}
