//! One pair of servers, what its tables held before a round, and what they must hold after it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::kinds::Kind;
use super::tally::{Ended, Result as RoundResult};
use crate::pg::certificates::Authority;
use crate::support::dice::Dice;
use crate::support::proxy::{Armed, Fault, Rule, Trigger, Way};
use crate::support::{
    Cluster, ClusterOptions, Connection, Databases, Outcome, PATIENCE, Proxy, Running,
    databases_on, job_between, wait_until,
};

const NEW_ROWS: u64 = 1200;
const OLD_ROWS: u64 = 300;

/// A run that has not ended by then hangs.
const RUN_WAIT: Duration = Duration::from_secs(100);

/// How long a session of a run that has ended may be seen on a server.
const GONE_WAIT: Duration = Duration::from_secs(20);

const OURS: &str = "pg_stat_activity WHERE datname = current_database() \
                    AND application_name LIKE 'tableferry%'";

/// All rows of both tables, sorted.
const ROWS_SQL: &str = "SELECT r FROM (SELECT 't ' || t::text AS r FROM t \
                        UNION ALL SELECT 'u ' || u::text FROM u) x ORDER BY r COLLATE \"C\"";

pub struct World {
    db: Databases<'static>,
    usual: BTreeMap<(&'static str, bool), [Usual; 2]>,
}

/// What passes through one connection when nothing fails; by way.
#[derive(Clone, Copy, Default)]
struct Usual {
    messages: [u64; 2],
    bytes: [u64; 2],
}

/// How a round's job differs from the others'.
#[derive(Debug)]
struct Setup {
    mode: &'static str,
    format: &'static str,
    tls: bool,
    ledger: bool,
    retries: u64,
    workers: u64,
    stall_timeout: &'static str,
    lock_timeout: &'static str,
}

struct Rows {
    old: Vec<String>,
    new: Vec<String>,
}

/// What a kind's own part of a round found.
struct Struck {
    injected: bool,
    outcome: Result<Outcome, String>,
    complaint: Option<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let source = cluster(ClusterOptions::default().source());
        let target = cluster(ClusterOptions::default().target());
        let db = databases_on(source, target, "faults");
        db.both("SET lock_timeout = '20s'");
        db.both("CREATE TABLE t (id int, generation int, filler text); CREATE TABLE u (LIKE t)");
        let mut world = World {
            db,
            usual: BTreeMap::new(),
        };
        for mode in super::MODES {
            for tls in [false, true] {
                let mut dice = Dice::new(seed);
                let setup = Setup {
                    tls,
                    ledger: true,
                    ..setup(mode, Kind::Cut, &mut dice)
                };
                let usual = world.measure(&setup);
                world.usual.insert((mode, tls), usual);
            }
        }
        world
    }

    /// One fault, and its check.
    pub fn round(
        &mut self,
        number: u64,
        kind: Kind,
        mode: &'static str,
        dice: &mut Dice,
    ) -> RoundResult {
        let rows = self.fresh(mode, number + 1);
        let setup = setup(mode, kind, dice);
        let proxies = self.proxies();
        let struck = self.strike(kind, &setup, &proxies, dice);
        // What a stalled proxy holds back would keep the servers' sessions.
        for proxy in &proxies {
            proxy.resume();
            proxy.cut();
        }
        let checked = match (&struck.outcome, struck.complaint) {
            (Err(hangs), _) => Err(hangs.clone()),
            (Ok(outcome), Some(complaint)) => Err(format!("{complaint}\n{outcome}")),
            (Ok(outcome), None) => self
                .check(&rows, kind, &setup, outcome)
                .map_err(|what| format!("{what}\n{outcome}")),
        };
        let ended = checked.map_err(|what| format!("round {number}, {setup:?}: {what}"));
        RoundResult {
            injected: struck.injected,
            ended,
        }
    }

    fn measure(&mut self, setup: &Setup) -> [Usual; 2] {
        self.fresh(setup.mode, 0);
        let proxies = self.proxies();
        let outcome = self.start(setup, &proxies).wait(PATIENCE);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        [&proxies[0], &proxies[1]].map(|proxy| Usual {
            messages: [proxy.messages(Way::ToServer), proxy.messages(Way::ToClient)],
            bytes: [proxy.bytes(Way::ToServer), proxy.bytes(Way::ToClient)],
        })
    }

    /// Puts this generation's rows in place.
    fn fresh(&self, mode: &str, generation: u64) -> Rows {
        let insert = |table: &str, generation: u64, first: u64, rows: u64| {
            format!(
                "INSERT INTO {table} SELECT i + {first} - 1, {generation}, repeat('x', 60) || i \
                 FROM generate_series(1, {rows}) i;"
            )
        };
        self.db.both("TRUNCATE t, u");
        // Without a key, rows that came twice would be there twice.
        let keyed = !matches!(mode, "append" | "truncate");
        for table in ["t", "u"] {
            self.db.both(&format!(
                "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_pkey"
            ));
            if keyed {
                self.db
                    .both(&format!("ALTER TABLE {table} ADD PRIMARY KEY (id)"));
            }
        }
        let (before, after) = (2 * generation, 2 * generation + 1);
        let half = OLD_ROWS / 2;
        self.db.source.sql(&insert("t", after, 1, NEW_ROWS));
        self.db.source.sql(&insert("u", after, 1, NEW_ROWS / 6));
        // Half of the old keys are in the source, too.
        self.db
            .target
            .sql(&insert("t", before, NEW_ROWS - half, OLD_ROWS));
        self.db
            .target
            .sql(&insert("u", before, (NEW_ROWS - half) / 6, OLD_ROWS / 6));
        let (source, old) = (rows_of(&self.db.source), rows_of(&self.db.target));
        let keys: BTreeSet<&str> = source.iter().map(|row| key_of(row)).collect();
        let stays = |row: &&String| match mode {
            "append" => true,
            "upsert" => !keys.contains(key_of(row)),
            _ => false,
        };
        let mut new: Vec<String> = old.iter().filter(stays).cloned().collect();
        new.extend(source.iter().cloned());
        new.sort();
        Rows { old, new }
    }

    fn proxies(&self) -> [Proxy; 2] {
        [&self.db.source, &self.db.target].map(|db| Proxy::start(db.cluster.port()))
    }

    fn start(&self, setup: &Setup, proxies: &[Proxy; 2]) -> Background {
        let conninfo = |proxy: &Proxy, plain: String| {
            let mode = if setup.tls {
                "sslmode=require"
            } else {
                "sslmode=disable"
            };
            let conninfo = plain.replace("sslmode=disable", mode);
            format!("{} connect_timeout=5", proxy.conninfo(&conninfo))
        };
        let config = format!(
            "[daemon]\nhistory = '{}'\n[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{}'\n\
             tables = ['public.t', 'public.u']\nformat = '{}'\n\
             workers = {}\nretry = {{ max = {}, backoff = '100ms', max_backoff = '300ms' }}\n\
             stall_timeout = '{}'\nlock_timeout = '{}'\nanalyze = false\n",
            if setup.ledger { "target" } else { "off" },
            setup.mode,
            setup.format,
            setup.workers,
            setup.retries,
            setup.stall_timeout,
            setup.lock_timeout
        );
        let job = job_between(
            &conninfo(&proxies[0], self.db.source.conninfo()),
            &conninfo(&proxies[1], self.db.target.conninfo()),
            &config,
        );
        let running = job.spawn(&["run", "j", "--json"]);
        Background { running, _job: job }
    }

    fn side(&self, side: usize) -> &Connection {
        [&self.db.source, &self.db.target][side]
    }

    fn strike(
        &mut self,
        kind: Kind,
        setup: &Setup,
        proxies: &[Proxy; 2],
        dice: &mut Dice,
    ) -> Struck {
        match kind {
            Kind::Cut => self.at_message(setup, proxies, dice, Fault::Cut),
            Kind::Reset => self.at_message(setup, proxies, dice, Fault::Reset),
            Kind::HalfClose => self.at_message(setup, proxies, dice, Fault::HalfClose),
            Kind::Stall => self.at_message(setup, proxies, dice, Fault::Stall),
            Kind::CommitLost => self.around_commit(setup, proxies, dice),
            Kind::Delay => self.held(setup, proxies, dice, |_, _, dice| {
                thread::sleep(Duration::from_millis(dice.below(300)));
                true
            }),
            Kind::TerminateBackend => self.held(setup, proxies, dice, |world, _, dice| {
                world.signal_backends("pg_terminate_backend", dice)
            }),
            Kind::CancelBackend => self.held(setup, proxies, dice, |world, _, dice| {
                world.signal_backends("pg_cancel_backend", dice)
            }),
            Kind::Sigkill => self.held(setup, proxies, dice, |_, run, _| {
                run.signal(Signal::SIGKILL)
            }),
            Kind::Sigterm => self.held(setup, proxies, dice, |_, run, dice| {
                run.signal(dice.one_of(&[Signal::SIGTERM, Signal::SIGINT]))
            }),
            Kind::SigstopContinue | Kind::SigstopKill => self.stopped(kind, setup, proxies, dice),
            Kind::FastRestart | Kind::ImmediateRestart => {
                let signal = if kind == Kind::FastRestart {
                    "INT"
                } else {
                    "QUIT"
                };
                self.held(setup, proxies, dice, |world, _, dice| {
                    let (source, target) = (&mut world.db.source, &mut world.db.target);
                    let db = if dice.once_in(2) { source } else { target };
                    db.cluster.stop(signal);
                    db.cluster.start_again();
                    db.reconnect();
                    db.sql("SET lock_timeout = '20s'");
                    true
                })
            }
            Kind::ReadOnly => {
                let name = self.db.target.name().to_owned();
                self.db.target.sql(&format!(
                    "ALTER DATABASE {name} SET default_transaction_read_only = on"
                ));
                let outcome = self.start(setup, proxies).finish();
                self.db.target.sql(&format!(
                    "ALTER DATABASE {name} RESET default_transaction_read_only"
                ));
                Struck {
                    injected: true,
                    outcome,
                    complaint: None,
                }
            }
            Kind::LockHeld => self.lock_held(setup, proxies, dice),
            Kind::Deadlock => self.deadlock(setup, proxies, dice),
            Kind::NoConnectionLeft => self.no_connection_left(setup, proxies, dice),
        }
    }

    /// Arms a fault at a random message (with TLS: byte) of a random connection and way.
    fn arm(
        &self,
        setup: &Setup,
        proxies: &[Proxy; 2],
        dice: &mut Dice,
        fault: Fault,
    ) -> (usize, Armed) {
        let side = usize::try_from(dice.below(2)).unwrap();
        let (index, way) = dice.one_of(&[(0, Way::ToServer), (1, Way::ToClient)]);
        let usual = self.usual[&(setup.mode, setup.tls)][side];
        let trigger = if setup.tls {
            Trigger::Byte(1 + dice.below(usual.bytes[index]))
        } else {
            Trigger::Message(some_message(usual.messages[index], dice))
        };
        let rule = Rule::new(way, trigger, fault).on_connection(1);
        let rule = if dice.once_in(2) { rule.after() } else { rule };
        (side, proxies[side].arm(rule))
    }

    fn at_message(
        &self,
        setup: &Setup,
        proxies: &[Proxy; 2],
        dice: &mut Dice,
        fault: Fault,
    ) -> Struck {
        let (_, armed) = self.arm(setup, proxies, dice, fault);
        let outcome = self.start(setup, proxies).finish();
        Struck {
            injected: armed.has_struck(),
            outcome,
            complaint: None,
        }
    }

    /// Cuts the target's connection at one of its last messages, before or after it was passed on.
    fn around_commit(&self, setup: &Setup, proxies: &[Proxy; 2], dice: &mut Dice) -> Struck {
        let usual = self.usual[&(setup.mode, setup.tls)][1];
        let (index, way) = dice.one_of(&[(0, Way::ToServer), (1, Way::ToClient)]);
        let trigger = if setup.tls {
            Trigger::Byte(usual.bytes[index] - dice.below(150))
        } else {
            Trigger::Message(usual.messages[index].saturating_sub(dice.below(12)).max(1))
        };
        let rule =
            Rule::new(way, trigger, dice.one_of(&[Fault::Cut, Fault::Reset])).on_connection(1);
        let rule = if dice.once_in(2) { rule.after() } else { rule };
        let armed = proxies[1].arm(rule);
        let outcome = self.start(setup, proxies).finish();
        Struck {
            injected: armed.has_struck(),
            outcome,
            complaint: None,
        }
    }

    /// Does something while one message is held back, and then lets it go.
    fn held(
        &mut self,
        setup: &Setup,
        proxies: &[Proxy; 2],
        dice: &mut Dice,
        act: impl FnOnce(&mut Self, &Background, &mut Dice) -> bool,
    ) -> Struck {
        let (side, armed) = self.arm(setup, proxies, dice, Fault::Stall);
        let mut run = self.start(setup, proxies);
        let holds = run.until(|| armed.has_struck());
        let injected = holds && act(self, &run, dice);
        proxies[side].resume();
        Struck {
            injected,
            outcome: run.finish(),
            complaint: None,
        }
    }

    fn stopped(
        &mut self,
        kind: Kind,
        setup: &Setup,
        proxies: &[Proxy; 2],
        dice: &mut Dice,
    ) -> Struck {
        let (side, armed) = self.arm(setup, proxies, dice, Fault::Stall);
        let mut run = self.start(setup, proxies);
        let injected = run.until(|| armed.has_struck()) && run.signal(Signal::SIGSTOP);
        proxies[side].resume();
        thread::sleep(Duration::from_millis(dice.below(200)));
        if injected {
            let then = if kind == Kind::SigstopKill {
                Signal::SIGKILL
            } else {
                Signal::SIGCONT
            };
            run.signal(then);
        }
        Struck {
            injected,
            outcome: run.finish(),
            complaint: None,
        }
    }

    fn signal_backends(&self, function: &str, dice: &mut Dice) -> bool {
        let side = usize::try_from(dice.below(2)).unwrap();
        let sql = format!("SELECT count(*) FROM (SELECT {function}(pid) FROM {OURS}) x");
        self.side(side).value(&sql) != "0"
    }

    fn lock_held(&self, setup: &Setup, proxies: &[Proxy; 2], dice: &mut Dice) -> Struck {
        let side = usize::try_from(dice.below(2)).unwrap();
        let other = [&self.db.source, &self.db.target][side].connect();
        let table = dice.one_of(&["t", "u"]);
        other.sql(&format!(
            "BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
        ));
        let pid = other.value("SELECT pg_backend_pid()");
        let mut run = self.start(setup, proxies);
        let waits = run.until(|| self.side(side).count("pg_locks WHERE NOT granted") > 0);
        let lets_go = dice.once_in(2);
        if lets_go {
            other.sql("ROLLBACK");
        }
        let outcome = run.finish();
        let complaint = match &outcome {
            // Swap waits in slices, which end before anybody looks.
            Ok(outcome) if !lets_go && waits && setup.mode != "swap" => {
                let error = &outcome
                    .reports
                    .first()
                    .map(|report| report["error"].clone());
                let said = error.as_ref().map(ToString::to_string).unwrap_or_default();
                (!said.contains(&pid))
                    .then(|| format!("the lock's holder {pid} is not named: {said}"))
            }
            _ => None,
        };
        Struck {
            injected: waits,
            outcome,
            complaint,
        }
    }

    /// The run holds `t` and waits for `u`, while somebody holds `u` and waits for `t`; or rows of
    /// them, in modes that write those.
    fn deadlock(&self, setup: &Setup, proxies: &[Proxy; 2], dice: &mut Dice) -> Struck {
        let rows = matches!(setup.mode, "merge" | "upsert") && dice.once_in(2);
        let lock = |table: &str, key: u64| match rows {
            true => format!("SELECT FROM {table} WHERE id = {key} FOR UPDATE"),
            // What swap asks of the catalogue before it begins waits for the strongest locks only.
            false if setup.mode == "swap" => {
                format!("LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
            }
            false => format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
        };
        // Rows that both sides have, and that differ.
        let (of_t, of_u) = (lock("t", NEW_ROWS - 1), lock("u", NEW_ROWS / 6 - 1));
        let other = self.db.target.connect();
        other.sql(&format!("SET deadlock_timeout = '20s'; BEGIN; {of_u}"));
        let mut run = self.start(setup, proxies);
        let waits = run.until(|| self.db.target.count("pg_locks WHERE NOT granted") > 0);
        let got_it = thread::spawn(move || {
            let got_it = other.try_sql(&format!("{of_t}; ROLLBACK"));
            drop(other);
            got_it.is_ok()
        });
        let outcome = run.finish();
        let got_it = got_it.join().unwrap();
        let was_victim = |outcome: &Outcome| outcome.stderr.contains("40P01");
        let complaint = match &outcome {
            _ if !got_it => Some("the other session was the victim"),
            Ok(outcome) if outcome.code != Some(0) => Some("it was not tried again"),
            _ => None,
        };
        Struck {
            injected: waits && outcome.as_ref().is_ok_and(was_victim),
            complaint: complaint.map(str::to_owned),
            outcome,
        }
    }

    fn no_connection_left(&self, setup: &Setup, proxies: &[Proxy; 2], dice: &mut Dice) -> Struck {
        let side = usize::try_from(dice.below(2)).unwrap();
        let conninfo = [&self.db.source, &self.db.target][side].conninfo();
        let mut taken = Vec::new();
        while let Ok(connection) = Connection::try_open(&conninfo) {
            taken.push(connection);
            assert!(taken.len() < 100, "max_connections has no effect");
        }
        let run = self.start(setup, proxies);
        if dice.once_in(2) {
            thread::sleep(Duration::from_millis(dice.below(250)));
            taken.clear();
        }
        let outcome = run.finish();
        drop(taken);
        Struck {
            injected: true,
            outcome,
            complaint: None,
        }
    }

    /// The history's check: acknowledged means present exactly once, anything else all or nothing.
    fn check(
        &self,
        rows: &Rows,
        kind: Kind,
        setup: &Setup,
        outcome: &Outcome,
    ) -> Result<Ended, String> {
        let killed = matches!(kind, Kind::Sigkill | Kind::SigstopKill) && outcome.signal == Some(9);
        self.check_nothing_left(killed && setup.workers > 1)?;
        let now = rows_of(&self.db.target);
        let ended = match (now == rows.new, now == rows.old) {
            (true, _) => Ended::Committed,
            (_, true) => Ended::RolledBack,
            _ => {
                return Err(format!(
                    "torn: {} rows, {} before, {} wanted",
                    now.len(),
                    rows.old.len(),
                    rows.new.len()
                ));
            }
        };
        if killed {
            return self.check_ledger(setup, None, &ended).map(|()| ended);
        }
        let [report] = outcome.reports.as_slice() else {
            return Err("not one report".to_owned());
        };
        let reported = report["outcome"].as_str().unwrap_or_default();
        let agrees = match (&ended, reported, outcome.code) {
            (Ended::Committed, "committed", Some(0))
            | (Ended::RolledBack, "rolled_back", Some(1)) => true,
            (Ended::RolledBack, "cancelled", Some(3)) => kind == Kind::Sigterm,
            // Told to stop while it asked what became of its COMMIT.
            (_, "in_doubt", Some(4)) => kind == Kind::Sigterm,
            _ => false,
        };
        if !agrees {
            return Err(format!(
                "{ended:?}, but reported {reported}, exit code {:?}",
                outcome.code
            ));
        }
        self.check_ledger(setup, report["run_id"].as_str(), &ended)?;
        Ok(ended)
    }

    /// The ledger calls a run committed if and only if its rows are there.
    fn check_ledger(&self, setup: &Setup, run: Option<&str>, ended: &Ended) -> Result<(), String> {
        if !setup.ledger {
            return Ok(());
        }
        let filter = match run {
            Some(run) => format!("run_id = '{run}'"),
            // A killed run has told nobody its number: the latest is its own, if it came to have one.
            None => "run_id = (SELECT run_id FROM tableferry.run ORDER BY started_at DESC LIMIT 1)"
                .into(),
        };
        let sql = format!("tableferry.run WHERE state = 'committed' AND {filter}");
        let committed = self.db.target.count(&sql) == 1;
        let latest_may_be_older = run.is_none() && *ended == Ended::RolledBack;
        if committed == (*ended == Ended::Committed) || latest_may_be_older {
            return Ok(());
        }
        Err(format!(
            "{ended:?}, but the ledger says committed = {committed}"
        ))
    }

    /// What the workers of a killed run have committed, the job's next run drops: here it goes at once,
    /// by its mark.
    fn check_nothing_left(&self, workers_were_killed: bool) -> Result<(), String> {
        for (name, db) in [("source", &self.db.source), ("target", &self.db.target)] {
            let began = Instant::now();
            while db.count(OURS) > 0 {
                if began.elapsed() > GONE_WAIT {
                    let left =
                        db.rows(&format!("SELECT pid, state, wait_event, query FROM {OURS}"));
                    return Err(format!("sessions are left on the {name}: {left:?}"));
                }
                thread::sleep(Duration::from_millis(5));
            }
            if workers_were_killed {
                db.sql(
                    "DO $$ DECLARE marked regclass; BEGIN \
                     FOR marked IN SELECT oid FROM pg_class WHERE relkind = 'r' \
                         AND relname LIKE 'tableferry\\_shadow\\_%' \
                         AND obj_description(oid, 'pg_class') LIKE 'tableferry: shadow of %, by run % of job %' \
                     LOOP EXECUTE 'DROP TABLE ' || marked; END LOOP; END $$",
                );
            }
            let extra = db.rows(
                "SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p', 'S', 'v', 'm') \
                 AND relnamespace::regnamespace::text NOT IN \
                     ('pg_catalog', 'information_schema', 'pg_toast', 'tableferry', 'junk') \
                 AND relname NOT IN ('t', 'u')",
            );
            if !extra.is_empty() {
                return Err(format!("relations are left on the {name}: {extra:?}"));
            }
        }
        Ok(())
    }
}

/// A run in the background, and the files that it reads.
struct Background {
    running: Running,
    _job: crate::support::Job,
}

impl Background {
    fn signal(&self, signal: Signal) -> bool {
        self.running.kill(signal);
        true
    }

    /// Waits until it has come so far; `false` when the run was over before.
    fn until(&mut self, mut come: impl FnMut() -> bool) -> bool {
        let began = Instant::now();
        loop {
            if come() {
                return true;
            }
            if self.running.has_ended() || began.elapsed() > RUN_WAIT {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(mut self) -> Result<Outcome, String> {
        let began = Instant::now();
        while !self.running.has_ended() {
            if began.elapsed() > RUN_WAIT {
                let left = format!("{}{}", self.running.stdout(), self.running.stderr());
                return Err(format!("hangs: {left}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(self.running.wait(PATIENCE))
    }

    fn wait(self, bound: Duration) -> Outcome {
        self.running.wait(bound)
    }
}

fn setup(mode: &'static str, kind: Kind, dice: &mut Dice) -> Setup {
    Setup {
        mode,
        format: dice.one_of(&["binary", "text"]),
        tls: dice.once_in(4),
        ledger: !dice.once_in(4),
        workers: if matches!(mode, "swap" | "merge" | "upsert") {
            dice.one_of(&[1, 3])
        } else {
            1
        },
        retries: match kind {
            Kind::Deadlock => 2,
            Kind::LockHeld => 0,
            _ => dice.one_of(&[0, 0, 2]),
        },
        stall_timeout: if kind == Kind::Stall { "1s" } else { "20s" },
        lock_timeout: if kind == Kind::LockHeld { "3s" } else { "10s" },
    }
}

/// Half of the time one of the first and last messages, where every one is another statement.
fn some_message(count: u64, dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => 1 + dice.below(count.min(70)),
        1 => count.saturating_sub(dice.below(count.min(30))).max(1),
        _ => 1 + dice.below(count),
    }
}

/// Table and key of `t (12,…)`.
fn key_of(row: &str) -> &str {
    row.split(',').next().unwrap()
}

fn rows_of(db: &Connection) -> Vec<String> {
    let mut rows: Vec<String> = db
        .rows(ROWS_SQL)
        .into_iter()
        .filter_map(|mut row| row.pop().flatten())
        .collect();
    rows.sort();
    rows
}

/// A server that speaks TLS, has few connections, and does not lose what it has acknowledged. It lives
/// as long as the test process.
fn cluster(options: ClusterOptions) -> &'static Cluster {
    let options = options
        .setting("max_connections", "16")
        .setting("superuser_reserved_connections", "1")
        .setting("max_wal_senders", "0")
        .setting("deadlock_timeout", "500ms")
        .setting("synchronous_commit", "on");
    let cluster = Box::leak(Box::new(Cluster::start_with(&options)));
    let signed = Authority::new("Faults").sign("db.example");
    cluster.write_file("server.crt", signed.pem());
    cluster.write_file("server.key", signed.pkcs8());
    cluster.administrator().sql("ALTER SYSTEM SET ssl = on");
    cluster.administrator().sql("SELECT pg_reload_conf()");
    wait_until(PATIENCE, || {
        cluster.connect("postgres").value("SHOW ssl") == "on"
    });
    cluster
}
