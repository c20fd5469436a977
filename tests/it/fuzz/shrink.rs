//! Makes a case that fails smaller, one step at a time, as long as it fails in the same way.

use super::case::{Act, Case, Place};
use super::oracle::Violation;
use super::stage::Stage;

/// One thing less.
type Step = Box<dyn Fn(&mut Case)>;

/// The smallest case that still fails as it did first, after so many tries.
pub fn shrink(stage: &mut Stage, case: &Case, first: &Violation, tries_max: u32) -> Case {
    let mut smallest = case.clone();
    let mut tries = 0;
    loop {
        let size_before = size(&smallest);
        let mut at = 0;
        loop {
            let steps = steps(&smallest);
            let Some(step) = steps.get(at) else {
                break;
            };
            if tries >= tries_max {
                return smallest;
            }
            tries += 1;
            let mut candidate = smallest.clone();
            step(&mut candidate);
            let fails = stage.play(&candidate).and_then(|played| played.violation);
            if fails.is_some_and(|violation| violation.is_like(first)) {
                // The steps after this one have moved to its place.
                smallest = candidate;
            } else {
                at += 1;
            }
        }
        if size(&smallest) == size_before {
            return smallest;
        }
    }
}

fn size(case: &Case) -> usize {
    case.to_string().len()
}

/// Everything that may be left out, the large things first.
fn steps(case: &Case) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for at in 0..case.acts.len() {
        steps.push(Box::new(move |case| {
            case.acts.remove(at);
        }));
    }
    let mut names: Vec<String> = Vec::new();
    for place in [Place::Source, Place::Target] {
        for table in &case.schema(place).tables {
            if !names.contains(&table.name) {
                names.push(table.name.clone());
            }
        }
    }
    for name in names {
        steps.push(Box::new(move |case| drop_table(case, &name)));
    }
    for place in [Place::Source, Place::Target] {
        rows_steps(case, place, &mut steps);
        for at in 0..case.schema(place).extras.len() {
            steps.push(Box::new(move |case| {
                case.schema_mut(place).extras.remove(at);
            }));
        }
        table_steps(case, place, &mut steps);
    }
    job_steps(case, &mut steps);
    steps
}

fn drop_table(case: &mut Case, name: &str) {
    for place in [Place::Source, Place::Target] {
        let schema = case.schema_mut(place);
        let tree = schema.tree(name);
        schema.tables.retain(|table| !tree.contains(&table.name));
        schema.extras.retain(|extra| extra.table != name);
        for table in &mut schema.tables {
            table.foreign.retain(|foreign| foreign.table != name);
        }
        case.rows_mut(place).retain(|rows| rows.table != name);
    }
    for act in &mut case.acts {
        if let Act::Run(job, _) = act {
            job.tables.retain(|entry| entry.target != name);
        }
    }
}

/// Halves and single rows.
fn rows_steps(case: &Case, place: Place, steps: &mut Vec<Step>) {
    for (n, rows) in case.rows(place).iter().enumerate() {
        let count = rows.values.len();
        let mut chunk = count;
        while chunk > 0 {
            let mut from = 0;
            while from < count {
                let to = (from + chunk).min(count);
                steps.push(Box::new(move |case| {
                    case.rows_mut(place)[n].values.drain(from..to);
                }));
                from = to;
            }
            chunk = if chunk > 8 { chunk / 3 } else { chunk / 2 };
        }
    }
}

fn table_steps(case: &Case, place: Place, steps: &mut Vec<Step>) {
    for (n, table) in case.schema(place).tables.iter().enumerate() {
        for at in 0..table.foreign.len() {
            steps.push(Box::new(move |case| {
                case.schema_mut(place).tables[n].foreign.remove(at);
            }));
        }
        for at in 0..table.keys.len() {
            steps.push(Box::new(move |case| {
                case.schema_mut(place).tables[n].keys.remove(at);
            }));
        }
        for column in &table.columns {
            let (table, column) = (table.name.clone(), column.name.clone());
            steps.push(Box::new(move |case| {
                for place in [Place::Source, Place::Target] {
                    for name in case.schema(place).tree(&table) {
                        if let Some(table) = case.schema_mut(place).table_mut(&name) {
                            table.columns.retain(|other| other.name != column);
                        }
                    }
                }
            }));
        }
    }
}

fn job_steps(case: &Case, steps: &mut Vec<Step>) {
    for (n, act) in case.acts.iter().enumerate() {
        let Act::Run(job, _) = act else { continue };
        let edits: [fn(&mut super::job::Job); 8] = [
            |job| job.workers = 1,
            |job| job.atomic = true,
            |job| job.triggers = "fire",
            |job| job.format = "auto",
            |job| job.history = "off",
            |job| job.verify = "count",
            |job| job.replace = false,
            |job| {
                for entry in &mut job.tables {
                    entry.columns = None;
                    entry.condition = None;
                    entry.within = false;
                    entry.set.clear();
                }
            },
        ];
        for edit in edits {
            steps.push(Box::new(move |case| {
                if let Some(Act::Run(job, _)) = case.acts.get_mut(n) {
                    edit(job);
                }
            }));
        }
        steps.push(Box::new(move |case| {
            if let Some(Act::Run(_, beside)) = case.acts.get_mut(n) {
                *beside = None;
            }
        }));
        for entry in 0..job.tables.len() {
            steps.push(Box::new(move |case| {
                if let Some(Act::Run(job, _)) = case.acts.get_mut(n) {
                    job.tables.remove(entry);
                }
            }));
        }
    }
}
