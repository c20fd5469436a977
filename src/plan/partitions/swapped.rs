//! `replace = "partitions"` in mode `swap`: each partition of the target that gets rows is a table of the run, which
//! reads the rows within its bounds and replaces the partition. Other partitions are no tables of the run.

use super::replaced::Replaced;
use crate::catalog::constraints::Leaf;
use crate::catalog::desc::{KeyActions, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, PartitionOf, Replace, TableSpec};
use crate::error::{ErrorKind, Side};
use crate::plan::refusal::Refusal;
use crate::plan::setting::Setting;
use crate::plan::staged::types::Partitionless;
use crate::plan::{inheritance, sql, table};

/// The partitions of one table that one run replaces: each is locked with its indexes, and readers wait for all.
pub const SWAPPED_MAX: usize = 200;

/// Finds the partitions of one table that get rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Counting {
    /// The table as the job has it.
    spec: TableSpec,
    /// Its partitions.
    pub leaves: Vec<Leaf>,
    /// Counts the source's rows for each of them.
    pub replaced: Replaced,
    /// Finds rows without a partition, which would be left out; None if each row has one.
    pub partitionless: Option<Partitionless>,
}

/// Does this job replace partitions by other tables?
pub fn is_asked_for(job: &JobSpec) -> bool {
    job.mode == Mode::Swap && job.replace == Replace::Partitions
}

/// Plans it for one table; None after a refusal.
pub fn plan(
    job: &JobSpec,
    inspected: &Inspected,
    same_place: bool,
    refusals: &mut Vec<Refusal>,
) -> Option<Counting> {
    let setting = Setting {
        number: 0,
        same_place,
        shared: None,
        refers_to: Vec::new(),
        targets: &[],
        actions: &KeyActions::default(),
    };
    let before = refusals.len();
    let plan = table::plan(job, inspected, &setting, refusals)?;
    let (replaced, constraints) = (plan.partitions.replaced?, inspected.constraints.as_ref()?);
    if refusals.len() > before {
        return None;
    }
    let mut refuse = |message: String| {
        let message = format!("`replace = \"partitions\"`, but {message}");
        let refusal = Refusal::mismatch(Side::Target, &inspected.spec.target, message);
        refusals.push(refusal.hinted("use `mode = \"truncate\"`"));
    };
    // Each partition's rows are read with a condition on the source's columns.
    let keys = constraints.partition_columns.iter().flatten();
    let computed = |key: &&String| inspected.set.keys().any(|set| set.as_str() == **key);
    if let Some(key) = keys.clone().find(computed) {
        refuse(format!(
            "`set` computes column {key} of its partition key, and the rows of each partition are read on their own"
        ));
        return None;
    }
    let partitionless = match super::fits_none(constraints) {
        None => None,
        Some(_) => match super::on_source(job, inspected, &plan.columns, replaced.select()) {
            Ok(found) => Some(found),
            Err(why) => {
                refuse(why.to_owned());
                return None;
            }
        },
    };
    Some(Counting {
        spec: inspected.spec.clone(),
        leaves: constraints.leaf_tables.clone()?,
        replaced,
        partitionless,
    })
}

/// Refuses what excludes the tables of a job from being written together.
pub fn check(tables: &[Inspected], refusals: &mut Vec<Refusal>) {
    inheritance::check_partitions(tables, refusals);
}

/// Is this a target whose partitions are replaced?
pub fn is_partitioned(inspected: &Inspected) -> bool {
    let target = inspected.target.as_ref();
    target.is_some_and(|target| target.kind == RelationKind::Partitioned)
}

impl Counting {
    /// The tables of the run. `rows` are the source's numbers of rows for each partition, in their order.
    ///
    /// *Errors:* more partitions get rows than one run replaces.
    pub fn tables(&self, rows: &[u64]) -> Result<Vec<TableSpec>, Refusal> {
        tables(&self.spec, &self.leaves, rows)
    }
}

fn tables(spec: &TableSpec, leaves: &[Leaf], rows: &[u64]) -> Result<Vec<TableSpec>, Refusal> {
    let with_rows = leaves.iter().zip(rows).filter(|(_, rows)| **rows > 0);
    let tables: Vec<TableSpec> = with_rows
        .map(|(leaf, rows)| partition(spec, leaf, *rows))
        .collect();
    if tables.len() > SWAPPED_MAX {
        let message = format!(
            "{} partitions get rows, and `swap` replaces at most {SWAPPED_MAX} of a table in one run",
            tables.len()
        );
        let refusal = Refusal::mismatch(Side::Target, &spec.target, message);
        return Err(refusal.hinted("use `mode = \"truncate\"`, or read fewer rows with `where`"));
    }
    Ok(tables)
}

fn partition(spec: &TableSpec, leaf: &Leaf, rows: u64) -> TableSpec {
    let condition = leaf.condition.clone();
    TableSpec {
        target: leaf.table(),
        filter: sql::and(spec.filter.as_deref(), condition.as_deref()),
        create_partitions: false,
        partition: Some(PartitionOf {
            table: spec.target.clone(),
            condition,
            rows,
        }),
        ..spec.clone()
    }
}

/// Refuses a partition whose bounds are others than when its rows were counted.
pub fn moved(inspected: &Inspected) -> Option<Refusal> {
    let counted = inspected.spec.partition.as_ref()?;
    let attached = inspected.attachments.as_ref()?.partition.as_ref();
    let is_same = attached.is_some_and(|now| now.condition == counted.condition);
    (!is_same).then(|| {
        let message = format!(
            "its bounds in {} have changed while the source's rows were counted",
            counted.table
        );
        Refusal::mismatch(Side::Target, &inspected.spec.target, message)
            .of_kind(ErrorKind::Conflict)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::ident::QualifiedName;

    fn leaf(number: usize) -> Leaf {
        let json = serde_json::json!({
            "schema": "public", "name": format!("p{number}"), "is_table": true, "may_truncate": false,
            "condition": (number > 0).then(|| format!("k = {number}")),
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn partitions_that_get_rows_are_tables_that_read_the_rows_within_their_bounds() {
        let spec = TableSpec {
            filter: Some("open -- or".to_owned()),
            create_partitions: true,
            ..TableSpec::whole(&QualifiedName::new("public", "t"))
        };
        let leaves: Vec<Leaf> = (0..=SWAPPED_MAX).map(leaf).collect();
        let mut rows = vec![0; leaves.len()];
        (rows[0], rows[2]) = (7, 1);
        let shown: Vec<_> = tables(&spec, &leaves, &rows)
            .unwrap()
            .into_iter()
            .map(|table| {
                let of = table.partition.unwrap();
                assert_eq!(
                    (table.create_partitions, of.table),
                    (false, spec.target.clone())
                );
                (table.target.to_string(), table.filter.unwrap(), of.rows)
            })
            .collect();
        let expected = [
            ("public.p0", "open -- or", 7),
            ("public.p2", "(open -- or\n) AND (k = 2)", 1),
        ];
        assert_eq!(
            shown,
            expected.map(|(name, filter, rows)| (name.to_owned(), filter.to_owned(), rows))
        );

        let refused = tables(&spec, &leaves, &vec![1; leaves.len()]).unwrap_err();
        assert!(refused.message.contains("201 partitions"), "{refused}");
    }
}
