//! The two databases of a game, what is open in them, and all that was done there.

use super::case::{Game, KEYS};
use super::dml;
use crate::support::dice::Dice;
use crate::support::{Cluster, Connection, Database, Databases, Standby, databases, databases_on};

/// How long a statement waits for a lock. It then counts as not done.
const LOCK_WAIT: &str = "SET lock_timeout = '40ms'";

/// A primary with a standby, for games whose source may be either.
pub struct Replicated {
    pub primary: Cluster,
    pub standby: Standby,
}

/// A transaction that outlives the turn in which it began.
struct Open {
    ends: u64,
    is_source: bool,
    how: OpenAs,
}

enum OpenAs {
    Session(Connection),
    Prepared(String),
}

pub struct World<'a> {
    pub db: Databases<'a>,
    pub standby: Option<&'a Standby>,
    /// The standby does not replay.
    pub is_paused: bool,
    /// The column `x` is there.
    pub has_x: bool,
    pub has_trigger: bool,
    open: Vec<Open>,
    /// Backups of the source's and the target's database.
    /// With whether `x` and the trigger were there.
    pub backups: [Option<(bool, bool)>; 2],
    /// Everything that was done, for a report.
    pub log: Vec<String>,
    prepared: u64,
}

impl<'a> World<'a> {
    pub fn new(dice: &mut Dice, game: &Game, replicated: Option<&'a Replicated>) -> Self {
        let db = match replicated {
            Some(servers) => {
                let (_, target) = crate::support::pair();
                databases_on(&servers.primary, target, "model")
            }
            None => databases("model"),
        };
        let mut world = World {
            db,
            standby: replicated.map(|servers| &servers.standby),
            is_paused: false,
            has_x: false,
            has_trigger: false,
            open: Vec::new(),
            backups: [None; 2],
            log: Vec::new(),
            prepared: 0,
        };
        for is_source in [true, false] {
            let create = game.shape.create(is_source);
            world.must(is_source, &create);
            world.must(is_source, "ALTER TABLE t ALTER v SET STORAGE EXTERNAL");
            if game.marks && !is_source {
                world.must(false, "ALTER TABLE t ADD gone_at timestamptz");
            }
            let mut numbers: Vec<i64> = (0..KEYS as i64).collect();
            // Few rows, and on the target often none.
            let part = if is_source { [20, 70, 100] } else { [0, 0, 60] };
            let part = dice.one_of(&part);
            numbers.retain(|_| dice.percent(part));
            for numbers in numbers.chunks(50) {
                let insert = dml::insert(dice, game.shape, numbers, "DO NOTHING");
                world.must(is_source, &insert);
            }
        }
        if game.is_large {
            world.must(true, "UPDATE t SET w = v, v = repeat('x', 9000)");
            world.must(true, "UPDATE t SET v = w, w = NULL");
        }
        if dice.once_in(2) {
            world.must(true, "ANALYZE t");
            world.must(false, "ANALYZE t");
        }
        world
    }

    pub fn side(&self, is_source: bool) -> &Database<'a> {
        if is_source {
            &self.db.source
        } else {
            &self.db.target
        }
    }

    pub fn note(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    /// Runs a statement that must succeed.
    pub fn must(&mut self, is_source: bool, sql: &str) {
        self.note(format!("{}: {sql}", name(is_source)));
        self.side(is_source).sql(sql);
    }

    /// Runs statements one by one, each only if those before it succeeded. Locks may keep them from it.
    pub fn attempt(&mut self, is_source: bool, statements: &[String]) -> bool {
        let session = self.side(is_source).connect();
        session.sql(LOCK_WAIT);
        for sql in statements {
            let done = session.try_sql(sql);
            let failed = done.as_ref().err().map(ToString::to_string);
            let why = failed.as_deref().unwrap_or("");
            self.note(format!("{}: {sql} {why}", name(is_source)));
            if done.is_err() {
                return false;
            }
        }
        true
    }

    /// Transactions of one side that end at once.
    pub fn change(&mut self, dice: &mut Dice, game: &Game, is_source: bool) {
        for _ in 0..dice.below(4) {
            let mut statements = vec!["BEGIN".to_owned()];
            statements.extend(dml::body(dice, game.shape));
            let end = if dice.once_in(8) {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            statements.push(end.to_owned());
            self.attempt(is_source, &statements);
        }
    }

    /// Begins a transaction that ends in a later turn.
    pub fn begin_long(&mut self, dice: &mut Dice, game: &Game, turn: u64, is_source: bool) {
        let session = self.side(is_source).connect();
        session.sql(LOCK_WAIT);
        session.sql("BEGIN");
        self.note(format!("{}: a long transaction begins", name(is_source)));
        for sql in dml::body(dice, game.shape) {
            self.note(format!("{} (long): {sql}", name(is_source)));
            if let Err(error) = session.try_sql(&sql) {
                self.note(format!("    {error}"));
                return;
            }
        }
        let is_prepared = dice.once_in(2) && self.prepares(is_source);
        let how = match is_prepared {
            true => {
                self.prepared += 1;
                let name = format!("{}_{}", self.side(is_source).name(), self.prepared);
                session.sql(&format!("PREPARE TRANSACTION '{name}'"));
                self.note(format!("    PREPARE TRANSACTION {name}"));
                OpenAs::Prepared(name)
            }
            false => OpenAs::Session(session),
        };
        let ends = turn + 1 + dice.below(4);
        self.open.push(Open {
            ends,
            is_source,
            how,
        });
    }

    fn prepares(&self, is_source: bool) -> bool {
        self.side(is_source).value("SHOW max_prepared_transactions") != "0"
    }

    /// Ends transactions whose turn has come.
    pub fn end_long(&mut self, dice: &mut Dice, turn: u64) {
        let mut stays = Vec::new();
        for open in std::mem::take(&mut self.open) {
            if open.ends > turn {
                stays.push(open);
                continue;
            }
            let end = if dice.once_in(4) {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            self.note(format!(
                "{}: the long transaction ends: {end}",
                name(open.is_source)
            ));
            match &open.how {
                OpenAs::Session(session) => session.sql(end),
                OpenAs::Prepared(prepared) => {
                    self.side(open.is_source)
                        .sql(&format!("{end} PREPARED '{prepared}'"));
                }
            }
        }
        self.open = stays;
    }

    /// Is a transaction open on this side?
    pub fn is_open(&self, is_source: bool) -> bool {
        self.open.iter().any(|open| open.is_source == is_source)
    }

    /// From where the job reads.
    pub fn source_conninfo(&self, from_standby: bool) -> String {
        match self.standby {
            Some(standby) if from_standby => standby.conninfo(self.db.source.name()),
            _ => self.db.source.conninfo(),
        }
    }

    /// Lets the standby replay, or stops it where it is.
    pub fn pause(&mut self, pauses: bool) {
        let Some(standby) = self.standby.filter(|_| pauses != self.is_paused) else {
            return;
        };
        let here = Connection::open(&standby.conninfo("postgres"));
        here.sql(if pauses {
            "SELECT pg_wal_replay_pause()"
        } else {
            "SELECT pg_wal_replay_resume()"
        });
        self.is_paused = pauses;
        self.note(if pauses {
            "the standby stops"
        } else {
            "the standby goes on"
        });
    }

    /// What the columns of a game are at the moment, key first.
    pub fn columns(&self, game: &Game) -> Vec<&'static str> {
        let mut columns: Vec<&'static str> = game.shape.key.to_vec();
        columns.extend(["v", "w", "m", "a", "b"]);
        if self.has_x {
            columns.push("x");
        }
        columns
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        self.pause(false);
        for open in std::mem::take(&mut self.open) {
            if let OpenAs::Prepared(name) = &open.how {
                let rollback = format!("ROLLBACK PREPARED '{name}'");
                let _ = self.side(open.is_source).try_sql(&rollback);
            }
        }
        let backups = [true, false].into_iter().zip(self.backups);
        for (is_source, _) in backups.filter(|(_, backup)| backup.is_some()) {
            let database = self.side(is_source);
            let drop = format!(
                "DROP DATABASE IF EXISTS {}_backup WITH (FORCE)",
                database.name()
            );
            let _ = database.cluster.administrator().try_sql(&drop);
        }
    }
}

pub fn name(is_source: bool) -> &'static str {
    if is_source { "source" } else { "target" }
}
