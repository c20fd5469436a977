//! The fault suite: a seeded history of faults against one pair of servers, and its checker.
//!
//! `sh tests/faults.sh` runs its long form. `TABLEFERRY_FAULTS` is how many faults are injected,
//! `TABLEFERRY_FAULTS_SEED` repeats a history. The rounds run one after another, each on the same two tables:
//! the target's rows before and the source's rows are known row by row, and afterwards the target
//! must hold one set or the other, as the report, the exit code and the ledger say.

mod fleet;
mod kinds;
mod machine;
mod places;
mod tally;
mod world;

use std::time::Instant;

use crate::support::MODES;
use crate::support::dice::{Dice, any_seed, number};
use kinds::Kind;
use tally::Tally;
use world::World;

/// What a `cargo test` injects, where nobody says otherwise.
const FAULTS_DEFAULT: u64 = 210;

/// Pairs of servers that are at work side by side: a round is mostly waiting.
const WORLDS: u64 = 4;

#[test]
fn every_fault_leaves_old_or_new_and_the_report_agrees() {
    let faults = number("TABLEFERRY_FAULTS").unwrap_or(FAULTS_DEFAULT);
    let seed = number("TABLEFERRY_FAULTS_SEED").unwrap_or_else(any_seed);
    println!("seed {seed} (again: TABLEFERRY_FAULTS_SEED={seed} TABLEFERRY_FAULTS={faults})");
    let began = Instant::now();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let history =
            |index| scope.spawn(move || history(seed * WORLDS + index, faults.div_ceil(WORLDS)));
        let histories: Vec<_> = (0..WORLDS).map(history).collect();
        histories
            .into_iter()
            .map(|history| history.join().unwrap())
            .collect()
    });
    let tally: Tally = tallies.into_iter().sum();
    println!(
        "\n{tally}\nseed {seed}: {} faults, {} s, {} violations",
        tally.injected(),
        began.elapsed().as_secs(),
        tally.violations()
    );
    assert_eq!(tally.violations(), 0, "see above; the seed is {seed}");
}

/// So many faults, one after another, on one pair of servers.
fn history(seed: u64, faults: u64) -> Tally {
    let mut world = World::new(seed);
    let mut tally = Tally::default();
    let mut round = 0;
    while tally.injected() < faults {
        // Every round throws its own dice: what it does hangs on no other round.
        let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(round));
        let kinds = kinds();
        let kind = kinds[usize::try_from(round).unwrap() % kinds.len()];
        let mode = dice.one_of(&MODES);
        tally.count(kind, world.round(round, kind, mode, &mut dice));
        round += 1;
        assert!(round < faults * 4 + 100, "hardly a fault strikes:\n{tally}");
    }
    tally
}

/// All, or the one that `TABLEFERRY_FAULTS_KIND` names, such as `Stall`.
fn kinds() -> Vec<Kind> {
    let only = std::env::var("TABLEFERRY_FAULTS_KIND").unwrap_or_default();
    let wanted = |kind: &Kind| only.is_empty() || format!("{kind:?}") == only;
    Kind::ALL.into_iter().filter(wanted).collect()
}
