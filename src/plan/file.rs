//! A file as the source of a table. Its columns have the types of the target's columns, because the
//! target's server parses the values.

use crate::catalog::desc::{ColumnDesc, RelationDesc, RelationKind};
use crate::config::spec::{FileInput, TableSpec};
use crate::error::Side;
use crate::files::layout::FileFormat;
use crate::pg::ident::Ident;
use crate::plan::refusal::Refusal;
use crate::wording::nearest;

/// Describes a file for the plan: its columns in their order, with the target's types. `header` is None if
/// columns are paired by position. Columns without a counterpart are refusals.
pub fn describe(
    spec: &TableSpec,
    file: &FileInput,
    header: Option<&[String]>,
    target: &RelationDesc,
    refusals: &mut Vec<Refusal>,
) -> RelationDesc {
    let wanted = wanted(spec, target);
    let columns = match header {
        Some(names) => by_name(spec, file, names, &wanted, target, refusals),
        None => wanted.clone(),
    };
    for name in &file.layout.force_null {
        if columns.iter().all(|column| column.name != *name) {
            let message = format!("`force_null` names column {name}, which the file does not give");
            refusals.push(refuse(file, message).in_column(name));
        }
    }
    let is_old = target.server_version < 150_000;
    if file.layout.format == FileFormat::Text && file.layout.header && is_old {
        let message = "PostgreSQL 14 and older read no header in the text format";
        refusals.push(refuse(file, message).hinted("use CSV, or a file without a header"));
    }
    let columns = columns.into_iter().map(given).collect();
    let (name, monetary) = (target.name.clone(), target.lc_monetary.clone());
    RelationDesc {
        kind: RelationKind::File,
        ..RelationDesc::query(name, target.server_version, columns, monetary)
    }
}

/// The columns to write, in the order in which a file without a header has them.
fn wanted<'t>(spec: &TableSpec, target: &'t RelationDesc) -> Vec<&'t ColumnDesc> {
    match &spec.columns {
        // Names that the target does not have are refused when columns are paired.
        Some(names) => names
            .iter()
            .filter_map(|name| target.column(name))
            .collect(),
        None => {
            let columns = target.columns.iter();
            columns
                .filter(|column| column.generated.is_none())
                .collect()
        }
    }
}

fn by_name<'t>(
    spec: &TableSpec,
    file: &FileInput,
    names: &[String],
    wanted: &[&'t ColumnDesc],
    target: &'t RelationDesc,
    refusals: &mut Vec<Refusal>,
) -> Vec<&'t ColumnDesc> {
    let mut columns: Vec<&ColumnDesc> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let ident = Ident::new(name.as_str());
        if name.is_empty() {
            let message = format!("the header has column {} without a name", at + 1);
            let hint = "take it out of the file: programs write such a column for their own row numbers, or for nothing";
            refusals.push(refuse(file, message).hinted(hint));
            continue;
        }
        if names[..at].contains(name) {
            let message = format!("the header names column {ident} twice");
            refusals.push(refuse(file, message).in_column(&ident));
            continue;
        }
        match target.column(&ident) {
            Some(column) if wanted.iter().any(|one| one.name == column.name) => {
                columns.push(column);
            }
            Some(column) if column.generated.is_some() => {
                let message =
                    format!("the header names column {ident}, which is generated on the target");
                let hint = "leave it out of the file: the target computes it";
                refusals.push(refuse(file, message).in_column(&ident).hinted(hint));
            }
            Some(_) => {
                let message =
                    format!("the header names column {ident}, which `columns` leaves out");
                let hint = "COPY reads all values of a line: name it in `columns`, or take it out of the file";
                refusals.push(refuse(file, message).in_column(&ident).hinted(hint));
            }
            None => {
                let near = like(name, target.columns.iter().map(|c| c.name.as_str()));
                let message = format!(
                    "the header names column {ident}, which {} does not have{}",
                    target.name,
                    meant(near)
                );
                let refusal = refuse(file, message).in_column(&ident);
                refusals.push(match names.len() == 1 && target.columns.len() > 1 {
                    true => refusal.hinted("is `delimiter` right?"),
                    false => refusal.hinted(
                        "a name has to be the column's, in the same case; with `header = false` columns \
                         are paired by position",
                    ),
                });
            }
        }
    }
    for column in wanted {
        if columns.iter().all(|given| given.name != column.name) {
            let near = like(column.name.as_str(), names.iter().map(String::as_str));
            let message = format!("the header lacks column {}{}", column.name, meant(near));
            refusals.push(refuse(file, message).in_column(&column.name).hinted(
                match spec.columns {
                    Some(_) => "take it out of `columns`, or add it to the file",
                    None => "name the columns that are to be written in `columns`; the others get their defaults",
                },
            ));
        }
    }
    columns
}

/// The most similar name, ignoring case.
fn like<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<Ident> {
    let lower = |text: &str| text.trim().to_lowercase();
    let candidates: Vec<(String, &str)> = candidates.map(|text| (lower(text), text)).collect();
    let near = nearest(&lower(name), candidates.iter().map(|(low, _)| low.as_str()))?.to_owned();
    let (_, found) = candidates.into_iter().find(|(low, _)| *low == near)?;
    Some(Ident::new(found))
}

fn meant(near: Option<Ident>) -> String {
    near.map_or(String::new(), |near| format!("; did you mean {near}?"))
}

fn refuse(file: &FileInput, message: impl ToString) -> Refusal {
    Refusal::mismatch(Side::Source, &file.name, message)
}

/// A column of the file: a text that the target parses, or NULL.
fn given(column: &ColumnDesc) -> ColumnDesc {
    ColumnDesc {
        not_null: false,
        has_default: false,
        generated: None,
        identity: None,
        sequences: Vec::new(),
        privileged: true,
        ..column.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::Mode;
    use crate::files::layout::Layout;
    use crate::plan::{self, fixtures};
    use rstest::rstest;

    fn file() -> FileInput {
        FileInput {
            name: "t.csv".to_owned(),
            layout: Layout::new(FileFormat::Csv),
        }
    }

    fn target() -> RelationDesc {
        let mut computed = fixtures::column("total", "int4");
        computed.generated = Some("price * 2".to_owned());
        let columns = [("id", "int4"), ("name", "text"), ("price", "numeric")];
        let columns = columns.map(|(name, ty)| fixtures::column(name, ty));
        fixtures::table("t", columns.into_iter().chain([computed]).collect())
    }

    fn described(
        columns: Option<&[&str]>,
        header: Option<&[&str]>,
    ) -> Result<Vec<String>, Vec<String>> {
        let target = target();
        let mut spec = fixtures::inspected(target.clone(), target.clone()).spec;
        spec.columns = columns.map(|names| names.iter().map(|name| Ident::new(*name)).collect());
        let header: Option<Vec<String>> =
            header.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let mut refusals = Vec::new();
        let desc = describe(&spec, &file(), header.as_deref(), &target, &mut refusals);
        match refusals.is_empty() {
            true => Ok(desc.columns.iter().map(|c| c.name.to_string()).collect()),
            false => Err(refusals.iter().map(ToString::to_string).collect()),
        }
    }

    #[rstest]
    #[case::in_the_files_order(None, Some(&["price", "id", "name"][..]), &["price", "id", "name"])]
    #[case::by_position(None, None, &["id", "name", "price"])]
    #[case::chosen(Some(&["price", "id"][..]), None, &["price", "id"])]
    #[case::chosen_by_name(Some(&["price", "id"][..]), Some(&["id", "price"][..]), &["id", "price"])]
    fn columns_are_paired(
        #[case] columns: Option<&[&str]>,
        #[case] header: Option<&[&str]>,
        #[case] expected: &[&str],
    ) {
        assert_eq!(described(columns, header).unwrap(), expected);
    }

    #[rstest]
    #[case::missing(&["id", "price"], &["t.csv: the header lacks column name"])]
    #[case::unknown(
        &["id", "Name", "price"],
        &["t.csv: the header names column \"Name\", which public.t does not have; did you mean name?",
          "t.csv: the header lacks column name; did you mean \"Name\"?"],
    )]
    #[case::doubled(&["id", "name", "price", "id"], &["t.csv: the header names column id twice"])]
    #[case::no_name(&["", "id", "name", "price"], &["t.csv: the header has column 1 without a name"])]
    #[case::generated(
        &["id", "name", "price", "total"],
        &["t.csv: the header names column total, which is generated on the target"],
    )]
    fn what_does_not_pair_is_named(#[case] header: &[&str], #[case] expected: &[&str]) {
        assert_eq!(described(None, Some(header)).unwrap_err(), expected);
    }

    #[test]
    fn a_plan_reads_the_file_in_its_own_order() {
        let target = target();
        let mut inspected = fixtures::inspected(target.clone(), target.clone());
        let names = ["name", "price", "id"].map(str::to_owned);
        let desc = describe(
            &inspected.spec,
            &file(),
            Some(&names),
            &target,
            &mut Vec::new(),
        );
        inspected.source = Some(desc);
        inspected.spec.input = crate::config::spec::TableInput::File(file());
        let job = fixtures::job(Mode::Truncate);
        let plan = plan::job(
            &job,
            vec![inspected],
            false,
            fixtures::attempt(),
            &Default::default(),
        );
        let plan = plan.unwrap();
        assert_eq!(
            plan.tables[0].copy_in,
            "COPY \"public\".\"t\" (\"name\", \"price\", \"id\") FROM STDIN (FORMAT csv, HEADER true)"
        );
        assert_eq!(plan.tables[0].source, "t.csv");
        let steps = &plan.transactions[0].steps;
        assert!(!steps.contains(&crate::plan::step::Step::EndSnapshot));
    }
}
