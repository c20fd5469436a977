//! What may happen to tables besides changes of rows.

use super::case::Game;
use super::world::World;
use crate::support::dice::Dice;
use crate::support::{PATIENCE, wait_until};

/// Lets something happen, on one side or on both.
pub fn event(dice: &mut Dice, game: &Game, world: &mut World<'_>, turn: u64) {
    let is_source = dice.once_in(2);
    let is_partitioned = game.shape.is_partitioned(is_source);
    let of_leaf = if is_partitioned { "p2" } else { "t" };
    let one = |sql: &str| vec![sql.to_owned()];
    match dice.below(17) {
        0 => {
            let mut statements = one(&format!(
                "TRUNCATE {}",
                if dice.once_in(2) { "t" } else { of_leaf }
            ));
            if dice.once_in(2) {
                let numbers: Vec<i64> = (50..150).collect();
                statements.push(super::dml::insert(dice, game.shape, &numbers, "DO NOTHING"));
            }
            world.attempt(is_source, &statements);
        }
        1 => drop(world.attempt(is_source, &one("VACUUM FULL t"))),
        2 => {
            let index = world.side(is_source).value(&format!(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = '{of_leaf}'::regclass AND indisprimary"
            ));
            world.attempt(is_source, &one(&format!("CLUSTER {of_leaf} USING {index}")));
        }
        3 => drop(world.attempt(is_source, &one("VACUUM (FREEZE, ANALYZE) t"))),
        4 => {
            let rewrite = "ALTER TABLE t ALTER w TYPE text USING v";
            world.attempt(is_source, &one(rewrite));
        }
        5 | 6 => fast_default(world, turn),
        7 => drop(world.attempt(is_source, &one("ANALYZE t"))),
        8 => drop(world.attempt(is_source, &one(&format!("REINDEX TABLE {of_leaf}")))),
        9 => swap_names(world, is_source),
        10 => label(world),
        11 | 12 => twin(world, is_source, is_partitioned),
        13 => made_again(dice, world, is_source, is_partitioned),
        14 => restore(world, is_source),
        15 => trigger(world),
        _ => drop(
            world.attempt(
                is_source,
                &[
                    "BEGIN",
                    "CREATE TEMP TABLE kept AS SELECT * FROM t",
                    "TRUNCATE t",
                    "INSERT INTO t SELECT * FROM kept",
                    "COMMIT",
                ]
                .map(str::to_owned),
            ),
        ),
    }
}

/// A column whose values are in the catalogue only, and differ on the sides.
fn fast_default(world: &mut World<'_>, turn: u64) {
    let (drop, now) = match world.has_x {
        true => ("DROP COLUMN x, ", false),
        false => ("", true),
    };
    let add = |side: &str| format!("ALTER TABLE t {drop}ADD COLUMN x text DEFAULT '{side}{turn}'");
    let [on_source, on_target] = [add("s"), add("t")];
    // A lock that one side does not get leaves columns that only the other has.
    if world.is_open(true) || world.is_open(false) {
        return;
    }
    for (is_source, sql) in [(true, on_source), (false, on_target)] {
        world.must(is_source, "DROP TABLE IF EXISTS twin");
        world.must(is_source, &sql);
    }
    world.has_x = world.has_x || now;
}

/// Two columns take each other's names: all values change, and no row is written.
fn swap_names(world: &mut World<'_>, is_source: bool) {
    let statements = [
        "BEGIN",
        "DROP TABLE IF EXISTS twin",
        "ALTER TABLE t RENAME v TO other",
        "ALTER TABLE t RENAME w TO v",
        "ALTER TABLE t RENAME other TO w",
        "COMMIT",
    ];
    world.attempt(is_source, &statements.map(str::to_owned));
}

/// The source's first label becomes another of the target's, and back.
fn label(world: &mut World<'_>) {
    let first = world.db.source.value("SELECT (enum_range(NULL::mood))[1]");
    let other = if first == "sad" { "blue" } else { "sad" };
    let rename = format!("ALTER TYPE mood RENAME VALUE '{first}' TO '{other}'");
    world.attempt(true, &[rename]);
}

/// A table, or a partition, with rows of another past takes the place of this one; the first time, it is made.
fn twin(world: &mut World<'_>, is_source: bool, is_partitioned: bool) {
    let side = world.side(is_source);
    let there = side.count("pg_class WHERE relname = 'twin'") == 1;
    let statements: &[&str] = match (there, is_partitioned) {
        (false, true) => &[
            "CREATE TABLE twin (LIKE p2 INCLUDING ALL)",
            "INSERT INTO twin SELECT * FROM p2",
            "UPDATE twin SET v = 'twin'",
        ],
        (false, false) => &[
            "CREATE TABLE twin (LIKE t INCLUDING ALL)",
            "INSERT INTO twin SELECT * FROM t",
            "UPDATE twin SET v = 'twin'",
        ],
        (true, true) => &[
            "BEGIN",
            "ALTER TABLE t DETACH PARTITION p2",
            "ALTER TABLE t ATTACH PARTITION twin FOR VALUES FROM (100) TO (200)",
            "ALTER TABLE p2 RENAME TO other",
            "ALTER TABLE twin RENAME TO p2",
            "ALTER TABLE other RENAME TO twin",
            "COMMIT",
        ],
        (true, false) => &[
            "BEGIN",
            "ALTER TABLE t RENAME TO other",
            "ALTER TABLE twin RENAME TO t",
            "ALTER TABLE other RENAME TO twin",
            "COMMIT",
        ],
    };
    let statements: Vec<String> = statements.iter().map(|sql| (*sql).to_owned()).collect();
    world.attempt(is_source, &statements);
}

/// The table is dropped and made again, as a restored dump does.
fn made_again(dice: &mut Dice, world: &mut World<'_>, is_source: bool, is_partitioned: bool) {
    let (name, end) = match is_partitioned {
        true => (
            "p2",
            "ALTER TABLE t ATTACH PARTITION fresh FOR VALUES FROM (100) TO (200)",
        ),
        false => ("t", "SELECT 1"),
    };
    let rows = if dice.once_in(2) {
        "a IS NULL OR a < 3"
    } else {
        "true"
    };
    let statements = [
        "BEGIN".to_owned(),
        format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"),
        format!("CREATE TABLE fresh (LIKE {name} INCLUDING ALL)"),
        format!("INSERT INTO fresh SELECT * FROM {name} WHERE {rows}"),
        format!("DROP TABLE {name}"),
        end.to_owned(),
        format!("ALTER TABLE fresh RENAME TO {name}"),
        "COMMIT".to_owned(),
    ];
    world.attempt(is_source, &statements);
}

/// A trigger that changes nothing, which the plan cannot know.
fn trigger(world: &mut World<'_>) {
    let sql = match world.has_trigger {
        true => "DROP TRIGGER nothing ON t",
        false => {
            world.must(
                false,
                "CREATE OR REPLACE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            );
            "CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION nothing()"
        }
    };
    if world.attempt(false, &[sql.to_owned()]) {
        world.has_trigger = !world.has_trigger;
    }
}

/// The whole database comes back as it was when it was copied; the first time, it is copied.
fn restore(world: &mut World<'_>, is_source: bool) {
    let shape = (world.has_x, world.has_trigger);
    let backup = world.backups[usize::from(!is_source)];
    // Columns and triggers must be those of then.
    if world.is_open(is_source) || backup.is_some_and(|then| then != shape) {
        return;
    }
    let comes_back = backup.is_some();
    world.backups[usize::from(!is_source)] = (!comes_back).then_some(shape);
    let what = if comes_back { "restored" } else { "backed up" };
    world.note(format!("{}: {what}", super::world::name(is_source)));
    let side = match is_source {
        true => &mut world.db.source,
        false => &mut world.db.target,
    };
    side.while_nobody_is_there(|cluster, name| {
        let statements = match comes_back {
            true => vec![
                format!("DROP DATABASE {name} WITH (FORCE)"),
                format!("ALTER DATABASE {name}_backup RENAME TO {name}"),
            ],
            false => vec![format!("CREATE DATABASE {name}_backup TEMPLATE {name}")],
        };
        for sql in statements {
            wait_until(PATIENCE, || match cluster.administrator().try_sql(&sql) {
                Ok(()) => true,
                Err(error) if error.code().is_some_and(|code| code.code() == "55006") => false,
                Err(error) => panic!("{sql}: {error:?}"),
            });
        }
    });
}
