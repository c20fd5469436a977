//! Which of two rows with the same key differ.

use super::source_key;
use crate::catalog::desc::ColumnDesc;
use crate::plan::sql;

/// The condition that two rows differ in the bytes of these columns; None without columns.
///
/// Records are compared by their bytes, but take the server longest: they are only made of columns whose values
/// may be equal and have different bytes. The casts to record keep PostgreSQL from resolving the operator for each
/// column.
pub(super) fn differs<'a>(
    left: &str,
    right: &str,
    columns: impl Iterator<Item = &'a ColumnDesc>,
) -> Option<String> {
    let mut terms = Vec::new();
    let mut others = Vec::new();
    for column in columns {
        let name = column.name.sql();
        let collation = match column.ty.name.name.as_str() {
            // The column's own collation may treat different texts as equal.
            "text" | "varchar" if column.ty.is_builtin() => " COLLATE pg_catalog.\"C\"",
            _ if source_key::equal_is_identical(&column.ty) => "",
            _ => {
                others.push(&column.name);
                continue;
            }
        };
        terms.push(format!(
            "{left}.{name}{collation} IS DISTINCT FROM {right}.{name}{collation}"
        ));
    }
    if !others.is_empty() {
        let row = |of: &str| {
            let list = sql::names(&format!("{of}."), others.iter().copied());
            format!("ROW({list})::pg_catalog.record")
        };
        terms.push(format!(
            "{} OPERATOR(pg_catalog.*<>) {}",
            row(left),
            row(right)
        ));
    }
    (!terms.is_empty()).then(|| format!("({})", terms.join(" OR ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::column;
    use rstest::rstest;

    #[rstest]
    #[case(&[], None)]
    #[case(&["int4"], Some("(l.\"c0\" IS DISTINCT FROM r.\"c0\")"))]
    #[case(&["text"], Some(
        "(l.\"c0\" COLLATE pg_catalog.\"C\" IS DISTINCT FROM r.\"c0\" COLLATE pg_catalog.\"C\")"
    ))]
    #[case(&["numeric", "date", "float8"], Some(
        "(l.\"c1\" IS DISTINCT FROM r.\"c1\" OR \
         ROW(l.\"c0\", l.\"c2\")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(r.\"c0\", r.\"c2\")::pg_catalog.record)"
    ))]
    #[case(&["bpchar"], Some(
        "(ROW(l.\"c0\")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(r.\"c0\")::pg_catalog.record)"
    ))]
    fn rows_differ_in_their_bytes(#[case] types: &[&str], #[case] expected: Option<&str>) {
        let columns: Vec<ColumnDesc> = (0..)
            .zip(types)
            .map(|(at, ty)| column(&format!("c{at}"), ty))
            .collect();
        assert_eq!(differs("l", "r", columns.iter()).as_deref(), expected);
    }
}
