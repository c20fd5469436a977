//! Columns of the target that the run itself fills (`on_missing`, `synced_at`), and columns that are set only when a
//! row is inserted (`insert_only`).

use crate::catalog::desc::{ColumnDesc, RelationDesc, TypeDesc, TypeShape};
use crate::config::spec::{Mode, TableSpec};
use crate::error::Side;
use crate::pg::ident::Ident;
use crate::plan::columns::ColumnPair;
use crate::plan::pairs;
use crate::plan::refusal::Refusal;

/// Refuses columns that cannot have these roles.
pub fn check(
    mode: Mode,
    spec: &TableSpec,
    (source, target): (&RelationDesc, &RelationDesc),
    pairs: &[ColumnPair<'_>],
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) {
    for (key, name) in spec.own_columns() {
        match own(spec, target, key, name) {
            Err(refusal) => refusals.push(refusal),
            Ok(()) if source.column(name).is_some() => {
                warnings.push(format!("column {name} is not copied: `{key}` sets it"));
            }
            Ok(()) => {}
        }
    }
    if let Some((column, _)) = &spec.source_value
        && mode.compares()
        && !is_in_key(spec, target, column)
    {
        let message = format!("`source_column` {column} is not in the key");
        refusals.push(refusal(target, column, message).hinted(
            "the key is this column and what identifies a row of a source: make that the primary key",
        ));
    }
    if let (Some(missing), Some(synced)) = (&spec.on_missing, &spec.synced_at)
        && missing == synced
    {
        let message = format!("`on_missing` and `synced_at` both name column {missing}");
        refusals.push(refusal(target, missing, message));
    }
    for name in &spec.insert_only {
        let is_copied = pairs.iter().any(|pair| pair.target.name == *name);
        let why = match target.column(name) {
            None => "which the target does not have",
            Some(_) if is_in_key(spec, target, name) => "which is in the key",
            Some(_) if !is_copied => "which is not copied",
            Some(_) => continue,
        };
        let message = format!("`insert_only` names column {name}, {why}");
        refusals.push(refusal(target, name, message));
    }
}

fn own(spec: &TableSpec, target: &RelationDesc, key: &str, name: &Ident) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        let message = format!("`{key}` names column {name}, {why}");
        refusal(target, name, message)
    };
    let Some(column) = target.column(name) else {
        return Err(refuse("which the target does not have").hinted(format!(
            "ALTER TABLE {} ADD COLUMN {name} timestamptz on the target",
            target.name
        )));
    };
    let is_named = spec.columns.iter().flatten().any(|named| named == name);
    if is_in_key(spec, target, name) {
        return Err(refuse("which is in the key"));
    }
    if is_named || spec.set.contains_key(name) {
        let hint = "leave it out of `columns` and `set`: the run sets it";
        return Err(refuse("which is copied from the source").hinted(hint));
    }
    if column.generated.is_some() {
        return Err(refuse("which is generated"));
    }
    if !is_timestamp(column) {
        let why = format!("whose type is {}", column.type_text);
        return Err(refuse(&why).hinted("it takes timestamp or timestamp with time zone"));
    }
    if key == "on_missing" && column.not_null {
        return Err(refuse("which is NOT NULL")
            .hinted("NULL means that the source has the row: ALTER TABLE … DROP NOT NULL"));
    }
    if !target.privileges.insert && !column.privileged {
        let message = format!("the role lacks INSERT on column {name}, which `{key}` sets");
        return Err(Refusal::permission(Side::Target, &target.name, message)
            .in_column(name)
            .hinted(format!(
                "GRANT INSERT ON {} TO the role of the target",
                target.name
            )));
    }
    Ok(())
}

fn refusal(target: &RelationDesc, column: &Ident, message: String) -> Refusal {
    Refusal::mismatch(Side::Target, &target.name, message).in_column(column)
}

fn is_in_key(spec: &TableSpec, target: &RelationDesc, name: &Ident) -> bool {
    let key = spec.key.as_ref().unwrap_or(&target.primary_key);
    key.contains(name)
}

fn is_timestamp(column: &ColumnDesc) -> bool {
    fn innermost(ty: &TypeDesc) -> &TypeDesc {
        match &ty.shape {
            TypeShape::Domain { base, .. } => innermost(base),
            _ => ty,
        }
    }
    matches!(
        pairs::key(innermost(&column.ty)),
        Some("timestamp" | "timestamptz")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{column, inspected, table};
    use rstest::rstest;

    fn none(_: &mut TableSpec, _: &mut RelationDesc) {}

    #[rstest]
    #[case::right("gone_at", "synced", &["note"], none, "")]
    #[case::missing("nope", "synced", &[], none, "`on_missing` names column nope, which the target does not have")]
    #[case::in_key("gone_at", "id", &[], none, "`synced_at` names column id, which is in the key")]
    #[case::type_("note", "synced", &[], none, "`on_missing` names column note, whose type is text")]
    #[case::same("gone_at", "gone_at", &[], none, "`on_missing` and `synced_at` both name column gone_at")]
    #[case::not_null("gone_at", "synced", &[], |_: &mut TableSpec, t: &mut RelationDesc| t.columns[2].not_null = true, "`on_missing` names column gone_at, which is NOT NULL")]
    #[case::synced_not_null("gone_at", "synced", &[], |_: &mut TableSpec, t: &mut RelationDesc| t.columns[3].not_null = true, "")]
    #[case::generated("gone_at", "synced", &[], |_: &mut TableSpec, t: &mut RelationDesc| t.columns[2].generated = Some("now()".to_owned()), "`on_missing` names column gone_at, which is generated")]
    #[case::copied("gone_at", "synced", &[], |s: &mut TableSpec, _: &mut RelationDesc| s.columns = Some(vec![Ident::new("gone_at")]), "`on_missing` names column gone_at, which is copied")]
    #[case::set("gone_at", "synced", &[], |s: &mut TableSpec, _: &mut RelationDesc| { s.set.insert(Ident::new("synced"), "1".to_owned()); }, "`synced_at` names column synced, which is copied")]
    #[case::privilege("gone_at", "synced", &[], |_: &mut TableSpec, t: &mut RelationDesc| { t.privileges.insert = false; t.columns[3].privileged = false; }, "lacks INSERT on column synced")]
    #[case::insert_only_unknown("gone_at", "synced", &["nope"], none, "`insert_only` names column nope, which the target does not have")]
    #[case::insert_only_in_key("gone_at", "synced", &["id"], none, "`insert_only` names column id, which is in the key")]
    #[case::insert_only_own("gone_at", "synced", &["synced"], none, "`insert_only` names column synced, which is not copied")]
    fn columns_that_cannot_have_the_role_are_refused(
        #[case] missing: &str,
        #[case] synced: &str,
        #[case] insert_only: &[&str],
        #[case] change: fn(&mut TableSpec, &mut RelationDesc),
        #[case] expected: &str,
    ) {
        let columns = [
            "id int4",
            "note text",
            "gone_at timestamptz",
            "synced timestamp",
        ];
        let columns = columns.map(|text| text.split_once(' ').unwrap());
        let described = |count: usize| {
            let columns = columns.iter().take(count);
            table("t", columns.map(|(name, ty)| column(name, ty)).collect())
        };
        let mut entry = inspected(described(2), described(4));
        let spec = &mut entry.spec;
        spec.on_missing = Some(Ident::new(missing));
        spec.synced_at = Some(Ident::new(synced));
        spec.insert_only = insert_only.iter().map(|name| Ident::new(*name)).collect();
        spec.key = Some(vec![Ident::new("id")]);
        let (source, mut target) = (entry.source.unwrap(), entry.target.unwrap());
        change(spec, &mut target);
        let pairs: Vec<ColumnPair<'_>> = source
            .columns
            .iter()
            .zip(&target.columns)
            .map(|(source, target)| ColumnPair {
                source,
                target,
                expression: None,
            })
            .collect();
        let (mut refusals, mut warnings) = (Vec::new(), Vec::new());
        check(
            Mode::Merge,
            spec,
            (&source, &target),
            &pairs,
            &mut refusals,
            &mut warnings,
        );
        let said: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        match expected {
            "" => assert_eq!(said, [] as [String; 0]),
            part => assert!(said.len() == 1 && said[0].contains(part), "{said:?}"),
        }
    }
}
