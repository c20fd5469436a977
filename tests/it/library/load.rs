//! Typed rows into a table.

use futures_util::future::poll_immediate;
use futures_util::stream;
use rstest::rstest;
use tableferry::types::ToSql;
use tableferry::{Client, ErrorKind, Mode, Outcome, Phase, RowWriter, Side, ToRow};

use super::{block_on, client, refused, words};
use crate::support::databases;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, name text, price float8)";

#[rstest]
#[case::append(Mode::Append, "9,old 1,one 2,")]
#[case::truncate(Mode::Truncate, "1,one 2,")]
#[case::swap(Mode::Swap, "1,one 2,")]
#[case::merge(Mode::Merge, "1,one 2,")]
#[case::upsert(Mode::Upsert, "9,old 1,one 2,")]
fn every_mode_takes_typed_rows(#[case] mode: Mode, #[case] expected: &str) {
    let db = databases("library_modes");
    db.target.sql(TABLE);
    db.target.sql("INSERT INTO t VALUES (9, 'old', 9)");
    let report = block_on(async {
        let client = client(&db.target).await;
        let mut load = client.load("public.t").mode(mode).rows().await.unwrap();
        load.write((1, "one", 1.5)).await.unwrap();
        load.write((2, None::<String>, None::<f64>)).await.unwrap();
        load.commit().await.unwrap()
    });
    let rows =
        "SELECT string_agg(id || ',' || coalesce(name, ''), ' ' ORDER BY id = 9 DESC, id) FROM t";
    assert_eq!(db.target.rows(rows)[0][0].as_deref(), Some(expected));
    assert_eq!(report.outcome, Outcome::Committed);
    let [table] = report.tables.as_slice() else {
        panic!("{report:?}")
    };
    let told = (
        table.target.as_str(),
        table.mode,
        table.format,
        table.rows_read,
    );
    assert_eq!(told, ("public.t", mode, "binary", 2));
    assert_eq!(table.rows_inserted, 2, "{report:?}");
    db.wait_until_left();
}

struct Item {
    id: i32,
    tags: Vec<String>,
}

impl ToRow for Item {
    fn write_to(&self, row: &mut RowWriter<'_>) {
        row.value(&self.id).value(&self.tags).value(&"literal");
    }
}

#[test]
fn rows_may_be_types_of_the_program_slices_iterators_and_streams() {
    let db = databases("library_rows");
    db.target.sql(
        "CREATE DOMAIN short AS text CHECK (length(value) < 10);
         CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE TABLE t (extra mood DEFAULT 'ok', id int GENERATED ALWAYS AS IDENTITY, tags text[],
             word short, double int GENERATED ALWAYS AS (id * 2) STORED)",
    );
    block_on(async {
        let client = client(&db.target).await;
        let columns = ["id", "tags", "word"];
        let mut load = client
            .load("public.t")
            .columns(columns)
            .rows()
            .await
            .unwrap();
        let types: Vec<String> = load
            .columns()
            .iter()
            .map(|c| format!("{} {}", c.name, c.ty))
            .collect();
        assert_eq!(types, ["id int4", "tags _text", "word text"]);
        let item = |id| Item {
            id,
            tags: vec!["a".to_owned(), "b".to_owned()],
        };
        load.write(item(1)).await.unwrap();
        load.write(&item(2)).await.unwrap();
        load.write_all((3..=10_000).map(item)).await.unwrap();
        load.write_stream(stream::iter((10_001..=10_003).map(item)))
            .await
            .unwrap();
        let dynamic: Vec<Box<dyn ToSql + Sync>> =
            vec![Box::new(10_004), Box::new(None::<Vec<&str>>), Box::new("x")];
        load.write(&dynamic).await.unwrap();
        let borrowed: [&(dyn ToSql + Sync); 3] = [&10_005, &vec!["z"], &"y"];
        load.write(borrowed).await.unwrap();
        assert_eq!(load.commit().await.unwrap().rows_written(), 10_005);
    });
    let summary = "SELECT count(DISTINCT id), sum(cardinality(tags)), min(double), max(word), min(extra) FROM t";
    let found: Vec<_> = db.target.rows(summary)[0]
        .iter()
        .flatten()
        .cloned()
        .collect();
    assert_eq!(found, ["10005", "20007", "2", "y", "ok"]);
}

#[test]
fn the_columns_of_a_load_without_a_list_are_the_tables() {
    let db = databases("library_columns");
    db.target.sql(
        "CREATE TABLE t (b int, gen int GENERATED ALWAYS AS (b) STORED, a \"char\", \"A b\" uuid)",
    );
    let names = block_on(async {
        let load = client(&db.target)
            .await
            .load("public.t")
            .rows()
            .await
            .unwrap();
        let names: Vec<String> = load.columns().iter().map(|c| c.name.clone()).collect();
        load.rollback().await;
        names
    });
    assert_eq!(names, ["b", "a", "A b"]);
    db.wait_until_left();
}

async fn first_row<R: ToRow>(client: &Client, row: R) -> tableferry::Error {
    let mut load = client.load("public.t").rows().await.unwrap();
    let error = refused(load.write(row).await);
    assert_eq!(
        (error.kind(), error.side()),
        (ErrorKind::SchemaMismatch, Side::Local),
        "{error}"
    );
    // What was left out must not go unnoticed.
    let after = refused(load.write((1, "a", 1.0)).await);
    assert!(after.to_string().contains("had an error before"), "{after}");
    refused(load.commit().await);
    error
}

#[test]
fn types_and_number_of_the_values_are_checked_before_the_first_row() {
    let db = databases("library_types");
    db.target.sql(TABLE);
    block_on(async {
        let client = client(&db.target).await;
        let error = words(&first_row(&client, (1_i64, "a", 1)).await);
        for part in [
            "row 1",
            "column id",
            "`i64`",
            "`int4`",
            "column price",
            "`i32`",
            "`float8`",
            "postgres-types",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        // A NULL has a type, too.
        let error = words(&first_row(&client, (None::<i64>, "a", 1.0)).await);
        assert!(error.contains("column id"), "{error}");
        let error = words(&first_row(&client, (1, "a")).await);
        assert!(
            error.contains("row 1 has 2 values, and 3 columns are written: id, name, price"),
            "{error}"
        );
        let error = words(&first_row(&client, (1, "a", 1.0, 2)).await);
        assert!(error.contains("row 1 has 4 values"), "{error}");
    });
    assert_eq!(db.target.count("t"), 0);
    db.wait_until_left();
}

#[test]
fn what_cannot_be_loaded_is_refused_before_a_row() {
    let db = databases("library_refused");
    db.target.sql(TABLE);
    db.target.sql("CREATE VIEW v AS SELECT * FROM t");
    block_on(async {
        let client = client(&db.target).await;
        let cases = [
            (
                client.load("t"),
                ErrorKind::Config,
                "`t` is no relation's name",
            ),
            (
                client.load("public.nix"),
                ErrorKind::SchemaMismatch,
                "does not exist on the target",
            ),
            (
                client.load("public.t").columns(["id", "nme"]),
                ErrorKind::SchemaMismatch,
                "nme",
            ),
            (
                client.load("public.t").columns(["id", "id"]),
                ErrorKind::Config,
                "named twice",
            ),
            (client.load("public.v"), ErrorKind::SchemaMismatch, "view"),
            (
                client.load("public.t").mode(Mode::Upsert).key(["name"]),
                ErrorKind::SchemaMismatch,
                "name",
            ),
            (
                client.load("public.t").max_shrink(7.0),
                ErrorKind::Config,
                "from 0 to 1",
            ),
        ];
        for (load, kind, part) in cases {
            let error = refused(load.rows().await);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(words(&error).contains(part), "{part}: {}", words(&error));
        }
    });
    let down = "host=127.0.0.1 port=1 user=nobody connect_timeout=2";
    let error = refused(block_on(Client::connect(down)));
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let error = refused(block_on(Client::connect("nokey=1")));
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    db.wait_until_left();
}

#[rstest]
#[case::dropped(false)]
#[case::rolled_back(true)]
fn a_load_that_is_not_committed_leaves_nothing(#[case] by_hand: bool) {
    let db = databases("library_drop");
    db.target.sql(TABLE);
    db.target.sql("INSERT INTO t VALUES (9, 'old', 9)");
    block_on(async {
        let client = client(&db.target).await;
        for mode in [
            Mode::Append,
            Mode::Truncate,
            Mode::Swap,
            Mode::Merge,
            Mode::Upsert,
        ] {
            let mut load = client.load("public.t").mode(mode).rows().await.unwrap();
            load.write_all((10..20_000).map(|id| (id, "new", 1.0)))
                .await
                .unwrap();
            match by_hand {
                true => load.rollback().await,
                false => drop(load),
            }
            // The next one needs the lock.
            db.wait_until_left();
        }
    });
    assert_eq!(db.target.rows("SELECT id FROM t"), [[Some("9".to_owned())]]);
}

#[test]
fn a_row_that_the_server_rejects_fails_all_of_them() {
    let db = databases("library_reject");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, name text NOT NULL)");
    block_on(async {
        let client = client(&db.target).await;
        let mut load = client.load("public.t").rows().await.unwrap();
        load.write((1, Some("secret"))).await.unwrap();
        load.write((2, None::<&str>)).await.unwrap();
        let error = refused(load.commit().await);
        assert_eq!(error.kind(), ErrorKind::DataRejected, "{error}");
        assert_eq!(error.sqlstate(), Some("23502"));
        assert_eq!((error.side(), error.phase()), (Side::Target, Phase::CopyIn));
        assert_eq!(error.relation(), Some("public.t"));
        assert!(!error.to_string().contains("secret"), "{error}");
        // It comes while rows are still being written, too.
        let mut load = client.load("public.t").rows().await.unwrap();
        let written = load.write_all(std::iter::repeat((1, "twice"))).await;
        assert_eq!(refused(written).sqlstate(), Some("23505"));
    });
    assert_eq!(db.target.count("t"), 0);
    db.wait_until_left();
}

#[test]
fn a_load_without_rows_is_subject_to_the_guard() {
    let db = databases("library_guard");
    db.target
        .sql("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 10)");
    block_on(async {
        let client = client(&db.target).await;
        let truncate = || client.load("public.t").mode(Mode::Truncate);
        let load = truncate().rows().await.unwrap();
        assert_eq!(refused(load.commit().await).kind(), ErrorKind::Guard);
        let mut load = truncate().rows().await.unwrap();
        load.write_all((0..4).map(|id| (id,))).await.unwrap();
        assert_eq!(refused(load.commit().await).kind(), ErrorKind::Guard);
        let mut load = truncate()
            .max_shrink(0.6)
            .exact_rows(4)
            .rows()
            .await
            .unwrap();
        load.write_all((0..4).map(|id| (id,))).await.unwrap();
        load.commit().await.unwrap();
        let mut load = client.load("public.t").exact_rows(2).rows().await.unwrap();
        load.write((1,)).await.unwrap();
        assert_eq!(refused(load.commit().await).kind(), ErrorKind::Guard);
        let load = truncate().allow_empty(true).rows().await.unwrap();
        load.commit().await.unwrap();
    });
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn several_loads_append_to_one_table_at_a_time() {
    let db = databases("library_several");
    db.target.sql("CREATE TABLE t (id int)");
    block_on(async {
        let client = client(&db.target).await;
        let mut first = client.load("public.t").rows().await.unwrap();
        let mut second = client.clone().load("public.t").rows().await.unwrap();
        drop(client);
        first.write((1,)).await.unwrap();
        second.write((2,)).await.unwrap();
        second.commit().await.unwrap();
        first.commit().await.unwrap();
    });
    assert_eq!(db.target.count("t"), 2);
}

#[test]
fn a_write_that_is_dropped_half_way_cannot_be_committed_without_its_rows() {
    let db = databases("library_cancel");
    db.target.sql("CREATE TABLE t (id int, filler text)");
    block_on(async {
        let client = client(&db.target).await;
        // The target takes no more than its buffers hold.
        db.target.sql(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
             CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait()",
        );
        let filler = "x".repeat(100_000);
        let mut load = client.load("public.t").rows().await.unwrap();
        let mut cut = false;
        for id in 0..100_000 {
            if poll_immediate(load.write((id, filler.as_str())))
                .await
                .is_none()
            {
                cut = true;
                break;
            }
        }
        assert!(cut, "no write had to wait");
        let error = refused(load.commit().await);
        assert!(error.to_string().contains("had an error before"), "{error}");
    });
    db.wait_until_left();
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn a_backend_that_is_gone_is_an_error_of_the_load() {
    let db = databases("library_gone");
    db.target.sql("CREATE TABLE t (id int)");
    block_on(async {
        let client = client(&db.target).await;
        let mut load = client.load("public.t").rows().await.unwrap();
        load.write((1,)).await.unwrap();
        db.target.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name LIKE 'tableferry%'",
        );
        db.wait_until_left();
        let error = refused(load.commit().await);
        assert_eq!(error.kind(), ErrorKind::ServerShutdown, "{error}");
        assert_eq!(error.sqlstate(), Some("57P01"), "{error}");
    });
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn the_futures_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let db = databases("library_send");
    db.target.sql("CREATE TABLE t (id int)");
    let conninfo = db.target.conninfo();
    let work = is_send(async move {
        let client = Client::connect(&conninfo).await.unwrap();
        let mut load = client.load("public.t").rows().await.unwrap();
        load.write((1,)).await.unwrap();
        load.commit().await.unwrap();
        let mut rows = client.read("public.t").rows::<(i32,)>().await.unwrap();
        rows.next().await.unwrap().unwrap().0
    });
    let handle = std::thread::spawn(move || block_on(work));
    assert_eq!(handle.join().unwrap(), 1);
}

/// The backends of the client, and how many sessions the database has seen from it.
fn backends(database: &crate::support::Database<'_>) -> Vec<String> {
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tableferry%'";
    database.rows(sql).into_iter().flatten().flatten().collect()
}

#[test]
fn loads_that_follow_each_other_use_one_connection() {
    let db = databases("library_batches");
    db.target.sql(TABLE);
    block_on(async {
        let client = client(&db.target).await;
        let first = backends(&db.target);
        assert_eq!(first.len(), 1);
        for round in 0..2 {
            for mode in [
                Mode::Append,
                Mode::Merge,
                Mode::Upsert,
                Mode::Swap,
                Mode::Truncate,
            ] {
                let mut load = client.load("public.t").mode(mode).rows().await.unwrap();
                load.write((round + i32::from(mode == Mode::Append), "a", 1.0))
                    .await
                    .unwrap();
                load.commit().await.unwrap();
                assert_eq!(backends(&db.target), first, "{mode:?}");
            }
        }
        // Other settings need another session, and so does a session that has gone.
        let load = client
            .load("public.t")
            .fire_triggers(false)
            .rows()
            .await
            .unwrap();
        load.commit().await.unwrap();
        let second = backends(&db.target);
        assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
        db.target
            .sql(&format!("SELECT pg_terminate_backend({})", second[0]));
        let mut load = client
            .load("public.t")
            .fire_triggers(false)
            .rows()
            .await
            .unwrap();
        load.write((7, "b", 1.0)).await.unwrap();
        load.commit().await.unwrap();
        // A session with an error is not used again.
        let third = backends(&db.target);
        let mut load = client
            .load("public.t")
            .fire_triggers(false)
            .rows()
            .await
            .unwrap();
        load.write((7, "b", 1.0)).await.unwrap();
        refused(load.commit().await);
        assert!(!backends(&db.target).contains(&third[0]));
    });
    assert_eq!(db.target.count("t"), 2);
    db.wait_until_left();
}
