//! What a job may do, and every reason why not.

use rstest::rstest;

use super::*;
use crate::catalog::desc::{ColumnDesc, ColumnSequence};
use crate::config::spec::{FormatChoice, TableInput};
use crate::pg::ident::Ident;
use crate::plan::copy::{CopyFormat, FormatReason};
use crate::plan::fixtures::{self, column, inspected, table};

/// One table with the columns `id int4, name text` on both sides, after a change.
pub(super) fn entry(change: impl FnOnce(&mut Inspected)) -> Inspected {
    let made = |name: &str| table(name, vec![column("id", "int4"), column("name", "text")]);
    let mut entry = inspected(made("t"), made("t"));
    change(&mut entry);
    entry
}

pub(super) fn source(entry: &mut Inspected) -> &mut RelationDesc {
    entry.source.as_mut().unwrap()
}

pub(super) fn target(entry: &mut Inspected) -> &mut RelationDesc {
    entry.target.as_mut().unwrap()
}

pub(super) fn plan(mode: Mode, tables: Vec<Inspected>) -> Result<JobPlan, Vec<Refusal>> {
    job(
        &fixtures::job(mode),
        tables,
        false,
        fixtures::attempt(),
        &KeyActions::default(),
    )
}

fn reasons(result: Result<JobPlan, Vec<Refusal>>) -> Vec<String> {
    match result {
        Ok(plan) => panic!("planned: {plan:?}"),
        Err(refusals) => refusals.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn named(text: &str) -> Ident {
    Ident::new(text)
}

fn key(from: &str, to: &str, deferrable: bool) -> ForeignKey {
    ForeignKey {
        name: format!("{from}_{to}_fkey"),
        from: QualifiedName::new("public", from),
        to: QualifiedName::new("public", to),
        from_ancestors: Vec::new(),
        deferrable,
    }
}

#[rstest]
#[case::missing_target(|e: &mut Inspected| e.target = None, "public.t: does not exist on the target")]
#[case::missing_source(|e: &mut Inspected| e.source = None, "public.t: does not exist on the source")]
#[case::type_differs(
    |e: &mut Inspected| source(e).columns[0] = column("id", "uuid"),
    "public.t.id: uuid → int4: no COPY format carries one into the other"
)]
#[case::lossy(
    |e: &mut Inspected| target(e).columns[1] = column("name", "varchar(3)"),
    "public.t.name: text → varchar(3): blanks after 3 characters get cut"
)]
#[case::not_filled(
    |e: &mut Inspected| target(e).columns.push(ColumnDesc { not_null: true, ..column("x", "int4") }),
    "public.t: column x is NOT NULL without a default, and the source public.t does not give it"
)]
#[case::unknown_column(
    |e: &mut Inspected| e.spec.columns = Some(vec![named("id"), named("nope")]),
    "public.t: `columns` names column nope, which the target does not have"
)]
#[case::column_not_in_source(
    |e: &mut Inspected| { source(e).columns.pop(); e.spec.columns = Some(vec![named("name")]); },
    "public.t: the source public.t has no column name"
)]
#[case::unknown_set(
    |e: &mut Inspected| { e.spec.set.insert(named("nope"), "1".to_owned()); },
    "public.t: `set` names column nope, which the target does not have"
)]
#[case::set_generated(
    |e: &mut Inspected| {
        target(e).columns[1].generated = true;
        e.spec.set.insert(named("name"), "1".to_owned());
    },
    "public.t: column name is generated and cannot be written"
)]
#[case::nothing_in_common(
    |e: &mut Inspected| source(e).columns = vec![column("other", "int4")],
    "public.t: the source public.t has no column in common with it"
)]
#[case::view(
    |e: &mut Inspected| target(e).kind = RelationKind::View,
    "public.t: the target is a view: only tables are written"
)]
#[case::foreign(
    |e: &mut Inspected| target(e).kind = RelationKind::Foreign,
    "public.t: the target is a foreign table: only tables are written"
)]
#[case::rules(
    |e: &mut Inspected| target(e).rules = vec!["r".to_owned()],
    "public.t: the target has rules, which COPY ignores: r"
)]
#[case::source_rls(
    |e: &mut Inspected| source(e).row_security_applies = true,
    "public.t: row security applies to the source's role, which would read only some rows"
)]
#[case::target_rls(
    |e: &mut Inspected| target(e).row_security_applies = true,
    "public.t: row security applies to the target's role, and PostgreSQL refuses COPY FROM then"
)]
#[case::no_truncate(
    |e: &mut Inspected| target(e).privileges.truncate = false,
    "public.t: the role lacks TRUNCATE"
)]
#[case::no_usage(
    |e: &mut Inspected| target(e).privileges.usage = false,
    "public.t: the role lacks USAGE on schema public"
)]
#[case::no_select(
    |e: &mut Inspected| {
        source(e).privileges.select = false;
        source(e).columns.iter_mut().for_each(|column| column.privileged = false);
    },
    "public.t: the role lacks SELECT"
)]
#[case::no_insert_on_one_column(
    |e: &mut Inspected| {
        target(e).privileges.insert = false;
        target(e).columns[1].privileged = false;
    },
    "public.t: the role lacks INSERT on column name"
)]
#[case::sequence(
    |e: &mut Inspected| {
        target(e).columns[0].sequences = vec![ColumnSequence {
            name: QualifiedName::new("public", "t_id_seq"),
            may_set: false,
        }];
    },
    "public.t: the role cannot move sequence public.t_id_seq of column id"
)]
#[case::column_of_a_query_misspelled(
    |e: &mut Inspected| {
        source(e).kind = RelationKind::Query;
        e.spec.input = TableInput::Query("SELECT id, nam FROM public.t".to_owned());
        source(e).columns[1].name = Ident::new("nam");
    },
    "public.t: the query gives column nam, which the target does not have; did you mean name?"
)]
#[case::column_of_a_query_for_nobody(
    |e: &mut Inspected| {
        source(e).kind = RelationKind::Query;
        source(e).columns.push(column("total", "int4"));
    },
    "public.t: the query gives column total, which the target does not have"
)]
#[case::referenced(
    |e: &mut Inspected| target(e).referenced_by = vec![key("orders", "t", false)],
    "public.t: cannot be truncated: public.orders refers to it by foreign key orders_t_fkey"
)]
fn each_of_these_is_a_reason(#[case] change: fn(&mut Inspected), #[case] expected: &str) {
    assert_eq!(
        reasons(plan(Mode::Truncate, vec![entry(change)])),
        [expected]
    );
}

#[rstest]
#[case::in_where(|e: &mut Inspected| e.spec.filter = Some("Total > 5".to_owned()))]
#[case::in_set(|e: &mut Inspected| drop(e.spec.set.insert(Ident::new("name"), "total::text".to_owned())))]
#[case::columns_are_named(|e: &mut Inspected| e.spec.columns = Some(vec![Ident::new("id")]))]
fn a_querys_column_may_be_there_for_something_else(#[case] change: fn(&mut Inspected)) {
    let planned = plan(
        Mode::Append,
        vec![entry(|e| {
            source(e).kind = RelationKind::Query;
            source(e).columns.push(column("total", "int4"));
            e.set.insert(Ident::new("name"), column("name", "text"));
            change(e);
        })],
    );
    assert!(planned.is_ok(), "{:?}", reasons(planned));
}

#[test]
fn all_reasons_of_all_tables_are_reported_at_once() {
    let mut first = entry(|e| {
        source(e).columns = vec![column("id", "uuid"), column("name", "bytea")];
        target(e).rules = vec!["r".to_owned()];
    });
    first.spec.target = QualifiedName::new("public", "t");
    let second = entry(|e| {
        e.spec.target = QualifiedName::new("public", "u");
        e.target = None;
    });
    let refusals = plan(Mode::Append, vec![first, second]).unwrap_err();
    assert_eq!(refusals.len(), 4, "{refusals:?}");
    let columns: Vec<_> = refusals
        .iter()
        .filter_map(|r| r.column.as_deref())
        .collect();
    assert_eq!(columns, ["id", "name"]);
    let error = crate::plan::to_error(&refusals);
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    for refusal in &refusals {
        assert!(error.to_string().contains(&refusal.to_string()), "{error}");
    }
}

#[test]
fn one_table_cannot_be_its_own_target_nor_a_target_twice() {
    let itself = job(
        &fixtures::job(Mode::Append),
        vec![entry(|_| {})],
        true,
        fixtures::attempt(),
        &KeyActions::default(),
    );
    assert_eq!(
        reasons(itself),
        ["public.t: source and target are one and the same table"]
    );
    let twice = plan(Mode::Append, vec![entry(|_| {}), entry(|_| {})]);
    assert_eq!(
        reasons(twice),
        ["public.t: is the target of two entries of the job"]
    );
}

#[test]
fn lossy_pairs_are_copied_where_that_is_asked_for_and_said() {
    let plan = plan(
        Mode::Append,
        vec![entry(|e| {
            target(e).columns[1] = column("name", "varchar(3)");
            e.spec.lossy = true;
        })],
    );
    let table = &plan.unwrap().tables[0];
    assert_eq!(table.format, CopyFormat::Binary);
    assert!(
        table.warnings[0].contains("get cut"),
        "{:?}",
        table.warnings
    );
}

#[rstest]
#[case(FormatChoice::Auto, Ok(true))]
#[case(FormatChoice::Text, Ok(false))]
#[case(
    FormatChoice::Binary,
    Err("public.t: `format = \"binary\"`, but id: int4 → int8 differs in its binary form")
)]
fn the_formats_that_a_job_allows(
    #[case] choice: FormatChoice,
    #[case] expected: Result<bool, &str>,
) {
    let mut spec = fixtures::job(Mode::Append);
    spec.format = choice;
    let entry = entry(|e| target(e).columns[0] = column("id", "int8"));
    match (
        job(
            &spec,
            vec![entry],
            false,
            fixtures::attempt(),
            &KeyActions::default(),
        ),
        expected,
    ) {
        (Ok(plan), Ok(differs)) => {
            let CopyFormat::Text(reason) = &plan.tables[0].format else {
                panic!()
            };
            assert_eq!(matches!(reason, FormatReason::TypeDiffers { .. }), differs);
            assert!(plan.tables[0].copy_in.ends_with("(FORMAT text)"));
        }
        (refused, Err(expected)) => assert_eq!(reasons(refused), [expected]),
        (Err(refusals), Ok(_)) => panic!("{refusals:?}"),
    }
}

/// Tables of one column, with these foreign keys on the target.
fn linked(names: &[&str], keys: &[(&str, &str, bool)]) -> Vec<Inspected> {
    names
        .iter()
        .map(|name| {
            let made = table(name, vec![column("id", "int4")]);
            let mut entry = inspected(made.clone(), made);
            for (from, to, deferrable) in keys {
                let key = key(from, to, *deferrable);
                if from == name {
                    target(&mut entry).foreign_keys.push(key.clone());
                }
                if to == name {
                    target(&mut entry).referenced_by.push(key);
                }
            }
            entry
        })
        .collect()
}

#[rstest]
#[case(&["a", "b", "c"], &[], "a b c", false, 0)]
#[case(&["a", "b", "c"], &[("a", "b", false), ("b", "c", false)], "c b a", false, 0)]
#[case(&["a", "b"], &[("a", "a", false)], "a b", false, 0)]
#[case(&["a", "b"], &[("a", "outside", false)], "a b", false, 0)]
#[case(&["a", "b"], &[("a", "b", true), ("b", "a", false)], "a b", true, 1)]
#[case(&["a", "b"], &[("a", "b", false), ("b", "a", false)], "a b", false, 1)]
#[case(&["x", "a", "b"], &[("x", "b", false), ("a", "b", false), ("b", "a", false)], "a b x", false, 1)]
fn referenced_tables_come_first(
    #[case] names: &[&str],
    #[case] keys: &[(&str, &str, bool)],
    #[case] expected: &str,
    #[case] deferred: bool,
    #[case] warnings: usize,
) {
    let plan = plan(Mode::Truncate, linked(names, keys)).unwrap();
    let order: Vec<_> = plan
        .tables
        .iter()
        .map(|table| table.target.name.as_str())
        .collect();
    assert_eq!(order.join(" "), expected);
    assert_eq!(plan.defer.is_some(), deferred);
    assert_eq!(plan.warnings.len(), warnings, "{:?}", plan.warnings);
}

#[test]
fn a_partition_is_truncated_with_its_parent() {
    let mut entries = linked(&["parent", "referred"], &[]);
    let mut from_partition = key("parent_1", "referred", false);
    from_partition.from_ancestors = vec![QualifiedName::new("public", "parent")];
    target(&mut entries[1]).referenced_by.push(from_partition);
    assert!(plan(Mode::Truncate, entries).is_ok());
}

#[test]
fn skipping_triggers_takes_a_privilege_and_says_what_else_is_skipped() {
    let mut spec = fixtures::job(Mode::Append);
    spec.triggers = Triggers::Skip;
    let mut entries = linked(&["a", "b"], &[("a", "b", false), ("b", "a", false)]);
    let plan = job(
        &spec,
        entries.clone(),
        false,
        fixtures::attempt(),
        &KeyActions::default(),
    )
    .unwrap();
    assert_eq!((plan.defer, plan.warnings.len()), (None, 0));
    assert!(plan.tables[0].warnings[0].contains("also skips foreign keys"));
    target(&mut entries[0]).privileges.skip_triggers = false;
    let refusals = job(
        &spec,
        entries,
        false,
        fixtures::attempt(),
        &KeyActions::default(),
    )
    .unwrap_err();
    assert_eq!(
        (refusals.len(), refusals[0].kind),
        (1, ErrorKind::Permission)
    );
}

#[test]
fn a_warning_names_its_tables_and_is_said_once() {
    let no_analyze = |name: &str| {
        let made = || table(name, vec![column("id", "int4")]);
        let mut entry = inspected(made(), made());
        target(&mut entry).privileges.analyze = false;
        entry
    };
    let warnings = |tables: usize| {
        let entries = (0..tables).map(|at| no_analyze(&format!("t{at}")));
        let planned = plan(Mode::Append, entries.collect()).unwrap();
        planned.all_warnings()
    };
    let text = "ANALYZE is skipped: the role may not";
    assert_eq!(warnings(1), [format!("public.t0: {text}")]);
    assert_eq!(warnings(2), [format!("public.t0, public.t1: {text}")]);
    let many = warnings(25);
    assert_eq!(many.len(), 1);
    assert!(
        many[0].ends_with(&format!("public.t19 and 5 more: {text}")),
        "{many:?}"
    );
}
