//! How the runs ended.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;

use crate::support::Outcome;

#[derive(Default)]
pub struct Tally {
    pub games: u64,
    pub committed: u64,
    /// Runs whose target could be compared row by row.
    pub judged: u64,
    pub violations: u64,
    ways: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
}

impl Tally {
    pub fn committed(&mut self, outcome: &Outcome) {
        self.committed += 1;
        let way = outcome.report()["tables"][0]["compare"].as_str();
        *self
            .ways
            .entry(way.unwrap_or("direct").to_owned())
            .or_default() += 1;
    }

    pub fn refused(&mut self, why: &str) {
        let words: Vec<&str> = why.split_whitespace().take(12).collect();
        *self.refused.entry(words.join(" ")).or_default() += 1;
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Tally::default(), |mut sum, one| {
            sum.games += one.games;
            sum.committed += one.committed;
            sum.judged += one.judged;
            sum.violations += one.violations;
            for (way, count) in one.ways {
                *sum.ways.entry(way).or_default() += count;
            }
            for (why, count) in one.refused {
                *sum.refused.entry(why).or_default() += count;
            }
            sum
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            games,
            committed,
            judged,
            violations,
            ways,
            ..
        } = self;
        writeln!(
            f,
            "{games} games, {committed} runs committed ({ways:?}), {judged} compared row by row, {violations} violations"
        )?;
        for (why, count) in &self.refused {
            writeln!(f, "  {count} refused: {why}")?;
        }
        Ok(())
    }
}
