//! Decides for each table how the rows that differ are found.

use super::changed::NOT_ASKED;
use super::types::{Staged, StreamPlan, Way};
use crate::config::spec::{Compare, JobSpec};
use crate::error::Side;
use crate::pg::ident::QualifiedName;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::effects::Effects;
use crate::plan::refusal::Refusal;

/// Decides for each table how differences are found, now that it is known what else may change rows.
pub(in crate::plan) fn choose(job: &JobSpec, tables: &mut [CopyPlan], refusals: &mut Vec<Refusal>) {
    let effects: Vec<(QualifiedName, Effects)> = tables
        .iter()
        .filter_map(|table| match &table.load {
            Load::Staged(staged) => Some((table.target.clone(), staged.effects.clone())),
            Load::Direct | Load::Shadow(_) | Load::File(_) => None,
        })
        .collect();
    for table in tables {
        let changed_by = effects.iter().find(|(_, e)| e.may_change(&table.target));
        if changed_by.is_some() {
            // Not every row is compared with the source's after it was written.
            table.marking = None;
        }
        let Load::Staged(staged) = &mut table.load else {
            continue;
        };
        let Some(stream_plan) = staged.stream_plan.take() else {
            continue;
        };
        let (why, is_impossible) = match (stream_plan, changed_by) {
            (Err(why), _) => (why, true),
            (Ok(_), Some((by, _))) => (
                format!("foreign keys, triggers or rules may change its rows when {by} is written"),
                true,
            ),
            (Ok(stream_plan), None) => {
                let way = way(job, &stream_plan);
                let Way::Full { why } = way else {
                    take(table, *stream_plan, way);
                    continue;
                };
                (why, false)
            }
        };
        if job.compare == Compare::Stream && is_impossible {
            let message = format!("`compare = \"stream\"`, but {why}");
            refusals.push(
                Refusal::mismatch(Side::Target, &table.target, message)
                    .hinted("use `compare = \"auto\"`, which finds the way for each table"),
            );
        }
        staged.way = Way::Full { why };
    }
}

/// The way of a table that can be compared by streams.
fn way(job: &JobSpec, stream_plan: &StreamPlan) -> Way {
    let full = |why: &str| Way::Full {
        why: why.to_owned(),
    };
    if !job.may_stream() {
        return full(match job.compare {
            Compare::Full => "`compare = \"full\"` is configured",
            _ => "`upsert` reads the target only where `compare = \"stream\"` is configured",
        });
    }
    let may_use_mark = matches!(job.compare, Compare::Auto | Compare::Changed);
    let why = match &stream_plan.choice.changed {
        Ok(changed) if may_use_mark => return Way::Changed(changed.clone()),
        Err(why) if job.compare == Compare::Changed => Some(why),
        Err(why) if may_use_mark => Some(why).filter(|why| *why != NOT_ASKED),
        Ok(_) | Err(_) => None,
    };
    match (&stream_plan.costly, &stream_plan.staged.way) {
        (Some(costly), _) if job.compare != Compare::Stream => full(costly),
        (_, Way::Stream { stream, .. }) => Way::Stream {
            stream: stream.clone(),
            why: why.cloned(),
        },
        (_, other) => other.clone(),
    }
}

fn take(table: &mut CopyPlan, stream_plan: StreamPlan, way: Way) {
    table.load = Load::Staged(Box::new(Staged {
        way,
        ..stream_plan.staged
    }));
    table.copy_out = stream_plan.copy_out;
    table.copy_in = stream_plan.copy_in;
}
