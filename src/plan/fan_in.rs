//! `source = ["eu", "us"]`: the plans of several sources as one, whose rows are published together.

use super::copy::JobPlan;
use super::step::{Publish, Statement, Step, Transaction};

/// Joins the plans of a job's sources: the target's transaction goes on from source to source, and the last step
/// records the run and publishes all rows.
pub fn join(plans: Vec<JobPlan>) -> Option<JobPlan> {
    let mut plans = plans.into_iter();
    let mut joined = plans.next()?;
    if plans.len() == 0 {
        return Some(joined);
    }
    let of_first = 0..joined.tables.len();
    let mut last = Transaction {
        source: 0,
        tables: of_first,
        steps: vec![Step::Record],
        publish: Publish::Commit,
        after: Vec::new(),
        after_commit: Vec::new(),
        joins: true,
    };
    for transaction in &mut joined.transactions {
        let steps = std::mem::take(&mut transaction.steps).into_iter();
        let (ending, steps): (Vec<Step>, Vec<Step>) = steps.partition(is_before_commit);
        transaction.steps = steps;
        transaction.steps.retain(|step| *step != Step::Record);
        last.steps.extend(ending);
        last.after_commit.append(&mut transaction.after_commit);
        transaction.publish = Publish::GoOn;
        last.after.append(&mut transaction.after);
    }
    for (source, plan) in (1..).zip(plans) {
        let offset = joined.tables.len();
        joined.tables.extend(plan.tables);
        joined.snapshot.extend(plan.snapshot);
        let new = plan.warnings.into_iter();
        let new: Vec<String> = new.filter(|text| !joined.warnings.contains(text)).collect();
        joined.warnings.extend(new);
        joined.seen_locks.source.extend(plan.seen_locks.source);
        for transaction in plan.transactions {
            // The user's own statements run once.
            let begins = |step: &Step| {
                let done = [Step::Begin, Step::LockJob, Step::Record];
                done.contains(step) || matches!(step, Step::Hooks(_))
            };
            let steps = transaction.steps.into_iter().filter(|step| !begins(step));
            joined.transactions.push(Transaction {
                source,
                tables: transaction.tables.start + offset..transaction.tables.end + offset,
                steps: steps.map(|step| moved(step, offset)).collect(),
                publish: Publish::GoOn,
                after: Vec::new(),
                after_commit: Vec::new(),
                joins: false,
            });
        }
    }
    joined.transactions.push(last);
    Some(joined)
}

/// Are these the user's own statements at the end?
fn is_before_commit(step: &Step) -> bool {
    match step {
        Step::Hooks(hooks) => hooks.iter().any(|hook| hook.place.0 == "before_commit"),
        _ => false,
    }
}

/// The same step of tables that are further behind.
fn moved(step: Step, offset: usize) -> Step {
    let moved = |statement: Statement| Statement {
        table: statement.table.map(|at| at + offset),
        ..statement
    };
    match step {
        Step::Create(statement) => Step::Create(moved(statement)),
        Step::Statement(statement) => Step::Statement(moved(statement)),
        Step::MoveSequence(statement) => Step::MoveSequence(moved(statement)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::desc::KeyActions;
    use crate::config::spec::Mode;
    use crate::plan::fixtures::{self, column, inspected, table};

    fn plan() -> JobPlan {
        let entry = |name: &str| {
            let described = || table(name, vec![column("id", "int4")]);
            inspected(described(), described())
        };
        let job = fixtures::job(Mode::Append);
        let tables = vec![entry("a"), entry("b")];
        let attempt = fixtures::attempt();
        crate::plan::job(&job, tables, false, attempt, &KeyActions::default()).unwrap()
    }

    #[test]
    fn one_transaction_begins_goes_on_and_records() {
        assert_eq!(join(Vec::new()), None);
        assert_eq!(join(vec![plan()]), Some(plan()));

        let joined = join(vec![plan(), plan(), plan()]).unwrap();

        assert_eq!(joined.tables.len(), 6);
        let shown = joined.transactions.iter().map(|transaction| {
            let has = |step: Step| transaction.steps.contains(&step);
            (
                transaction.source,
                transaction.tables.clone(),
                (
                    has(Step::Begin),
                    has(Step::LockJob),
                    has(Step::Copy),
                    has(Step::Record),
                ),
                transaction.publish,
                transaction.after.len(),
            )
        });
        let goes_on = |source, tables, begins| {
            (
                source,
                tables,
                (begins, begins, true, false),
                Publish::GoOn,
                0,
            )
        };
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                goes_on(0, 0..2, true),
                goes_on(1, 2..4, false),
                goes_on(2, 4..6, false),
                (0, 0..2, (false, false, false, true), Publish::Commit, 2),
            ]
        );
    }
}
