//! ANALYZE after publishing: of tables of which so many rows have changed that autovacuum would run it, too.

use crate::config::spec::Mode;
use crate::error::{Phase, Result};
use crate::pg::param::Param;
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::report::TableReport;

/// Autovacuum never looks at a partitioned table. What this session has changed is perhaps not counted yet, so
/// `$3` adds it; counted twice, it only makes ANALYZE come early.
const ARE_STALE: &str = "\
SELECT c.relkind <> 'r' \
    OR pg_catalog.pg_stat_get_last_analyze_time(c.oid) IS NULL \
       AND pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid) IS NULL \
    OR pg_catalog.pg_stat_get_mod_since_analyze(c.oid) + $3 \
       > pg_catalog.current_setting('autovacuum_analyze_threshold')::pg_catalog.int8 \
       + pg_catalog.current_setting('autovacuum_analyze_scale_factor')::pg_catalog.float8 * c.reltuples \
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE n.nspname = $1 AND c.relname = $2";

/// Does the table need ANALYZE after this run? `report` says what the run has changed.
pub(super) async fn are_stale(
    target: &Session,
    table: &CopyPlan,
    report: &TableReport,
) -> Result<bool> {
    if report.is_unchanged() {
        return Ok(false);
    }
    if !matches!(report.mode, Mode::Append | Mode::Merge | Mode::Upsert) {
        return Ok(true);
    }
    let name = &table.target;
    let (schema, name) = (name.schema.as_str(), name.name.as_str());
    let changed = i64::try_from(report.rows_changed()).unwrap_or(i64::MAX / 2);
    let parameters: [&dyn Param; 3] = [&schema, &name, &changed];
    let rows = target.query(Phase::After, ARE_STALE, &parameters).await?;
    // A table that is gone gets ANALYZE's error.
    Ok(rows.first().is_none_or(|row| row.get(0)))
}
