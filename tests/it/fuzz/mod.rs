//! The fuzzer of schemas: random tables, rows and jobs, and an oracle that knows only what the documentation
//! promises.
//!
//! `sh tests/fuzz.sh` runs its long form. `TABLEFERRY_FUZZ` is how many rounds are played,
//! `TABLEFERRY_FUZZ_SEED` repeats them, `TABLEFERRY_FUZZ_ONLY` repeats one round. Each round hangs on
//! the seed and its number alone: a schema on each side, rows, and a few runs of a job with changes
//! between them. After each run an independent reader looks at both sides.

mod beside;
mod case;
mod differ;
mod extras;
mod generate;
mod job;
mod oracle;
mod reader;
mod replaced;
mod rows;
mod schema;
mod shrink;
mod stage;
mod tally;
mod tree;
mod types;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::support::dice::{any_seed, number};
use case::Case;
use stage::{Played, Stage};
use tally::Tally;

/// What a `cargo test` plays, where nobody says otherwise.
const ROUNDS_DEFAULT: u64 = 40;

/// And always the same ones: what fails then is the fault of the change that is tested. The long form
/// looks for what is new.
const SEED_DEFAULT: u64 = 282_216;

/// Pairs of databases that are at work side by side.
const STAGES: u64 = 3;

/// Violations that are made smaller and shown in full; of more, only the number.
const SHOWN_MAX: u64 = 6;

/// Cases that are tried to make one smaller.
const SHRINK_TRIES_MAX: u32 = 250;

#[test]
fn every_run_keeps_its_promise_or_leaves_all_as_it_was() {
    let only = number("TABLEFERRY_FUZZ_ONLY");
    let wanted = number("TABLEFERRY_FUZZ");
    let rounds = wanted.unwrap_or(ROUNDS_DEFAULT);
    let seed = number("TABLEFERRY_FUZZ_SEED");
    let seed = seed.unwrap_or_else(|| wanted.map_or(SEED_DEFAULT, |_| any_seed()));
    let rounds = only.map_or(0..rounds, |round| round..round + 1);
    println!("seed {seed}, rounds {rounds:?} (again: TABLEFERRY_FUZZ_SEED={seed})");
    let began = Instant::now();
    let next = AtomicU64::new(rounds.start);
    let shown = AtomicU64::new(0);
    let shown_max = number("TABLEFERRY_FUZZ_SHOWN").unwrap_or(SHOWN_MAX);
    let play = || {
        let mut stage = Stage::new();
        let mut tally = Tally::default();
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds.end {
                return tally;
            }
            if round > 0 && round.is_multiple_of(1000) {
                println!("round {round}, {} s", began.elapsed().as_secs());
            }
            let case = Case::of(seed, round);
            let played = stage.play(&case);
            tally.count(&case, played.as_ref());
            if played.is_none() {
                println!("round {round}: its tables cannot be made");
            }
            if let Some(Played {
                violation: Some(violation),
                ..
            }) = &played
            {
                println!("VIOLATION in round {round}: {}", violation.class);
                if shown.fetch_add(1, Ordering::Relaxed) < shown_max {
                    show(&mut stage, seed, round, &case, violation);
                }
            }
        }
    };
    let tally: Tally = std::thread::scope(|scope| {
        let stages: Vec<_> = (0..STAGES).map(|_| scope.spawn(play)).collect();
        stages.into_iter().map(|stage| stage.join().unwrap()).sum()
    });
    println!("\n{tally}seed {seed}, {} s", began.elapsed().as_secs());
    assert_eq!(tally.violations(), 0, "see above; the seed is {seed}");
    assert_eq!(
        tally.invalid(),
        0,
        "tables that can't be made; the seed is {seed}"
    );
}

/// Prints the case as small as it could be made, and what is wrong with it.
fn show(stage: &mut Stage, seed: u64, round: u64, case: &Case, first: &oracle::Violation) {
    println!("---- round {round} of seed {seed}\n{first}");
    let small = shrink::shrink(stage, case, first, SHRINK_TRIES_MAX);
    let violation = stage.play(&small).and_then(|played| played.violation);
    let what = violation.map_or("it did not come again".to_owned(), |v| v.to_string());
    println!("---- round {round} of seed {seed}, made smaller ----\n{small}\n{what}\n----");
}
