//! Which jobs are in trouble, and which changes of that are told. State × event → change: no I/O and no clock, so
//! a table of cases tests every decision.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::spec::NoticeKind;
use crate::daemon::scheduled_config::JobName;

/// What is wrong with a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Troubles {
    /// Its last run failed.
    pub failed: bool,
    /// Its last run was left in doubt.
    pub in_doubt: bool,
    /// Its data are older than `fresh_within`.
    pub stale: bool,
}

/// The state of a job, as notices tell it. The state file keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// What is wrong now.
    pub now: Troubles,
    /// What was wrong at any time since the job was last well. Once it is well, what had been wrong before.
    pub seen: Troubles,
    /// The last change, until every notifier has been told or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<NoticeKind>,
}

/// How a run has ended, for [`HealthTable::ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The target holds its rows, or those of a run of another daemon.
    Committed,
    Failed,
    InDoubt,
    /// It was cancelled, or left to another daemon: it says nothing about the job.
    Open,
}

/// A job's new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub job: JobName,
    pub health: Health,
    /// What is to be told.
    pub notice: Option<NoticeKind>,
}

/// The state of every job, and when jobs become stale.
#[derive(Debug, Default)]
pub struct HealthTable {
    jobs: BTreeMap<JobName, Entry>,
    deadlines: BTreeSet<(Timestamp, JobName)>,
    /// A deadline was moved since the last look.
    is_moved: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    health: Health,
    stale_at: Option<Timestamp>,
}

impl Troubles {
    /// Nothing is wrong.
    pub fn is_well(self) -> bool {
        self == Troubles::default()
    }

    /// Was a notice of this kind due for one of them?
    pub fn has(self, kind: NoticeKind) -> bool {
        match kind {
            NoticeKind::Failed => self.failed,
            NoticeKind::InDoubt => self.in_doubt,
            NoticeKind::Stale => self.stale,
            NoticeKind::Recovered => false,
        }
    }

    fn or(self, other: Troubles) -> Troubles {
        Troubles {
            failed: self.failed || other.failed,
            in_doubt: self.in_doubt || other.in_doubt,
            stale: self.stale || other.stale,
        }
    }
}

impl Health {
    /// The state after this one, and what is told of the change.
    fn after(self, next: Troubles) -> (Health, Option<NoticeKind>) {
        let was = self.now;
        let notice = if next.in_doubt && !was.in_doubt {
            Some(NoticeKind::InDoubt)
        } else if next.failed && !was.failed {
            Some(NoticeKind::Failed)
        } else if next.stale && !was.stale {
            Some(NoticeKind::Stale)
        } else if next.is_well() && !was.is_well() {
            Some(NoticeKind::Recovered)
        } else {
            None
        };
        let health = Health {
            now: next,
            seen: match was.is_well() {
                true if next.is_well() => self.seen,
                true => next,
                false => self.seen.or(next),
            },
            unsent: notice.or(self.unsent),
        };
        (health, notice)
    }
}

impl HealthTable {
    /// Adds a job with its saved state, or gives a job a new deadline. `stale_at`: when its data become stale.
    pub fn set(&mut self, job: &JobName, saved: Health, stale_at: Option<Timestamp>) {
        let entry = self.jobs.entry(job.clone()).or_insert(Entry {
            health: saved,
            stale_at: None,
        });
        if let Some(old) = entry.stale_at {
            self.deadlines.remove(&(old, job.clone()));
        }
        self.is_moved |= entry.stale_at != stale_at;
        entry.stale_at = stale_at;
        self.deadlines.extend(stale_at.map(|at| (at, job.clone())));
    }

    /// Keeps only these jobs.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.jobs.retain(|job, _| is_known(job));
        self.deadlines.retain(|(_, job)| is_known(job));
    }

    /// A run has ended. The deadline is that of the data that the target holds now.
    pub fn ended(
        &mut self,
        job: &JobName,
        end: RunEnd,
        stale_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Change> {
        let before = self.jobs.get(job)?.health.now;
        self.set(job, Health::default(), stale_at);
        let (failed, in_doubt) = match end {
            RunEnd::Committed => (false, false),
            RunEnd::Failed => (true, false),
            RunEnd::InDoubt => (false, true),
            RunEnd::Open => (before.failed, before.in_doubt),
        };
        self.change(job, now, failed, in_doubt)
    }

    /// The jobs whose deadlines have passed, or whose deadlines were moved by a reload.
    pub fn look(&mut self, now: Timestamp) -> Vec<Change> {
        let mut is_due = std::mem::take(&mut self.is_moved);
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            is_due = true;
        }
        if !is_due {
            return Vec::new();
        }
        let is_news = |entry: &Entry| entry.is_stale(now) != entry.health.now.stale;
        let changed: Vec<JobName> = self
            .jobs
            .iter()
            .filter(|(_, entry)| is_news(entry))
            .map(|(job, _)| job.clone())
            .collect();
        let change = |job: &JobName| {
            let Troubles {
                failed, in_doubt, ..
            } = self.jobs.get(job)?.health.now;
            self.change(job, now, failed, in_doubt)
        };
        changed.iter().filter_map(change).collect()
    }

    /// Every notifier has been told of the job's last change, or has failed.
    pub fn settled(&mut self, job: &str) -> Option<Health> {
        let entry = self.jobs.get_mut(job)?;
        entry.health.unsent.take()?;
        Some(entry.health)
    }

    /// The changes of an earlier daemon that it could not tell any more.
    pub fn unsent(&self) -> Vec<(JobName, NoticeKind)> {
        let unsent = |(job, entry): (&JobName, &Entry)| Some((job.clone(), entry.health.unsent?));
        self.jobs.iter().filter_map(unsent).collect()
    }

    /// When [`HealthTable::look`] has something to do.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The state of a job.
    pub fn of(&self, job: &str) -> Health {
        self.jobs
            .get(job)
            .map(|entry| entry.health)
            .unwrap_or_default()
    }

    fn change(
        &mut self,
        job: &JobName,
        now: Timestamp,
        failed: bool,
        in_doubt: bool,
    ) -> Option<Change> {
        let entry = self.jobs.get_mut(job)?;
        let next = Troubles {
            failed,
            in_doubt,
            stale: entry.is_stale(now),
        };
        let (health, notice) = entry.health.after(next);
        if entry.health == health {
            return None;
        }
        entry.health = health;
        let job = job.clone();
        Some(Change {
            job,
            health,
            notice,
        })
    }
}

impl Entry {
    fn is_stale(&self, now: Timestamp) -> bool {
        self.stale_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NoticeKind::{Failed, InDoubt, Recovered, Stale};
    use rstest::rstest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What happens at a second, and what is told of it.
    enum Event {
        /// A run ends; from then on the data become stale at that second.
        End(RunEnd, i64),
        Look,
        /// The daemon is restarted: only the saved state is left, with this deadline.
        Restart(i64),
    }
    use Event::{End, Look, Restart};
    use RunEnd::Committed;

    #[rstest]
    #[case::failed_is_told_once(vec![
        (1, End(RunEnd::Failed, 100), Some(Failed)),
        (2, End(RunEnd::Failed, 100), None),
        (3, End(RunEnd::Open, 100), None),
        (4, End(Committed, 100), Some(Recovered)),
        (5, End(Committed, 100), None),
        (6, End(RunEnd::Failed, 100), Some(Failed)),
    ])]
    #[case::a_job_that_is_well_tells_nothing(vec![
        (1, End(Committed, 100), None),
        (2, End(RunEnd::Open, 100), None),
        (3, Look, None),
    ])]
    #[case::stale_by_the_clock(vec![
        (1, End(Committed, 10), None),
        (9, Look, None),
        (10, Look, Some(Stale)),
        (11, Look, None),
        (12, End(Committed, 30), Some(Recovered)),
    ])]
    #[case::failed_and_stale_recover_once(vec![
        (1, End(RunEnd::Failed, 5), Some(Failed)),
        (5, Look, Some(Stale)),
        (6, End(RunEnd::Failed, 5), None),
        (7, End(Committed, 20), Some(Recovered)),
    ])]
    #[case::stale_already_when_a_run_fails(vec![
        (5, End(RunEnd::Failed, 5), Some(Failed)),
        (6, Look, None),
    ])]
    #[case::committed_what_is_too_old_already(vec![
        (1, End(RunEnd::Failed, 100), Some(Failed)),
        (9, End(Committed, 5), Some(Stale)),
        (10, End(Committed, 50), Some(Recovered)),
    ])]
    #[case::doubt_and_its_end(vec![
        (1, End(RunEnd::InDoubt, 100), Some(InDoubt)),
        (2, End(RunEnd::InDoubt, 100), None),
        (3, End(Committed, 100), Some(Recovered)),
        (4, End(RunEnd::Failed, 100), Some(Failed)),
        (5, End(RunEnd::InDoubt, 100), Some(InDoubt)),
        (6, End(RunEnd::Failed, 100), Some(Failed)),
    ])]
    #[case::a_restart_changes_nothing(vec![
        (1, End(RunEnd::Failed, 10), Some(Failed)),
        (2, Restart(10), None),
        (3, End(RunEnd::Failed, 10), None),
        (10, Look, Some(Stale)),
        (11, Restart(10), None),
        (12, Look, None),
        (13, End(Committed, 50), Some(Recovered)),
    ])]
    #[case::stale_while_no_daemon_ran(vec![
        (1, End(Committed, 10), None),
        (20, Restart(10), None),
        (20, Look, Some(Stale)),
    ])]
    fn each_change_is_told_once(#[case] steps: Vec<(i64, Event, Option<NoticeKind>)>) {
        let job = JobName::from("j");
        let mut table = HealthTable::default();
        table.set(&job, Health::default(), None);
        for (number, (second, event, expected)) in steps.into_iter().enumerate() {
            let now = at(second);
            let told = match event {
                End(end, stale_at) => table.ended(&job, end, Some(at(stale_at)), now),
                Look => table.look(now).pop(),
                Restart(stale_at) => {
                    let saved = table.of("j");
                    let text = serde_json::to_string(&saved).unwrap();
                    table = HealthTable::default();
                    let read = serde_json::from_str(&text).unwrap();
                    assert_eq!(saved, read);
                    table.set(&job, read, Some(at(stale_at)));
                    None
                }
            };
            let told = told.and_then(|change| change.notice);
            assert_eq!(told, expected, "step {number}");
        }
    }

    #[test]
    fn a_notice_is_unsent_until_it_is_settled() {
        let job = JobName::from("j");
        let mut table = HealthTable::default();
        table.set(&job, Health::default(), None);
        table.ended(&job, RunEnd::Failed, None, at(1));
        table.ended(&job, RunEnd::Failed, None, at(2));
        assert_eq!(table.unsent(), [(job.clone(), Failed)]);
        // The newest state is what is told.
        table.ended(&job, Committed, None, at(3));
        assert_eq!(table.unsent(), [(job.clone(), Recovered)]);
        assert!(table.of("j").seen.has(Failed) && !table.of("j").seen.has(Stale));
        assert!(table.settled("j").is_some());
        assert_eq!((table.unsent(), table.settled("j")), (Vec::new(), None));
    }

    #[test]
    fn a_reload_moves_and_removes_deadlines() {
        let jobs = ["a", "b"].map(JobName::from);
        let mut table = HealthTable::default();
        for job in &jobs {
            table.set(job, Health::default(), Some(at(10)));
        }
        assert_eq!(table.wake_at(), Some(at(10)));
        assert_eq!(table.look(at(10)).len(), 2);
        assert_eq!(table.wake_at(), None);
        table.retain(|job| job == "a");
        table.set(&jobs[0], Health::default(), Some(at(20)));
        let fresh = table.look(at(11));
        assert_eq!(fresh.len(), 1);
        assert_eq!(fresh[0].notice, Some(Recovered));
        assert_eq!(table.wake_at(), Some(at(20)));
        // `fresh_within` is gone.
        table.set(&jobs[0], Health::default(), None);
        assert_eq!((table.wake_at(), table.look(at(30)).len()), (None, 0));
    }
}
