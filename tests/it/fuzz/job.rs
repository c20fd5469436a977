//! Random jobs, and their TOML.

use super::differ::source_name;
use super::schema::{Column, Schema, Table, quoted};
use crate::support::dice::Dice;

#[derive(Clone, Debug)]
pub struct Job {
    pub mode: &'static str,
    /// `tables = ["public.*"]`; else the entries' names, in this order.
    pub wildcard: bool,
    pub tables: Vec<JobTable>,
    pub workers: u32,
    pub atomic: bool,
    pub verify: &'static str,
    pub triggers: &'static str,
    pub format: &'static str,
    pub sequences: bool,
    pub guarded: bool,
    pub recreate_views: bool,
    /// `replace = "partitions"`
    pub replace: bool,
    /// How `merge` finds differences. Tables as small as these are never compared by their marks unless the job asks.
    pub compare: &'static str,
    pub history: &'static str,
}

/// An entry of a job. Names are raw, expressions are SQL.
#[derive(Clone, Debug)]
pub struct JobTable {
    pub target: String,
    pub source: String,
    pub columns: Option<Vec<String>>,
    pub condition: Option<String>,
    pub set: Vec<(String, String)>,
    pub key: Option<Vec<String>>,
    pub within: bool,
    pub children: bool,
}

pub fn job(dice: &mut Dice, source: &Schema, target: &Schema) -> Job {
    let replaced = replaced_table(dice, source, target);
    let mode = match replaced {
        Some(_) => dice.one_of(&["truncate", "swap"]),
        None => dice.one_of(&[
            "append", "truncate", "swap", "merge", "merge", "merge", "upsert", "upsert",
        ]),
    };
    let names: Vec<String> = target
        .tables
        .iter()
        .filter(|table| source.table(source_name(&table.name)).is_some())
        .map(|table| table.name.clone())
        .collect();
    let renamed = target
        .tables
        .iter()
        .any(|table| source_name(&table.name) != table.name);
    let mut wildcard = dice.once_in(2) && !renamed;
    // Partitions are filled through their parents, but for a job that names one.
    let partitions = !wildcard && dice.once_in(8);
    let is_named = |name: &&String| {
        let is_partition =
            |schema: &Schema, name: &str| schema.table(name).is_some_and(Table::is_partition);
        (!is_partition(source, source_name(name)) && !is_partition(target, name))
            || partitions && dice.once_in(3)
    };
    let names: Vec<String> = names.iter().filter(is_named).cloned().collect();
    let mut chosen: Vec<String> = names
        .iter()
        .filter(|_| wildcard || !dice.once_in(4))
        .cloned()
        .collect();
    if chosen.is_empty() {
        chosen.clone_from(&names);
    }
    // A parent without its children is refused, or read with them: seldom of interest twice.
    if !dice.once_in(8) {
        for name in chosen.clone() {
            chosen.extend(
                target
                    .tree(&name)
                    .into_iter()
                    .filter(|child| names.contains(child)),
            );
        }
        chosen.sort();
        chosen.dedup();
    }
    // Without a key these two are refused: seldom of interest.
    if matches!(mode, "merge" | "upsert") && !dice.once_in(12) {
        let has_key = |name: &String| {
            target
                .table(name)
                .is_some_and(|table| !table.keys.is_empty())
        };
        if chosen.iter().any(has_key) {
            wildcard = wildcard && chosen.iter().all(has_key);
            chosen.retain(has_key);
        }
    }
    for at in (1..chosen.len()).rev() {
        chosen.swap(at, dice.index(at + 1));
    }
    let replace = replaced.is_some();
    if let Some(name) = replaced
        && !dice.once_in(4)
    {
        chosen = vec![name];
    }
    let compare = match mode {
        "merge" => dice.one_of(&["auto", "changed", "changed", "full"]),
        _ => "auto",
    };
    // Marks are of use to whole tables that are not under a condition.
    let plain = compare == "changed" && !renamed && !dice.once_in(3);
    let tables = chosen
        .iter()
        .filter_map(|name| {
            let entry = match plain {
                true => JobTable::plain(name),
                false => entry(dice, mode, [source, target], name)?,
            };
            Some(match replace {
                true => of_partitions(dice, entry, source),
                false => entry,
            })
        })
        .collect();
    Job {
        mode,
        wildcard: wildcard && !replace,
        tables,
        workers: match dice.once_in(4) {
            true if !plain => 3,
            _ => 1,
        },
        // Each partition is a table of the run, and would be published by itself.
        atomic: !dice.once_in(6) || replace && mode == "swap",
        verify: match mode {
            "append" | "upsert" => dice.one_of(&["count", "count", "none"]),
            "truncate" if replace && !dice.once_in(12) => "count",
            _ => dice.one_of(&["count", "count", "none", "checksum"]),
        },
        triggers: if dice.once_in(6) { "skip" } else { "fire" },
        format: if dice.once_in(8) { "text" } else { "auto" },
        sequences: !dice.once_in(10),
        guarded: dice.once_in(6),
        recreate_views: dice.once_in(2),
        replace,
        compare,
        history: match compare {
            "changed" => "target",
            _ => dice.one_of(&["target", "off"]),
        },
    }
}

/// The table of which only partitions are replaced, if there is one of which that is not refused.
fn replaced_table(dice: &mut Dice, source: &Schema, target: &Schema) -> Option<String> {
    let is_referenced = |table: &&Table| {
        let tree = target.tree(&table.name);
        let mut foreign = target.tables.iter().flat_map(|table| &table.foreign);
        foreign.any(|key| tree.contains(&key.table))
    };
    let fits = |table: &&Table| {
        let by = table.partition_by.as_ref();
        by.is_some_and(|by| !by.starts_with("HASH"))
            && !is_referenced(table)
            && source.table(source_name(&table.name)).is_some()
    };
    let fitting: Vec<&Table> = target.tables.iter().filter(fits).collect();
    let table = dice.pick(&fitting)?;
    dice.once_in(3).then(|| table.name.clone())
}

/// The entry with the partition key, without which nobody knows where a row belongs, and mostly with rows of some
/// partitions alone.
fn of_partitions(dice: &mut Dice, entry: JobTable, source: &Schema) -> JobTable {
    let by = source.table(&entry.source).and_then(Table::partition_key);
    let condition = match by {
        Some(column) if !dice.once_in(3) => Some(condition_on(dice, column)),
        _ => None,
    };
    JobTable {
        columns: None,
        condition: condition.or(entry.condition),
        ..entry
    }
}

fn entry(dice: &mut Dice, mode: &str, sides: [&Schema; 2], name: &str) -> Option<JobTable> {
    let from = source_name(name);
    let [source, target] = [sides[0].table(from)?, sides[1].table(name)?];
    let children = sides[0].children(from).any(|child| !child.is_partition());

    let mut entry = JobTable::plain(&target.name);
    entry.source.clone_from(&source.name);
    let common: Vec<&str> = target
        .columns
        .iter()
        .filter(|column| !column.is_generated() && source.column(&column.name).is_some())
        .map(|column| column.name.as_str())
        .collect();
    if dice.once_in(8) {
        let kept = |name: &&&str| {
            target
                .keys
                .iter()
                .any(|key| key.columns.iter().any(|c| c == **name))
                || !dice.once_in(3)
        };
        let columns: Vec<String> = common
            .iter()
            .filter(kept)
            .map(|name| (*name).to_owned())
            .collect();
        if !columns.is_empty() {
            entry.columns = Some(columns);
        }
    }
    if dice.once_in(8) {
        entry.condition = condition(dice, source);
        let on_both = |condition: &String| {
            target
                .columns
                .iter()
                .any(|column| condition.starts_with(&format!("{} ", quoted(&column.name))))
        };
        entry.within =
            entry.condition.as_ref().is_some_and(on_both) && mode == "merge" && dice.once_in(2);
    }
    if dice.once_in(8)
        && let Some(name) = dice.pick(&common)
        && entry
            .columns
            .as_ref()
            .is_none_or(|columns| columns.iter().any(|c| c == name))
        && let Some(column) = source.column(name)
        && target
            .column(name)
            .is_some_and(|other| other.ty == column.ty)
    {
        let value = column.ty.changed(&quoted(name), dice);
        entry.set.push(((*name).to_owned(), value));
    }
    let primary = super::schema::KeyKind::Primary;
    let shown_twice = sides[1].children(name).next().is_some() && !dice.once_in(8);
    entry.children = children && !shown_twice && dice.once_in(2);
    let unique: Vec<_> = target
        .keys
        .iter()
        .filter(|key| key.kind != primary)
        .collect();
    if matches!(mode, "merge" | "upsert")
        && (target.primary().is_none() || dice.once_in(4))
        && let Some(key) = dice.pick(&unique)
    {
        entry.key = Some(key.columns.clone());
    }
    Some(entry)
}

/// A condition that both sides can be asked.
pub fn condition(dice: &mut Dice, table: &Table) -> Option<String> {
    let column = dice.pick(&table.columns)?;
    Some(condition_on(dice, column))
}

fn condition_on(dice: &mut Dice, column: &Column) -> String {
    let name = quoted(&column.name);
    if column.ty.is_integer() {
        match dice.below(3) {
            0 => format!("{name} % 2 = {}", dice.below(2)),
            1 => format!("{name} > {}", dice.below(8)),
            _ => format!("{name} IN (1, 3, 5, 7)"),
        }
    } else if column.ty.is_text() {
        format!("{name} > 'k{}'", dice.below(6))
    } else if dice.once_in(2) {
        format!("{name} IS NULL")
    } else {
        format!("{name} IS NOT NULL")
    }
}

/// A basic string of TOML.
fn text(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
    text + "\""
}

fn relation(name: &str) -> String {
    text(&format!("public.{}", quoted(name)))
}

fn columns(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| text(&quoted(name))).collect();
    format!("[{}]", names.join(", "))
}

impl JobTable {
    /// All rows and columns of the table of the same name.
    pub fn plain(name: &str) -> JobTable {
        JobTable {
            target: name.to_owned(),
            source: name.to_owned(),
            columns: None,
            condition: None,
            set: Vec::new(),
            key: None,
            within: false,
            children: false,
        }
    }

    fn is_plain(&self) -> bool {
        self.source == self.target
            && self.columns.is_none()
            && self.condition.is_none()
            && self.set.is_empty()
            && self.key.is_none()
            && !self.children
    }

    fn toml(&self) -> String {
        let mut lines = format!("\n[jobs.j.table.{}]\n", relation(&self.target));
        if self.source != self.target {
            lines.push_str(&format!("source = {}\n", relation(&self.source)));
        }
        if let Some(names) = &self.columns {
            lines.push_str(&format!("columns = {}\n", columns(names)));
        }
        if let Some(condition) = &self.condition {
            lines.push_str(&format!("where = {}\n", text(condition)));
        }
        if self.within {
            lines.push_str("scope = \"where\"\n");
        }
        if self.children {
            lines.push_str("children = true\n");
        }
        for (name, value) in &self.set {
            lines.push_str(&format!("set.{} = {}\n", text(&quoted(name)), text(value)));
        }
        if let Some(names) = &self.key {
            lines.push_str(&format!("key = {}\n", columns(names)));
        }
        lines
    }
}

impl Job {
    /// Do partitions of this target stay as they are?
    pub fn replaces_partitions_of(&self, target: &Table) -> bool {
        self.replace && !target.is_leaf()
    }

    pub fn toml(&self) -> String {
        let named: Vec<String> = self
            .tables
            .iter()
            .filter(|table| table.is_plain())
            .map(|table| relation(&table.target))
            .collect();
        let tables = if self.wildcard {
            "tables = [\"public.*\"]\n".to_owned()
        } else if named.is_empty() {
            String::new()
        } else {
            format!("tables = [{}]\n", named.join(", "))
        };
        let guard = if self.guarded {
            ""
        } else {
            "guard = { allow_empty = true, max_shrink = \"100%\" }\n"
        };
        let sections: Vec<String> = self
            .tables
            .iter()
            .filter(|table| !table.is_plain())
            .map(JobTable::toml)
            .collect();
        let replace = match self.replace {
            true => "replace = \"partitions\"\n",
            false => "",
        };
        let compare = match self.compare {
            "auto" => String::new(),
            compare => format!("compare = \"{compare}\"\n"),
        };
        format!(
            "[daemon]\nhistory = \"{}\"\n\n[jobs.j]\nsource = \"source\"\ntarget = \"target\"\nmode = \"{}\"\n\
             {tables}workers = {}\natomic = {}\nverify = \"{}\"\ntriggers = \"{}\"\nformat = \"{}\"\n\
             sequences = {}\nrecreate_views = {}\nretry = {{ max = 0 }}\nlock_timeout = \"2s\"\n{guard}{replace}{compare}{}",
            self.history,
            self.mode,
            self.workers,
            self.atomic,
            self.verify,
            self.triggers,
            self.format,
            self.sequences,
            self.recreate_views && self.mode == "swap",
            sections.join("")
        )
    }
}
