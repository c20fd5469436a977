//! A table with its partitions, and what belongs to it but foreign keys.

use super::columns::Fate;
use super::names::Names;
use super::{Maker, comment, list, model, options, quoted};
use crate::catalog::creation::{MadeIndex, MadeTable, Object};
use crate::catalog::desc::RelationDesc;
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::swap::OWN_TABLESPACE;

impl<'a> Maker<'a, '_> {
    /// The tables that are made for the entry: its own, and the partitions below it.
    pub(super) fn tree(&self) -> Vec<&'a MadeTable> {
        let Some(source) = model(self.entry) else {
            return Vec::new();
        };
        let of_root = |table: &&MadeTable| table.root.qualified() == *source;
        self.material.made.iter().filter(of_root).collect()
    }

    /// Makes the entry's table.
    pub(super) fn table(&mut self) {
        let target = &self.entry.spec.target;
        self.schema(target.schema.as_str());
        let what = format!("table {target}");
        let mut object = Object {
            what,
            before: vec![OWN_TABLESPACE.to_owned()],
            ..Object::default()
        };
        let tree = self.tree();
        match (tree.is_empty(), &self.entry.source) {
            (true, Some(source)) => self.like_result(source, &mut object),
            _ => self.like_tables(&tree, &mut object),
        }
        self.objects.push(object);
    }

    /// A query, a view or a foreign table: its columns and their types.
    fn like_result(&mut self, source: &RelationDesc, object: &mut Object) {
        let spec = &self.entry.spec;
        let key = spec.key.clone().unwrap_or_default();
        let mut columns = Vec::new();
        for column in &source.columns {
            match self.fate(column.name.as_str()) {
                Fate::Kept => columns.push(self.result_column(column, &key)),
                Fate::Computed | Fate::Own | Fate::Dropped => {}
            }
        }
        let set: Vec<_> = spec
            .set
            .keys()
            .filter_map(|name| self.entry.set.get(name))
            .collect();
        for column in set {
            columns.push(self.result_column(column, &key));
        }
        columns.extend(self.own_columns());
        let target = spec.target.sql();
        object
            .before
            .push(format!("CREATE TABLE {target} ({})", columns.join(", ")));
        object.after.extend(primary_key(&target, &key));
    }

    fn like_tables(&mut self, tree: &[&MadeTable], object: &mut Object) {
        let (Some(root), Some(source)) = (tree.first(), model(self.entry)) else {
            return;
        };
        let spec = &self.entry.spec;
        let names = Names {
            source,
            target: &spec.target,
        };
        // A key without an index of its own becomes the primary key.
        let has_primary = root
            .indexes
            .iter()
            .any(|index| index.is_primary && self.has_columns(index));
        let key = spec
            .key
            .clone()
            .filter(|_| !has_primary)
            .unwrap_or_default();
        let is_keyed = root
            .indexes
            .iter()
            .any(|index| is_on(index, &key) && self.is_made(index));
        let key = if is_keyed { Vec::new() } else { key };
        for table in tree {
            let name = names.of(&table.schema, &table.name);
            self.schema(name.schema.as_str());
            self.one(table, &name, names, &key, object);
        }
        // Those of partitions come first: the indexes of the tables above adopt them.
        for table in tree.iter().rev() {
            let name = names.of(&table.schema, &table.name);
            for index in &table.indexes {
                self.index(index, &name, names, object);
            }
            let name = name.sql();
            for check in table.checks.iter().filter(|check| !check.validated) {
                if self.uses_only_kept(&check.columns) {
                    let constraint = quoted(&check.name);
                    let sql = format!(
                        "ALTER TABLE {name} ADD CONSTRAINT {constraint} {}",
                        check.definition
                    );
                    object.after.push(sql);
                }
            }
        }
        object.after.extend(primary_key(&spec.target.sql(), &key));
        for table in tree {
            let name = names.of(&table.schema, &table.name).sql();
            for check in table
                .checks
                .iter()
                .filter(|check| self.uses_only_kept(&check.columns))
            {
                let on = format!("CONSTRAINT {} ON {name}", quoted(&check.name));
                object.after.extend(comment(&on, check.comment.as_ref()));
            }
        }
    }

    /// CREATE TABLE, and what belongs to the table before rows are loaded.
    fn one(
        &mut self,
        table: &MadeTable,
        name: &QualifiedName,
        names: Names<'_>,
        key: &[Ident],
        object: &mut Object,
    ) {
        if table.kind == "f" {
            let message = format!("its partition {name} is a foreign table, which is not created");
            self.refuse(message, "create the table on the target");
            return;
        }
        let mut parts = self.columns(table, names, key);
        for check in &table.checks {
            if check.definition.ends_with(" NOT ENFORCED") {
                let what = format!("CHECK {} is NOT ENFORCED", Ident::new(&check.name));
                self.refuse_before(180_000, &what);
            }
            if !self.uses_only_kept(&check.columns) {
                self.left_out.push(format!(
                    "CHECK {}, whose columns are not copied as they are",
                    Ident::new(&check.name)
                ));
            } else if check.validated {
                parts.push(format!(
                    "CONSTRAINT {} {}",
                    quoted(&check.name),
                    check.definition
                ));
            }
        }
        let is_partitioned = table.partition_key.is_some();
        let unlogged = if table.unlogged && !is_partitioned {
            "UNLOGGED "
        } else {
            ""
        };
        let sql = name.sql();
        let mut create = format!("CREATE {unlogged}TABLE {sql} ({})", parts.join(", "));
        if let Some(by) = &table.partition_key {
            create.push_str(&format!(" PARTITION BY {by}"));
        }
        if let Some(method) = table.access_method.as_ref().filter(|_| !is_partitioned) {
            if !self.material.present.access_methods.contains(method) {
                let message = format!("its access method {method} is not on the target");
                self.refuse(
                    message,
                    "install it there, or create the table on the target",
                );
            }
            create.push_str(&format!(" USING {}", quoted(method)));
        }
        let storage: Vec<String> = options(&table.options, "")
            .chain(options(&table.toast_options, "toast."))
            .collect();
        if !storage.is_empty() {
            create.push_str(&format!(" WITH ({})", storage.join(", ")));
        }
        if let Some(tablespace) = &table.tablespace {
            self.tablespace(tablespace);
            create.push_str(&format!(" TABLESPACE {}", quoted(tablespace)));
        }
        object.before.push(create);
        object
            .before
            .extend(self.column_settings(table, name, names));
        object
            .before
            .extend(comment(&format!("TABLE {sql}"), table.comment.as_ref()));
        if let (Some(parent), Some(bound), 1..) = (&table.parent, &table.bound, table.depth) {
            let parent = names.of(&parent.schema, &parent.name).sql();
            object.before.push(format!(
                "ALTER TABLE {parent} ATTACH PARTITION {sql} {bound}"
            ));
        }
        let of_partition = |what: &String| match table.depth {
            0 => what.clone(),
            _ => format!("{what} of {name}"),
        };
        self.left_out
            .extend(table.left_out.iter().map(of_partition));
    }

    fn tablespace(&mut self, name: &str) {
        if !self.material.present.tablespaces.iter().any(|t| t == name) {
            let message = format!(
                "it is in tablespace {}, which the target does not have",
                Ident::new(name)
            );
            self.refuse(
                message,
                "CREATE TABLESPACE there, or create the table on the target",
            );
        }
    }

    /// Does the target have all of the index's columns?
    fn has_columns(&self, index: &MadeIndex) -> bool {
        let mut columns = index.columns.iter();
        columns.all(|column| self.fate(column) != Fate::Dropped)
    }

    /// Other values than the source's need not satisfy what the source's satisfy. A primary key is needed.
    fn is_made(&self, index: &MadeIndex) -> bool {
        self.has_columns(index) && (index.is_primary || self.uses_only_kept(&index.columns))
    }

    pub(super) fn uses_only_kept(&self, columns: &[String]) -> bool {
        columns.iter().all(|column| self.fate(column) == Fate::Kept)
    }

    fn index(
        &mut self,
        index: &MadeIndex,
        table: &QualifiedName,
        names: Names<'_>,
        object: &mut Object,
    ) {
        let shown = Ident::new(&index.name);
        if !self.is_made(index) {
            self.left_out.push(format!(
                "index {shown}, whose columns are not copied as they are"
            ));
            return;
        }
        let schema = table.schema.sql();
        let name = names.of("", &index.name).name;
        let table = table.sql();
        let constraint = index.constraint.as_ref();
        let definition = match (constraint, &index.tail) {
            (Some(constraint), _) => constraint.definition.as_str(),
            (None, Some(tail)) => tail.as_str(),
            (None, None) => {
                let message = format!("the definition of index {shown} cannot be read");
                self.refuse(message, "create the table on the target, and report this");
                return;
            }
        };
        self.features(&format!("index {shown}"), definition);
        object.after.push(match constraint {
            Some(_) => format!(
                "ALTER TABLE {table} ADD CONSTRAINT {} {definition}",
                name.sql()
            ),
            None => {
                let unique = if index.unique { "UNIQUE " } else { "" };
                format!(
                    "CREATE {unique}INDEX {} ON {table} {definition}",
                    name.sql()
                )
            }
        });
        let qualified = format!("{schema}.{}", name.sql());
        let storage: Vec<String> = options(&index.options, "").collect();
        if constraint.is_some() && !storage.is_empty() {
            object.after.push(format!(
                "ALTER INDEX {qualified} SET ({})",
                storage.join(", ")
            ));
        }
        if let Some(tablespace) = &index.tablespace {
            self.tablespace(tablespace);
            object.after.push(format!(
                "ALTER INDEX {qualified} SET TABLESPACE {}",
                quoted(tablespace)
            ));
        }
        object.after.extend(comment(
            &format!("INDEX {qualified}"),
            index.comment.as_ref(),
        ));
        let of_constraint = constraint.and_then(|constraint| constraint.comment.as_ref());
        object.after.extend(comment(
            &format!("CONSTRAINT {} ON {table}", name.sql()),
            of_constraint,
        ));
    }

    /// Refuses what came with later versions than the target's.
    pub(super) fn features(&mut self, what: &str, definition: &str) {
        let news = [
            ("NULLS NOT DISTINCT", 150_000),
            ("SET NULL (", 150_000),
            ("SET DEFAULT (", 150_000),
            ("WITHOUT OVERLAPS", 180_000),
            ("PERIOD ", 180_000),
            ("NOT ENFORCED", 180_000),
        ];
        for (new, version) in news {
            if definition.contains(new) {
                self.refuse_before(
                    version,
                    &format!("{what} has {}", new.trim_end_matches([' ', '('])),
                );
            }
        }
    }
}

fn is_on(index: &MadeIndex, key: &[Ident]) -> bool {
    let on: Vec<Ident> = index.columns.iter().map(Ident::new).collect();
    index.unique
        && !key.is_empty()
        && on.len() == key.len()
        && key.iter().all(|column| on.contains(column))
}

fn primary_key(table: &str, key: &[Ident]) -> Option<String> {
    let columns: Vec<String> = key
        .iter()
        .map(|column| column.as_str().to_owned())
        .collect();
    (!key.is_empty()).then(|| format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", list(&columns)))
}
