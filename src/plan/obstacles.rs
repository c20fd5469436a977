//! Properties of the target because of which statements would fail, as refusals and warnings of a plan.

use crate::catalog::obstacles::{Obstacle, ObstacleKind};
use crate::config::spec::{JobSpec, Mode, OnConflict};
use crate::error::Side;
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::refusal::Refusal;

/// Turns obstacles into refusals. If it depends on the rows whether a statement fails, the obstacle is a
/// warning.
pub fn judge(job: &JobSpec, plan: &mut JobPlan, found: &[Obstacle]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for obstacle in found {
        let of_table = |table: &&mut CopyPlan| table.target == obstacle.relation;
        let Some(table) = plan.tables.iter_mut().find(of_table) else {
            continue;
        };
        match judge_one(job, table, obstacle) {
            Judgement::Refused(refusal) => refusals.push(*refusal),
            Judgement::Warned(warning) => table.warnings.push(warning),
            Judgement::Harmless => {}
        }
    }
    refusals
}

enum Judgement {
    Refused(Box<Refusal>),
    Warned(String),
    Harmless,
}

fn judge_one(job: &JobSpec, table: &CopyPlan, obstacle: &Obstacle) -> Judgement {
    let Obstacle { kind, name, .. } = obstacle;
    let refused = |message: String, hint: String| {
        let refusal = Refusal::permission(Side::Target, &table.target, message);
        Judgement::Refused(Box::new(refusal.hinted(hint)))
    };
    match kind {
        ObstacleKind::Function => refused(
            format!(
                "the role lacks EXECUTE on function {name}, which a default, a constraint or an index calls"
            ),
            format!("GRANT EXECUTE ON FUNCTION {name} TO the role of the target"),
        ),
        ObstacleKind::Sequence => refused(
            format!(
                "the role lacks USAGE on sequence {name}, which fills a column that is not copied"
            ),
            format!("GRANT USAGE ON SEQUENCE {name} TO the role of the target"),
        ),
        ObstacleKind::Type if matches!(table.load, Load::Direct) => Judgement::Harmless,
        ObstacleKind::Type => refused(
            format!(
                "the role lacks USAGE on type {name}, and mode `{}` makes a table with it",
                job.mode.as_str()
            ),
            format!("GRANT USAGE ON TYPE {name} TO the role of the target"),
        ),
        ObstacleKind::NoPartition => {
            Judgement::Warned("it has no partition: every row is refused".to_owned())
        }
        // PostgreSQL refuses these statements even if they change no row.
        ObstacleKind::DeletionsPublished if deletes(job, table) => {
            refused_by_publication(table, name, "deletions", "delete from it")
        }
        ObstacleKind::UpdatesPublished if updates(job, table) => {
            refused_by_publication(table, name, "updates", "update it")
        }
        ObstacleKind::UpdatesPublished if job.mode == Mode::Merge => Judgement::Warned(format!(
            "publication {name} publishes its updates, and it has no replica identity: PostgreSQL refuses a run \
             in which a row is updated"
        )),
        ObstacleKind::DeletionsPublished | ObstacleKind::UpdatesPublished => Judgement::Harmless,
    }
}

/// Does `merge` delete rows? It may mark them instead.
fn deletes(job: &JobSpec, table: &CopyPlan) -> bool {
    let spec = job.table.get(&table.target);
    job.mode == Mode::Merge && spec.is_none_or(|spec| spec.on_missing.is_none())
}

/// Does `upsert` update existing rows? It does not if all columns are in the key.
fn updates(job: &JobSpec, table: &CopyPlan) -> bool {
    let spec = job.table.get(&table.target);
    let keeps = spec.is_some_and(|spec| spec.on_conflict == OnConflict::Keep);
    job.mode == Mode::Upsert && !keeps && table.columns.len() > table.comparison.key.len()
}

fn refused_by_publication(table: &CopyPlan, name: &str, what: &str, refused: &str) -> Judgement {
    let message = format!(
        "publication {name} publishes {what}, and the table has no replica identity: PostgreSQL refuses to \
         {refused}"
    );
    let refusal = Refusal::mismatch(Side::Target, &table.target, message).hinted(
        "ALTER TABLE … REPLICA IDENTITY USING INDEX on the index of the key, or add a primary key",
    );
    Judgement::Refused(Box::new(refusal))
}
