//! A model of `compare`: random changes on both sides between runs, and after each run an independent reader
//! that looks at every row. A run makes the target what the job promises, or says why not and changes nothing.
//!
//! `sh tests/model.sh` runs the long form. `TABLEFERRY_MODEL` is the number of games of each kind,
//! `TABLEFERRY_MODEL_SEED` repeats them, and `TABLEFERRY_MODEL_ONLY` repeats one game. A game depends on the seed and
//! its number alone, as far as what runs at the same time does not.

mod case;
mod dml;
mod events;
mod game;
mod reading;
mod tally;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rstest::rstest;

use crate::support::dice::{Dice, any_seed, number};
use crate::support::{Cluster, ClusterOptions, Standby};
use case::{Game, Kind};
use tally::Tally;
use world::Replicated;

/// Always the same games, where nobody says otherwise.
const SEED_DEFAULT: u64 = 120_612;

/// Games that are played at the same time.
const TABLES: u64 = 3;

#[rstest]
#[case::rows_change(Kind::Rows, 3)]
#[case::tables_change(Kind::Events, 3)]
#[case::the_source_is_a_standby(Kind::Standby, 1)]
fn both_sides_are_equal_after_each_run(#[case] kind: Kind, #[case] games: u64) {
    let only = number("TABLEFERRY_MODEL_ONLY");
    let wanted = number("TABLEFERRY_MODEL");
    let seed = number("TABLEFERRY_MODEL_SEED");
    let seed = seed.unwrap_or_else(|| wanted.map_or(SEED_DEFAULT, |_| any_seed()));
    let games = only.map_or(0..wanted.unwrap_or(games), |game| game..game + 1);
    let began = Instant::now();
    let next = AtomicU64::new(games.start);
    let replicated = match kind {
        Kind::Standby => match replicated() {
            Some(servers) => Some(servers),
            None => return,
        },
        Kind::Rows | Kind::Events => None,
    };
    let play = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= games.end {
                return tally;
            }
            let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
            let game = Game::of(&mut dice, kind);
            if let Err(violation) = game::play(&mut dice, &game, replicated.as_ref(), &mut tally) {
                println!(
                    "---- VIOLATION in game {number} of seed {seed} ----\n{game}\n{violation}\n----"
                );
                tally.violations += 1;
            }
        }
    };
    // A standby is stopped and read by one game at a time.
    let tables = if kind == Kind::Standby { 1 } else { TABLES };
    let tally: Tally = std::thread::scope(|scope| {
        let tables: Vec<_> = (0..tables).map(|_| scope.spawn(play)).collect();
        tables.into_iter().map(|table| table.join().unwrap()).sum()
    });
    println!(
        "\n{kind:?}: {tally}seed {seed}, {} s",
        began.elapsed().as_secs()
    );
    assert_eq!(tally.violations, 0, "see above; the seed is {seed}");
}

fn replicated() -> Option<Replicated> {
    let primary = Cluster::start_with(&ClusterOptions::default().source());
    let standby = Standby::of(&primary)?;
    standby.catch_up(&primary);
    Some(Replicated { primary, standby })
}
