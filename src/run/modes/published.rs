//! With `atomic = false`, tables that earlier transactions of the run have published: nothing compares them again.

use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;

/// The first table of `$1` to which the open transaction has written, or into one of whose partitions: a write locks
/// its table until the transaction ends, and the run itself writes to other tables.
const WRITTEN_SQL: &str = "\
    SELECT (SELECT t.name FROM pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json) \
        WITH ORDINALITY AS t (name, n) \
    WHERE EXISTS (SELECT FROM pg_catalog.pg_locks AS l \
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.mode IN \
            ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
            AND (l.relation = pg_catalog.to_regclass(t.name)::pg_catalog.oid OR EXISTS (SELECT FROM \
                pg_catalog.pg_partition_ancestors(l.relation::pg_catalog.regclass) AS a (relid) \
                WHERE a.relid = pg_catalog.to_regclass(t.name)))) \
    ORDER BY t.n LIMIT 1)";

/// Refuses a transaction whose triggers or rules wrote to `published`.
///
/// *Errors:* `DataRejected`: whether the rows are still the source's could only be told from their staging tables,
/// which are gone.
pub(super) async fn check_untouched(
    target: &Session,
    tables: &[CopyPlan],
    published: &[CopyPlan],
) -> Result<()> {
    if published.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = published.iter().map(|table| table.target.sql()).collect();
    let names = serde_json::Value::from(names.clone()).to_string();
    let what = "the tables that triggers or rules wrote to";
    let row = target
        .one_row(Phase::Gate, what, WRITTEN_SQL, &[&names])
        .await?;
    let Some(written) = row.get::<Option<String>>(0)? else {
        return Ok(());
    };
    let table = published.iter().find(|table| table.target.sql() == written);
    let by: Vec<String> = tables
        .iter()
        .map(|table| table.target.to_string())
        .collect();
    let message = format!(
        "triggers or rules that fired for {} wrote to it after the run had published it",
        by.join(", ")
    );
    let mut error = Error::new(ErrorKind::DataRejected, Phase::Publish, Side::Target, message)
        .at(target.server())
        .hinted(
            "use `atomic = true`, which compares all tables at the end; `triggers = \"skip\"` leaves triggers out, \
             `verify = \"none\"` accepts what they do",
        );
    if let Some(table) = table {
        error = error.on(&table.target);
    }
    Err(error)
}
