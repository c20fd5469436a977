//! What may change rows of the target besides the statements of `merge` and `upsert`, and how each case is
//! handled.
//!
//! A table is compared with its staged rows once, and only differences are written. After that, its rows
//! can change in these ways:
//!
//! | what changes a row | how it is handled |
//! |---|---|
//! | ON DELETE and ON UPDATE of foreign keys, between tables of the job, on one table, through other tables, of keys that only the target has, of partitions | tables that such keys reach from a changed table are compared again, and differences are written, for a bounded number of rounds (`run/modes/rounds.rs`) |
//! | ON DELETE CASCADE deletes a row that the source has | it is inserted again; an error if that would lose values of columns that are not copied |
//! | the same on tables outside the job | a warning of the plan: the target's owner declared the action |
//! | the same on rows of the job's tables that the job leaves alone: outside of `where` with `scope = "where"`, or not found on the source by `upsert` | a warning of the plan: see [`beyond`] |
//! | triggers and rules that fire for a changed table, or for one that foreign keys change | all tables are compared again at the end; a difference is an error, unless `verify = "none"` |
//! | the same, with `atomic = false`, on a table published before | any write to it is an error (`run/modes/published.rs`) |
//! | another session deletes or updates a row that the run was about to delete or update | fewer rows are changed than were found: the table is compared again |
//! | another session writes a row that the run does not write, or inserts one | nothing, as if it committed after the run. The next run corrects it |
//! | with `atomic = false`, foreign keys that change a table published before | refused: see [`refusals`] |
//!
//! Deferring constraints does not defer actions: PostgreSQL carries out CASCADE, SET NULL and SET DEFAULT
//! at the end of the statement, also for DEFERRABLE keys. With `triggers = "skip"`, foreign key actions and
//! triggers do not run unless they are ENABLE ALWAYS; the catalog queries consider that. RESTRICT and NO
//! ACTION change no rows.

use std::collections::BTreeSet;

use crate::catalog::desc::{KeyAction, KeyActions, ReferentialAction};
use crate::config::spec::JobSpec;
use crate::error::Side;
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::refusal::Refusal;
use crate::plan::used::{self, Use, Used};

/// The other rows that writes to one table may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The tables of the job whose rows may change when rows of this one are deleted.
    pub of_delete: BTreeSet<QualifiedName>,
    /// The tables of the job whose rows may change when rows of this one are updated.
    pub of_update: BTreeSet<QualifiedName>,
    /// Triggers or rules may fire, on this table or on tables that foreign keys change.
    pub runs_code: bool,
    /// The tables outside the job that foreign keys read or change.
    pub outside: Used,
    /// The tables of the job that foreign keys change, each with a key and its action.
    pub keys: BTreeSet<(QualifiedName, String)>,
}

impl Effects {
    /// May these writes change rows of `table`, by foreign key actions or by code of triggers and rules?
    pub fn may_change(&self, table: &QualifiedName) -> bool {
        self.runs_code || self.of_delete.contains(table) || self.of_update.contains(table)
    }
}

/// The writes to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes<'a> {
    /// Rows are deleted.
    pub deletes: bool,
    /// The columns that are updated.
    pub updates: &'a [Ident],
    /// An update may move a row to another partition. Before version 15, foreign keys treat that as a
    /// deletion.
    pub moves: bool,
    /// Triggers of the table itself fire.
    pub fires: bool,
}

/// A change of a table's rows. A partition is represented by its topmost parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowChange<'a> {
    Deleted(&'a QualifiedName),
    Updated(&'a QualifiedName, &'a Ident),
}

/// Finds the other rows that these writes to a table may change. `job` are the job's targets. Effects on
/// other tables are added to `warnings`.
pub fn of(
    table: &QualifiedName,
    writes: Writes<'_>,
    job: &[QualifiedName],
    actions: &KeyActions,
    warnings: &mut Vec<String>,
) -> Effects {
    let top = actions.top(table);
    let deleted = writes.deletes.then_some(RowChange::Deleted(top));
    let updated = writes.updates.iter().map(|at| RowChange::Updated(top, at));
    let by_delete = follow(actions, deleted.into_iter().collect());
    let moved = (writes.moves && !writes.updates.is_empty()).then_some(RowChange::Deleted(top));
    let by_update = follow(actions, updated.chain(moved).collect());
    let here = |reached: &[ReachedKey<'_>]| -> BTreeSet<QualifiedName> {
        let of_job = |at: &&QualifiedName| {
            let at = actions.top(at);
            reached.iter().any(|by| by.acts && by.key.from == *at)
        };
        job.iter().filter(of_job).cloned().collect()
    };
    let mut runs_code = writes.fires;
    let mut outside = Used::new();
    let mut keys = BTreeSet::new();
    for by in by_delete.iter().chain(&by_update) {
        runs_code |= by.acts && by.key.runs_code;
        let mut in_job = job.iter().filter(|at| *actions.top(at) == by.key.from);
        if in_job.clone().next().is_some() {
            let key = || format!("{} ({})", by.key.name, by.what);
            keys.extend(
                in_job
                    .by_ref()
                    .filter(|_| by.acts)
                    .map(|at| (at.clone(), key())),
            );
            continue;
        }
        let does = if by.acts { Use::Changes } else { Use::LooksUp };
        used::add_use(&mut outside, by.key.table.clone(), does);
        if !by.acts {
            continue;
        }
        let warning = format!(
            "foreign key {} of {} is {}: rows there change, too, and that table is not in the job",
            by.key.name, by.key.table, by.what
        );
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Effects {
        of_delete: here(&by_delete),
        of_update: here(&by_update),
        runs_code,
        outside,
        keys,
    }
}

/// A foreign key that a change reaches.
struct ReachedKey<'a> {
    key: &'a KeyAction,
    /// It changes rows; otherwise it only checks whether rows reference the changed one.
    acts: bool,
    what: String,
}

fn follow<'a>(actions: &'a KeyActions, first: Vec<RowChange<'a>>) -> Vec<ReachedKey<'a>> {
    let mut seen: BTreeSet<RowChange<'_>> = first.iter().cloned().collect();
    let mut open = first;
    let mut reached = Vec::new();
    while let Some(change) = open.pop() {
        for key in &actions.keys {
            let (event, action) = match &change {
                RowChange::Deleted(table) if key.to == **table => ("DELETE", key.on_delete),
                RowChange::Updated(table, column) if key.to == **table && key.minds(column) => {
                    ("UPDATE", key.on_update)
                }
                _ => continue,
            };
            let does = action.map_or("NO ACTION", ReferentialAction::as_str);
            reached.push(ReachedKey {
                key,
                acts: action.is_some(),
                what: format!("ON {event} {does}"),
            });
            let Some(action) = action else { continue };
            let cascades = event == "DELETE" && action == ReferentialAction::Cascade;
            let next: Vec<RowChange<'_>> = match cascades {
                true => vec![RowChange::Deleted(&key.from)],
                false => key
                    .from_columns
                    .iter()
                    .map(|column| RowChange::Updated(&key.from, column))
                    .collect(),
            };
            for change in next {
                if seen.insert(change.clone()) {
                    open.push(change);
                }
            }
        }
    }
    reached
}

impl KeyAction {
    /// Does an update of this column fire the action?
    fn minds(&self, column: &Ident) -> bool {
        self.to_generated || self.to_columns.contains(column)
    }
}

impl KeyActions {
    fn top<'a>(&'a self, table: &'a QualifiedName) -> &'a QualifiedName {
        self.tops.get(table).unwrap_or(table)
    }
}

/// Refuses foreign keys that change a table which was published before. With `atomic = false`, each table
/// is compared and published alone, so such changes would not be corrected. `tables` are in the order of
/// publishing.
pub fn refusals(job: &JobSpec, tables: &[(&QualifiedName, &Effects)]) -> Vec<Refusal> {
    if job.atomic {
        return Vec::new();
    }
    let mut refusals = Vec::new();
    for (at, (table, effects)) in tables.iter().enumerate() {
        for (before, _) in &tables[..at] {
            if effects.of_delete.contains(before) || effects.of_update.contains(before) {
                let message = format!(
                    "`atomic = false` publishes {before} first, and foreign keys with ON DELETE or ON \
                     UPDATE change its rows when rows of this table change"
                );
                refusals.push(
                    Refusal::mismatch(Side::Target, table, message)
                        .hinted("use `atomic = true`: then changed rows are corrected"),
                );
            }
        }
    }
    refusals
}

/// Warns, with `atomic = false`, of rows that are missing from a table between two COMMITs.
pub fn warnings(job: &JobSpec, table: &QualifiedName, effects: &Effects) -> Option<String> {
    let others: BTreeSet<&QualifiedName> = effects.of_delete.union(&effects.of_update).collect();
    let names: Vec<String> = others
        .into_iter()
        .filter(|other| *other != table)
        .map(ToString::to_string)
        .collect();
    (!job.atomic && !names.is_empty()).then(|| {
        format!(
            "foreign keys with ON DELETE or ON UPDATE change {} when rows of this table change; with \
             `atomic = false` they are corrected only when that table is published",
            names.join(", ")
        )
    })
}

/// Warns of foreign key actions on rows that the job leaves alone: rows that upsert does not find on the
/// source, and rows outside `where` with `scope = "where"`. `kept` describes these rows, if the table has
/// any.
pub fn beyond(
    tables: &[(&QualifiedName, &Effects)],
    kept: impl Fn(&QualifiedName) -> Option<&'static str>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (table, _) in tables {
        let Some(rows) = kept(table) else { continue };
        let reaches = |effects: &Effects| {
            effects.of_delete.contains(*table) || effects.of_update.contains(*table)
        };
        let by: Vec<_> = tables.iter().filter(|(_, e)| reaches(e)).collect();
        let names: Vec<String> = by.iter().map(|(name, _)| name.to_string()).collect();
        let keys: BTreeSet<&str> = by
            .iter()
            .flat_map(|(_, effects)| &effects.keys)
            .filter(|(changed, _)| changed == *table)
            .map(|(_, key)| key.as_str())
            .collect();
        if !by.is_empty() {
            warnings.push(format!(
                "{table}: its rows {rows} also change when rows of {} change, by foreign key {}",
                names.join(", "),
                Vec::from_iter(keys).join(", ")
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn named(name: &str) -> QualifiedName {
        QualifiedName::new("public", name)
    }

    /// `child.column > parent.column delete/update`, as in `c.p > p.id cascade/-`.
    fn key(text: &str) -> KeyAction {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [from, _, to, does] = words.as_slice() else {
            panic!("{text}")
        };
        let ((from, from_column), (to, to_column)) =
            (from.split_once('.').unwrap(), to.split_once('.').unwrap());
        let action = |word: &str| match word {
            "cascade" => Some(ReferentialAction::Cascade),
            "null" => Some(ReferentialAction::SetNull),
            _ => None,
        };
        let (on_delete, on_update) = does.trim_end_matches('!').split_once('/').unwrap();
        KeyAction {
            name: format!("{from}_fkey"),
            table: named(from),
            from: named(from),
            to: named(to),
            from_columns: vec![Ident::new(from_column)],
            to_columns: vec![Ident::new(to_column)],
            to_generated: to_column == "generated",
            on_delete: action(on_delete),
            on_update: action(on_update),
            runs_code: does.ends_with('!'),
        }
    }

    fn list(names: &BTreeSet<QualifiedName>) -> String {
        let names: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
        names.join(" ")
    }

    /// Rows of `p` are deleted, and its columns `code` and `v` updated. The job is `p c d`.
    #[rstest]
    #[case::none(&[], "", "", "")]
    #[case::restrict(&["c.p > p.id -/-"], "", "", "")]
    #[case::cascade(&["c.p > p.id cascade/-"], "c", "", "")]
    #[case::columns_that_are_not_updated(&["c.p > p.id cascade/cascade"], "c", "", "")]
    #[case::unique_column(&["c.p > p.code null/cascade"], "c", "c", "")]
    #[case::generated_column(&["c.p > p.generated -/null"], "", "c", "")]
    #[case::itself(&["p.up > p.id null/-"], "p", "", "")]
    #[case::chain(&["c.p > p.id cascade/-", "d.c > c.id cascade/-"], "c d", "", "")]
    #[case::chain_of_updates(&["c.p > p.code -/cascade", "d.c > c.p -/null"], "", "c d", "")]
    #[case::set_null_is_an_update(&["c.p > p.id null/-", "d.c > c.p -/cascade"], "c d", "", "")]
    #[case::update_of_another_column(&["c.p > p.id null/-", "d.c > c.id cascade/cascade"], "c", "", "")]
    #[case::circle(&["c.p > p.id cascade/-", "p.c > c.id cascade/-"], "c p", "", "")]
    #[case::through_another_table(
        &["x.p > p.id cascade/-", "c.x > x.id cascade/-"],
        "c",
        "",
        "foreign key x_fkey of public.x is ON DELETE CASCADE: rows there change, too, and that table is not in the job"
    )]
    #[case::elsewhere(&["c.d > d.id cascade/cascade"], "", "", "")]
    fn what_foreign_keys_reach(
        #[case] keys: &[&str],
        #[case] by_delete: &str,
        #[case] by_update: &str,
        #[case] warning: &str,
    ) {
        let actions = KeyActions {
            keys: keys.iter().map(|text| key(text)).collect(),
            ..KeyActions::default()
        };
        let job = ["p", "c", "d"].map(named);
        let writes = Writes {
            deletes: true,
            updates: &["code", "v"].map(Ident::new),
            moves: false,
            fires: false,
        };
        let mut warnings = Vec::new();
        let effects = of(&job[0], writes, &job, &actions, &mut warnings);
        assert_eq!(list(&effects.of_delete), by_delete);
        assert_eq!(list(&effects.of_update), by_update);
        let keys: BTreeSet<_> = effects.keys.iter().map(|(at, _)| at).collect();
        let reached: BTreeSet<_> = effects.of_delete.union(&effects.of_update).collect();
        assert_eq!(keys, reached);
        assert_eq!(warnings.join("; "), warning);
        assert!(!effects.runs_code);
    }

    #[rstest]
    #[case(&[], false, false)]
    #[case(&[], true, true)]
    #[case(&["c.p > p.id cascade/-!"], false, true)]
    #[case(&["x.p > p.id cascade/-", "y.x > x.id cascade/-!"], false, true)]
    #[case(&["c.p > p.id -/cascade!"], false, false)]
    fn code_that_runs_is_known(#[case] keys: &[&str], #[case] fires: bool, #[case] runs: bool) {
        let actions = KeyActions {
            keys: keys.iter().map(|text| key(text)).collect(),
            ..KeyActions::default()
        };
        let writes = Writes {
            deletes: true,
            updates: &[],
            moves: false,
            fires,
        };
        let effects = of(
            &named("p"),
            writes,
            &[named("p")],
            &actions,
            &mut Vec::new(),
        );
        assert_eq!(effects.runs_code, runs);
    }

    #[test]
    fn partitions_stand_for_their_topmost_table() {
        let actions = KeyActions {
            tops: [("c1", "c"), ("p1", "p"), ("p2", "p")]
                .map(|(at, top)| (named(at), named(top)))
                .into(),
            keys: vec![key("c.p > p.id cascade/-")],
        };
        let writes = Writes {
            deletes: true,
            updates: &[],
            moves: false,
            fires: false,
        };
        let job = ["p1", "p2", "c1"].map(named);
        let effects = of(&job[0], writes, &job, &actions, &mut Vec::new());
        assert_eq!(list(&effects.of_delete), "c1");
    }

    #[test]
    fn what_was_published_before_cannot_be_put_right() {
        let mut job = crate::plan::fixtures::job(crate::config::spec::Mode::Merge);
        let (p, c) = (named("p"), named("c"));
        let acts = Effects {
            of_delete: [c.clone()].into(),
            ..Effects::default()
        };
        let none = Effects::default();
        let count = |job: &JobSpec, tables: &[_]| refusals(job, tables).len();
        assert_eq!(count(&job, &[(&c, &none), (&p, &acts)]), 0);
        job.atomic = false;
        assert_eq!(count(&job, &[(&c, &none), (&p, &acts)]), 1);
        assert_eq!(count(&job, &[(&p, &acts), (&c, &none)]), 0);
        assert!(warnings(&job, &p, &acts).unwrap().contains("public.c"));
    }

    #[test]
    fn rows_that_the_source_has_no_say_in() {
        let (p, c) = (named("p"), named("c"));
        let of_parent = Effects {
            of_delete: BTreeSet::from([c.clone()]),
            keys: BTreeSet::from([(c.clone(), "c_fkey (ON DELETE CASCADE)".to_owned())]),
            ..Effects::default()
        };
        let of_child = Effects::default();
        let tables = [(&p, &of_parent), (&c, &of_child)];
        assert_eq!(beyond(&tables, |_| None), [""; 0]);
        let kept = |_: &QualifiedName| Some("outside of `where`");
        assert_eq!(
            beyond(&tables, kept),
            [
                "public.c: its rows outside of `where` also change when rows of public.p change, by foreign \
                 key c_fkey (ON DELETE CASCADE)"
            ]
        );
    }
}
