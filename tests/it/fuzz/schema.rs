//! Schemas as data, and the SQL that makes them: shrinking is editing data.

use super::types::{Ty, USER_TYPES};

/// One side.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub tables: Vec<Table>,
    pub extras: Vec<Extra>,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    pub keys: Vec<Key>,
    pub foreign: Vec<Foreign>,
    pub parent: Option<Parent>,
    /// `LIST ("c0")`
    pub partition_by: Option<String>,
    /// Values of the partition key that exist somewhere below.
    pub unlogged: bool,
}

/// What a table is below another.
#[derive(Clone, Debug)]
pub struct Parent {
    pub table: String,
    pub kind: ParentKind,
}

#[derive(Clone, Debug)]
pub enum ParentKind {
    Inherits,
    /// The bounds, `FOR VALUES IN (1)`.
    Partition(String),
    /// Made with columns in an order of its own, then attached.
    Attached(String),
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub ty: Ty,
    pub not_null: bool,
    pub filled: Filled,
    /// Another column was before it, and was dropped.
    pub after_dropped: bool,
}

/// Where a column's value comes from when nobody gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    Null,
    Default(String),
    Serial,
    IdentityAlways,
    IdentityByDefault(String),
    Generated(String),
}

#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub columns: Vec<String>,
    pub kind: KeyKind,
    pub deferrable: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Primary,
    Unique,
    Index,
}

#[derive(Clone, Debug)]
pub struct Foreign {
    pub name: String,
    pub columns: Vec<String>,
    pub table: String,
    pub to: Vec<String>,
    pub on_delete: &'static str,
    pub on_update: &'static str,
    /// `MATCH FULL`, `DEFERRABLE`, `NOT VALID`
    pub more: String,
}

/// A trigger, a view, a policy, a check: a statement that needs no more structure.
#[derive(Clone, Debug)]
pub struct Extra {
    pub feature: &'static str,
    /// The table that it belongs to.
    pub table: String,
    pub sql: String,
    /// Does it change, drop or add rows when others are written?
    pub meddles: bool,
    /// The same under `triggers = "skip"`.
    pub meddles_in_replica: bool,
    /// The table that it writes besides.
    pub writes: Option<String>,
    /// The view that it makes: all of the table.
    pub view: Option<String>,
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn qualified(name: &str) -> String {
    format!("public.{}", quoted(name))
}

pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name.as_ref())).collect();
    names.join(", ")
}

impl Schema {
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    pub fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.iter_mut().find(|table| table.name == name)
    }

    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Table> {
        let is_below = move |table: &&Table| {
            table
                .parent
                .as_ref()
                .is_some_and(|parent| parent.table == name)
        };
        self.tables.iter().filter(is_below)
    }

    /// The table and all below it.
    pub fn tree(&self, name: &str) -> Vec<String> {
        let mut all = vec![name.to_owned()];
        let mut at = 0;
        while at < all.len() {
            let below: Vec<String> = self.children(&all[at]).map(|t| t.name.clone()).collect();
            all.extend(below);
            at += 1;
        }
        all
    }

    /// The table and all above it.
    pub fn ancestors(&self, name: &str) -> Vec<String> {
        let mut all = vec![name.to_owned()];
        while let Some(parent) = self
            .table(&all[all.len() - 1])
            .and_then(|t| t.parent.as_ref())
        {
            all.push(parent.table.clone());
        }
        all
    }

    /// The statements that must succeed: types and bare tables.
    pub fn tables_sql(&self) -> String {
        let tables: Vec<String> = self.tables.iter().map(Table::sql).collect();
        format!("{USER_TYPES}{}", tables.join(""))
    }

    /// The statements of which each may fail: a constraint of a table that shrinking took away.
    pub fn guarded_sql(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in &self.tables {
            all.extend(table.keys.iter().map(|key| key.sql(table)));
        }
        // Of a partitioned table: after its partitions are there.
        for table in &self.tables {
            all.extend(table.foreign.iter().map(|foreign| foreign.sql(table)));
        }
        all.extend(self.extras.iter().map(|extra| extra.sql.clone()));
        all
    }
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn sql_name(&self) -> String {
        qualified(&self.name)
    }

    pub fn is_partition(&self) -> bool {
        let kind = self.parent.as_ref().map(|parent| &parent.kind);
        matches!(
            kind,
            Some(ParentKind::Partition(_) | ParentKind::Attached(_))
        )
    }

    /// The column that it is partitioned by.
    pub fn partition_key(&self) -> Option<&Column> {
        let by = self.partition_by.as_ref()?;
        let mut columns = self.columns.iter();
        columns.find(|column| by.contains(&format!("({})", quoted(&column.name))))
    }

    /// Has it rows of its own?
    pub fn is_leaf(&self) -> bool {
        self.partition_by.is_none()
    }

    /// `ONLY`, where that is what the table's own rows are.
    pub fn own_rows(&self) -> String {
        let only = if self.is_leaf() { "ONLY " } else { "" };
        format!("{only}{}", self.sql_name())
    }

    pub fn primary(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.kind == KeyKind::Primary)
    }

    pub fn sql(&self) -> String {
        let name = self.sql_name();
        let unlogged = if self.unlogged { "UNLOGGED " } else { "" };
        let by = match &self.partition_by {
            Some(by) => format!(" PARTITION BY {by}"),
            None => String::new(),
        };
        let columns = || {
            let columns: Vec<String> = self.columns.iter().map(Column::sql).collect();
            columns.join(", ")
        };
        let mut sql = match &self.parent {
            Some(Parent {
                table,
                kind: ParentKind::Partition(bounds),
            }) => {
                let parent = qualified(table);
                format!("CREATE {unlogged}TABLE {name} PARTITION OF {parent} {bounds}{by};\n")
            }
            Some(Parent {
                table,
                kind: ParentKind::Inherits,
            }) => {
                let parent = qualified(table);
                format!("CREATE {unlogged}TABLE {name} () INHERITS ({parent});\n")
            }
            _ => format!("CREATE {unlogged}TABLE {name} ({}){by};\n", columns()),
        };
        let own_columns = !matches!(
            &self.parent,
            Some(Parent {
                kind: ParentKind::Partition(_) | ParentKind::Inherits,
                ..
            })
        );
        for column in self
            .columns
            .iter()
            .filter(|column| column.after_dropped && own_columns)
        {
            let dropped = quoted(&format!("dropped {}", column.name));
            sql.push_str(&format!("ALTER TABLE {name} DROP COLUMN {dropped};\n"));
        }
        if let Some(Parent {
            table,
            kind: ParentKind::Attached(bounds),
        }) = &self.parent
        {
            let parent = qualified(table);
            sql.push_str(&format!(
                "ALTER TABLE {parent} ATTACH PARTITION {name} {bounds};\n"
            ));
        }
        sql
    }
}

impl Filled {
    pub fn has_sequence(&self) -> bool {
        matches!(
            self,
            Filled::Serial | Filled::IdentityAlways | Filled::IdentityByDefault(_)
        )
    }
}

impl Column {
    pub fn is_generated(&self) -> bool {
        matches!(self.filled, Filled::Generated(_))
    }

    fn sql(&self) -> String {
        let name = quoted(&self.name);
        let before = if self.after_dropped {
            format!("{} integer, ", quoted(&format!("dropped {}", self.name)))
        } else {
            String::new()
        };
        let ty = match (&self.filled, self.ty) {
            (Filled::Serial, Ty::BigInt) => "bigserial",
            (Filled::Serial, _) => "serial",
            _ => self.ty.sql(),
        };
        let filled = match &self.filled {
            Filled::Null | Filled::Serial => String::new(),
            Filled::Default(value) => format!(" DEFAULT {value}"),
            Filled::IdentityAlways => " GENERATED ALWAYS AS IDENTITY".to_owned(),
            Filled::IdentityByDefault(options) => {
                format!(" GENERATED BY DEFAULT AS IDENTITY{options}")
            }
            Filled::Generated(value) => format!(" GENERATED ALWAYS AS ({value}) STORED"),
        };
        let not_null = if self.not_null { " NOT NULL" } else { "" };
        format!("{before}{name} {ty}{filled}{not_null}")
    }
}

impl Key {
    fn sql(&self, table: &Table) -> String {
        let on = table.sql_name();
        let (name, columns) = (quoted(&self.name), list(&self.columns));
        let deferrable = self.deferrable;
        match self.kind {
            KeyKind::Primary => {
                format!(
                    "ALTER TABLE {on} ADD CONSTRAINT {name} PRIMARY KEY ({columns}){deferrable}"
                )
            }
            KeyKind::Unique => {
                format!("ALTER TABLE {on} ADD CONSTRAINT {name} UNIQUE ({columns}){deferrable}")
            }
            KeyKind::Index => format!("CREATE UNIQUE INDEX {name} ON {on} ({columns})"),
        }
    }
}

impl Foreign {
    fn sql(&self, table: &Table) -> String {
        let Foreign {
            on_delete,
            on_update,
            more,
            ..
        } = self;
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) \
             ON DELETE {on_delete} ON UPDATE {on_update}{more}",
            table.sql_name(),
            quoted(&self.name),
            list(&self.columns),
            qualified(&self.table),
            list(&self.to),
        )
    }

    /// May it change rows of its own table when the other one's change?
    pub fn acts(&self) -> bool {
        [self.on_delete, self.on_update]
            .iter()
            .any(|action| !matches!(*action, "NO ACTION" | "RESTRICT"))
    }
}
