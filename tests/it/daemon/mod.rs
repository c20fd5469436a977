//! `tableferry daemon`: the real binary between real servers.

mod clock;
mod control;
mod doubt;
mod fleet;
mod fresh;
mod notices;
mod notify;
mod pauses;
mod restart;
mod schedule;
mod signals;
mod watch;

use crate::support::{Databases, databases};

/// 1000 rows on the source, 10 others on the target.
fn tables(name: &str) -> Databases<'static> {
    filled(databases(name))
}

fn filled(db: Databases<'_>) -> Databases<'_> {
    db.both("CREATE TABLE t (id int PRIMARY KEY, v text)");
    db.source
        .sql("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 1000) i");
    db.target
        .sql("INSERT INTO t SELECT -i, 'old' FROM generate_series(1, 10) i");
    db
}

/// The target is as it was.
#[track_caller]
fn assert_old(db: &Databases<'_>) {
    assert_eq!(db.target.count("t"), 10);
    assert_eq!(db.target.count("t WHERE id < 0"), 10);
}
