//! Rows out of tables and queries.

use futures_util::TryStreamExt;
use tableferry::{Client, ErrorKind, Format, FromRow, ReadBuilder, Result, Row};

use super::{block_on, client, refused, words};
use crate::support::{Databases, databases};

fn filled(name: &str) -> Databases<'static> {
    let db = databases(name);
    db.source.sql(
        "CREATE TABLE t (id int PRIMARY KEY, name text, double int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t SELECT i, nullif('row ' || i, 'row 7') FROM generate_series(1, 20000) i",
    );
    db
}

struct Named {
    id: i32,
    name: Option<String>,
}

impl FromRow for Named {
    fn from_row(row: Row) -> Result<Self> {
        assert_eq!((row.len(), row.is_empty()), (2, false));
        Ok(Named {
            id: row.get("id")?,
            name: row.get("name")?,
        })
    }
}

#[test]
fn relations_and_queries_give_typed_rows() {
    let db = filled("library_read");
    block_on(async {
        let client = client(&db.source).await;
        let rows = client
            .read("public.t")
            .rows::<(i32, Option<String>)>()
            .await
            .unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        assert_eq!(rows.len(), 20_000);
        assert!(rows.contains(&(7, None)) && rows.contains(&(8, Some("row 8".to_owned()))));

        let read = client
            .read("public.t")
            .columns(["double", "id"])
            .filter("id < 3");
        let rows = read.rows::<(i32, i32)>().await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        assert_eq!(rows, [(2, 1), (4, 2)]);

        let sql = "SELECT id, name FROM public.t WHERE id BETWEEN $1 AND $2 AND name <> ALL ($3) ORDER BY id";
        let query = client.query(sql).bind(5).bind(9).bind(vec!["row 5"]);
        let mut rows = query.rows::<Named>().await.unwrap();
        assert_eq!(rows.columns()[1].name, "name");
        let mut found = Vec::new();
        while let Some(row) = rows.next().await {
            let Named { id, name } = row.unwrap();
            found.push(format!("{id} {}", name.unwrap_or_default()));
        }
        assert_eq!(found, ["6 row 6", "8 row 8", "9 row 9"]);
        assert!(rows.next().await.is_none(), "an end stays an end");

        let query = client.query("SELECT count(*), NULL::text FROM public.t");
        let rows = query.rows::<Row>().await.unwrap();
        let rows: Vec<Row> = rows.try_collect().await.unwrap();
        assert_eq!(rows[0].get::<i64>(0).unwrap(), 20_000);
        assert_eq!(
            refused(rows[0].get::<String>(1)).kind(),
            ErrorKind::DataRejected
        );
        assert_eq!(
            refused(rows[0].get::<i32>("count")).kind(),
            ErrorKind::SchemaMismatch
        );
        assert_eq!(
            refused(rows[0].get::<i32>("nix")).kind(),
            ErrorKind::SchemaMismatch
        );
    });
    db.wait_until_left();
}

#[test]
fn what_cannot_be_read_is_refused_before_the_first_row() {
    let db = filled("library_read_refused");
    block_on(async {
        let client = client(&db.source).await;
        let refuse = async |read: ReadBuilder| refused(read.rows::<(i32, Option<String>)>().await);
        let query = |sql: &str| client.query(sql);
        let cases = [
            (
                client.read("public.nix"),
                ErrorKind::SchemaMismatch,
                "does not exist",
            ),
            (client.read("t"), ErrorKind::Config, "no relation's name"),
            (
                client.read("public.t").columns(["id", "nix"]),
                ErrorKind::SchemaMismatch,
                "nix",
            ),
            (
                client.read("public.t").columns(["name", "id"]),
                ErrorKind::SchemaMismatch,
                "column name is text",
            ),
            (
                client.read("public.t").columns(["id"]),
                ErrorKind::SchemaMismatch,
                "1 columns",
            ),
            (
                client.read("public.t").bind(1),
                ErrorKind::Config,
                "parameters",
            ),
            (
                query("SELECT 1; SELECT 2"),
                ErrorKind::SchemaMismatch,
                "semicolon",
            ),
            (
                query("SELECT $1::int, ''").bind(1).bind(2),
                ErrorKind::SchemaMismatch,
                "1 parameter, and 2 are bound",
            ),
            (
                query("SELECT $1::int, ''"),
                ErrorKind::SchemaMismatch,
                "parameters",
            ),
            (
                query("SELECT id, 'x' FROM public.t").columns(["id"]),
                ErrorKind::Config,
                "belong into the query",
            ),
        ];
        for (read, kind, part) in cases {
            let error = refuse(read).await;
            assert_eq!(error.kind(), kind, "{error}");
            assert!(words(&error).contains(part), "{part}: {}", words(&error));
        }
        let sql = "SELECT id, name FROM public.t WHERE id = $1";
        let error = refuse(query(sql).bind("text")).await;
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
        assert!(error.to_string().contains("parameter $1"), "{error}");
        let csv = query("SELECT $1::int").bind(1).blocks(Format::csv()).await;
        assert!(words(&refused(csv)).contains("binary blocks"));
    });
    db.wait_until_left();
}

#[test]
fn an_error_amid_the_rows_is_not_their_end() {
    let db = filled("library_read_error");
    block_on(async {
        let client = client(&db.source).await;
        let query = client
            .query("SELECT 1 / (15000 - id) FROM public.t WHERE id > $1")
            .bind(0);
        let mut rows = query.rows::<(i32,)>().await.unwrap();
        let mut came = 0;
        let error = loop {
            match rows.next().await {
                Some(Ok(_)) => came += 1,
                Some(Err(error)) => break error,
                None => panic!("the rows ended after {came}"),
            }
        };
        assert_eq!(error.sqlstate(), Some("22012"), "{error}");
        assert!(rows.next().await.is_none());
    });
    db.wait_until_left();
}

#[test]
fn a_stream_that_is_dropped_leaves_nothing_on_the_server() {
    let db = filled("library_read_drop");
    block_on(async {
        let client = client(&db.source).await;
        let endless = "SELECT generate_series(1, 1000000000)";
        let mut rows = client.query(endless).rows::<(i32,)>().await.unwrap();
        rows.next().await.unwrap().unwrap();
        drop(rows);
        let mut blocks = client.query(endless).blocks(Format::csv()).await.unwrap();
        blocks.next().await.unwrap().unwrap();
        drop(blocks);
    });
    db.wait_until_left();
}

async fn all(read: ReadBuilder, format: Format) -> Vec<u8> {
    let blocks = read.blocks(format).await.unwrap();
    blocks
        .try_fold(Vec::new(), async |mut all, block| {
            all.extend_from_slice(&block);
            Ok(all)
        })
        .await
        .unwrap()
}

#[test]
fn blocks_are_copy_data_that_can_be_loaded() {
    let db = filled("library_blocks");
    db.target.sql("CREATE TABLE t (id int, name text)");
    block_on(async {
        let source = client(&db.source).await;
        let target: Client = client(&db.target).await;
        let small = source.query("SELECT id, name FROM public.t WHERE id IN (7, 8) ORDER BY id");
        let csv = all(small, Format::csv().delimiter(b';')).await;
        assert_eq!(String::from_utf8(csv).unwrap(), "id;name\n7;\n8;row 8\n");
        // Binary of COPY, and of a query with parameters, are the same.
        let by_copy = all(
            source.query("SELECT id, name FROM public.t ORDER BY id"),
            Format::binary(),
        )
        .await;
        let bound = source
            .query("SELECT id, name FROM public.t WHERE id > $1 ORDER BY id")
            .bind(0);
        assert_eq!(all(bound, Format::binary()).await, by_copy);
        for (format, data) in [
            (Format::binary(), by_copy),
            (
                Format::text(),
                all(source.read("public.t"), Format::text()).await,
            ),
            (
                Format::csv(),
                all(source.read("public.t"), Format::csv()).await,
            ),
        ] {
            let load = target.load("public.t").mode(tableferry::Mode::Truncate);
            let mut load = load.data(format).await.unwrap();
            load.write(data).await.unwrap();
            load.commit().await.unwrap();
            let ours = "SELECT id, name FROM t ORDER BY id";
            assert_eq!(db.target.rows(ours), db.source.rows(ours));
        }
    });
    db.wait_until_left();
}
