//! Decides how each table is copied. (pure)
//!
//! Tables that foreign keys or inheritance connect are one group, and one job copies them: their rows change
//! together.

use std::collections::{BTreeMap, BTreeSet};

use bytesize::ByteSize;

use super::survey::Pair;
use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::config::spec::Mode;
use crate::pg::ident::{Ident, QualifiedName};
use crate::wording::counted;

/// Up to this size, a table without a key is truncated and copied: its readers wait for moments.
const SMALL_BYTES_MAX: u64 = 64 << 20;

/// What planning said of earlier choices.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdicts {
    /// Tables that cannot be swapped, and why.
    pub no_swap: BTreeMap<QualifiedName, String>,
    /// Tables that cannot be copied, and why.
    pub left_out: BTreeMap<QualifiedName, String>,
}

impl Verdicts {
    /// Takes note of a refusal. A table that cannot be swapped may still be truncated. Was it new?
    pub fn add(&mut self, refused: &Choice, why: String) -> bool {
        let verdicts = match refused.mode {
            Mode::Swap => &mut self.no_swap,
            _ => &mut self.left_out,
        };
        verdicts.insert(refused.name.clone(), why).is_none()
    }
}

/// How one table is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub name: QualifiedName,
    pub mode: Mode,
    /// The columns that identify a row, if they are not the target's primary key.
    pub key: Option<Vec<Ident>>,
    /// Why this mode, and how large the table is.
    pub why: String,
    /// What to know about it besides.
    pub note: Option<String>,
    /// The target lacks it.
    pub is_new: bool,
    /// Equal for tables of one group.
    pub group: usize,
}

/// How a row is identified.
enum Key<'p> {
    Primary(&'p [Ident]),
    Unique(Vec<Ident>),
}

/// Chooses a mode for each table that is not left out, in order of names.
pub(super) fn decide(pairs: &[Pair], verdicts: &Verdicts) -> Vec<Choice> {
    let copied: Vec<&Pair> = pairs
        .iter()
        .filter(|pair| !verdicts.left_out.contains_key(&pair.target.name))
        .collect();
    let names: BTreeSet<&QualifiedName> = copied.iter().map(|pair| &pair.target.name).collect();
    let numbers = groups(&copied);
    let mut groups: BTreeMap<usize, Vec<&Pair>> = BTreeMap::new();
    for (pair, number) in copied.iter().zip(&numbers) {
        groups.entry(*number).or_default().push(pair);
    }
    let mut choices = Vec::with_capacity(copied.len());
    for (pair, number) in copied.iter().zip(numbers) {
        let (mode, why) = mode(pair, &groups[&number], verdicts);
        let key = match key(pair) {
            Some(Key::Unique(columns)) if mode == Mode::Merge => Some(columns),
            _ => None,
        };
        choices.push(Choice {
            name: pair.target.name.clone(),
            mode,
            key,
            why: format!("{why}; {}", size(&pair.source)),
            is_new: pair.is_new,
            note: note(pair, &names),
            group: number,
        });
    }
    choices
}

/// The mode of a table, which its group shares, and why.
fn mode(pair: &Pair, group: &[&Pair], verdicts: &Verdicts) -> (Mode, String) {
    let without_key = group.iter().find(|pair| key(pair).is_none());
    let Some(without_key) = without_key else {
        let why = match key(pair) {
            Some(Key::Primary(columns)) => format!("primary key ({})", list(columns)),
            Some(Key::Unique(columns)) => format!("unique index on ({})", list(&columns)),
            None => String::new(),
        };
        return (Mode::Merge, why);
    };
    let (own, other) = (&pair.target.name, &without_key.target.name);
    let why = match key(pair) {
        None => "it has no key".to_owned(),
        Some(_) => format!("it is connected with {other}, which has no key"),
    };
    let refused = group
        .iter()
        .find_map(|pair| Some((&pair.target.name, verdicts.no_swap.get(&pair.target.name)?)));
    if let Some((name, reason)) = refused {
        let what = match name == own {
            true => "swap is refused".to_owned(),
            false => format!("swap of {name} is refused"),
        };
        return (Mode::Truncate, format!("{why}, and {what}: {reason}"));
    }
    let is_large = group
        .iter()
        .any(|pair| pair.source.bytes_estimate > SMALL_BYTES_MAX);
    match is_large {
        true => (Mode::Swap, why),
        false => (Mode::Truncate, format!("{why}, and is small")),
    }
}

/// The target's primary key, else its first unique index over columns that are never NULL. The source must have the
/// columns.
fn key(pair: &Pair) -> Option<Key<'_>> {
    let is_copied = |name: &Ident| {
        let computed = |relation: &RelationDesc| {
            relation
                .column(name)
                .is_none_or(|column| column.generated.is_some())
        };
        pair.source.column(name).is_some() && !computed(&pair.target)
    };
    let primary = &pair.target.primary_key;
    if !primary.is_empty() && primary.iter().all(is_copied) {
        return Some(Key::Primary(primary));
    }
    let never_null = |name: &Ident| {
        pair.target
            .column(name)
            .is_some_and(|column| column.not_null)
    };
    let fits = pair.target.unique_indexes.iter().find(|index| {
        let names = || index.columns.iter().map(|column| &column.name);
        index.is_plain && index.immediate && names().all(|name| is_copied(name) && never_null(name))
    })?;
    Some(Key::Unique(
        fits.columns
            .iter()
            .map(|column| column.name.clone())
            .collect(),
    ))
}

/// Foreign keys to tables that are not copied.
fn note(pair: &Pair, copied: &BTreeSet<&QualifiedName>) -> Option<String> {
    let outside: BTreeSet<String> = pair
        .target
        .foreign_keys
        .iter()
        .filter(|key| !copied.contains(&key.to))
        .map(|key| key.to.to_string())
        .collect();
    if outside.is_empty() {
        return None;
    }
    let outside: Vec<String> = outside.into_iter().collect();
    Some(format!(
        "its foreign keys refer to {}, which no job copies: the rows that they refer to must be on the target",
        outside.join(", ")
    ))
}

fn size(source: &RelationDesc) -> String {
    let kind = match source.kind {
        RelationKind::Partitioned => "partitioned, ",
        _ => "",
    };
    let rows = match source.rows_estimate {
        Some(rows) => format!("about {}", counted(rows, "row")),
        None => "rows not estimated yet".to_owned(),
    };
    format!("{kind}{rows}, {}", ByteSize(source.bytes_estimate))
}

fn list(columns: &[Ident]) -> String {
    let names: Vec<String> = columns.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The number of each table's group.
fn groups(pairs: &[&Pair]) -> Vec<usize> {
    let place: BTreeMap<&QualifiedName, usize> = pairs
        .iter()
        .enumerate()
        .map(|(at, pair)| (&pair.target.name, at))
        .collect();
    let mut group: Vec<usize> = (0..pairs.len()).collect();
    let mut joined = true;
    while joined {
        joined = false;
        for (at, pair) in pairs.iter().enumerate() {
            for other in connected(pair).filter_map(|name| place.get(name)) {
                let low = group[at].min(group[*other]);
                joined |= group[at] != low || group[*other] != low;
                group[at] = low;
                group[*other] = low;
            }
        }
    }
    group
}

/// The tables that one refers to, and its inheritance children on either side.
fn connected(pair: &Pair) -> impl Iterator<Item = &QualifiedName> {
    let references = pair.target.foreign_keys.iter().map(|key| &key.to);
    references
        .chain(&pair.source.children)
        .chain(&pair.target.children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::desc::ForeignKey;
    use crate::plan::fixtures::{column, table, unique_index};
    use rstest::rstest;

    fn name(table: &str) -> QualifiedName {
        QualifiedName::new("public", table)
    }

    /// `t(id key, v) 100MB -> other, child`: a `key` column is the primary key, a `unique` one is NOT NULL and has a
    /// unique index, a `nullable` one has only that; what follows `->` are references.
    fn pair(text: &str) -> Pair {
        let (text, references) = text.split_once(" -> ").unwrap_or((text, ""));
        let (table_name, rest) = text.split_once('(').unwrap();
        let (columns, size) = rest.split_once(')').unwrap();
        let words = || {
            columns
                .split(", ")
                .map(|c| c.split_once(' ').unwrap_or((c, "")))
        };
        let mut target = table(
            table_name,
            words().map(|(name, _)| column(name, "int4")).collect(),
        );
        let source = target.clone();
        for (name, kind) in words() {
            let name = Ident::new(name);
            let at = target.columns.iter().position(|c| c.name == name).unwrap();
            target.columns[at].not_null = matches!(kind, "key" | "unique");
            match kind {
                "key" => target.primary_key.push(name.clone()),
                "generated" => target.columns[at].generated = Some("1".to_owned()),
                "unique" | "nullable" => {
                    target.unique_indexes.push(unique_index(&[name.as_str()]));
                }
                _ => {}
            }
        }
        target.foreign_keys = references
            .split(", ")
            .filter(|to| !to.is_empty())
            .map(|to| ForeignKey {
                name: "f".to_owned(),
                from: name(table_name),
                to: name(to),
                from_ancestors: Vec::new(),
                deferrable: false,
            })
            .collect();
        let mut pair = Pair {
            source,
            target,
            is_new: false,
        };
        if let Some(megabytes) = size.trim().strip_suffix("MB") {
            pair.source.bytes_estimate = megabytes.parse::<u64>().unwrap() << 20;
        }
        pair
    }

    const NO_SWAP: &str = "a view depends on it";

    /// `no_swap`: tables that planning would not swap.
    fn shown(tables: &[&str], no_swap: &[&str], left_out: &[&str]) -> Vec<String> {
        let pairs: Vec<Pair> = tables.iter().map(|text| pair(text)).collect();
        let why = |tables: &[&str]| {
            tables
                .iter()
                .map(|t| (name(t), NO_SWAP.to_owned()))
                .collect()
        };
        let verdicts = Verdicts {
            no_swap: why(no_swap),
            left_out: why(left_out),
        };
        let choices = decide(&pairs, &verdicts);
        let show = |choice: &Choice| {
            let key = choice
                .key
                .as_ref()
                .map_or(String::new(), |key| format!(" by {}", list(key)));
            let why = choice.why.split("; about").next().unwrap();
            format!("{} {}{key}: {why}", choice.name, choice.mode.as_str())
        };
        choices.iter().map(show).collect()
    }

    #[rstest]
    #[case::a_key("t(id key, v)", "public.t merge: primary key (id)")]
    #[case::a_large_table_with_a_key("t(id key) 900MB", "public.t merge: primary key (id)")]
    #[case::a_key_of_two("t(b key, a key)", "public.t merge: primary key (b, a)")]
    #[case::a_unique_index("t(v, sku unique)", "public.t merge by sku: unique index on (sku)")]
    #[case::a_unique_index_with_nulls(
        "t(sku nullable)",
        "public.t truncate: it has no key, and is small"
    )]
    #[case::a_generated_key("t(id generated)", "public.t truncate: it has no key, and is small")]
    #[case::no_key("t(v)", "public.t truncate: it has no key, and is small")]
    #[case::no_key_and_large("t(v) 65MB", "public.t swap: it has no key")]
    fn the_mode_of_one_table(#[case] table: &str, #[case] expected: &str) {
        assert_eq!(shown(&[table], &[], &[]), [expected]);
    }

    #[test]
    fn a_table_that_cannot_be_swapped_is_truncated_and_the_reason_is_said() {
        let why = "public.t truncate: it has no key, and swap is refused: a view depends on it";
        assert_eq!(shown(&["t(v) 65MB"], &["t"], &[]), [why]);
    }

    #[test]
    fn tables_that_foreign_keys_connect_are_copied_in_one_way() {
        let tables = [
            "a(id key) 900MB",
            "b(v) -> c, d",
            "c(id key) -> a",
            "d(id key)",
            "e(id key)",
        ];
        let other = "it is connected with public.b, which has no key";
        assert_eq!(
            shown(&tables, &[], &[]),
            [
                &format!("public.a swap: {other}"),
                "public.b swap: it has no key",
                &format!("public.c swap: {other}"),
                &format!("public.d swap: {other}"),
                "public.e merge: primary key (id)",
            ]
        );
        let refused = shown(&tables, &["d"], &[]);
        let why = "public.b truncate: it has no key, and swap of public.d is refused: a view depends on it";
        assert_eq!(refused[1], why);
        // Without the table that has no key, the others are merged.
        let rest = shown(&tables, &[], &["b"]);
        assert!(
            rest.iter().all(|choice| choice.contains(" merge: ")),
            "{rest:?}"
        );
    }

    #[test]
    fn a_reference_to_a_table_that_is_not_copied_is_noted() {
        let pairs = [pair("t(id key) -> gone, t")];
        let note = decide(&pairs, &Verdicts::default())[0]
            .note
            .clone()
            .unwrap();
        assert!(note.contains("public.gone, which no job copies"), "{note}");
        assert_eq!(
            decide(&[pair("t(id key)")], &Verdicts::default())[0].note,
            None
        );
    }
}
