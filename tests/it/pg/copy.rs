//! What comes through the tap is what the server sent, to the byte.

use std::pin::pin;
use std::process::Command;

use futures_util::TryStreamExt;
use tableferry::error::Phase;

use super::open;
use crate::support;

/// COPY's bytes by `psql`, or `None` where there is none.
fn by_psql(conninfo: &str, copy: &str) -> Option<Vec<u8>> {
    let settings = "-c extra_float_digits=3 -c bytea_output=hex";
    let output = Command::new("psql")
        .env("PGOPTIONS", settings)
        .args(["-X", "-q", "-d", conninfo, "-c", copy])
        .output()
        .ok()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}

#[tokio::test]
async fn copied_bytes_are_those_of_psql() {
    let db = support::databases("tap");
    db.source.sql(
        "CREATE TABLE narrow AS SELECT i AS id, i * 7 AS n FROM generate_series(1, 50000) i;
         CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text), 1 + i % 60) AS t,
             ARRAY[i, NULL, 3] AS a, (i % 3 = 0)::boolean AS b FROM generate_series(1, 5000) i;
         CREATE TABLE huge AS SELECT i AS id, repeat(md5(i::text), 100000 * i) AS t FROM generate_series(1, 4) i;
         CREATE TABLE mixed AS SELECT i AS id, repeat('x', CASE WHEN i % 50 = 0 THEN 300000 ELSE i % 7 END) AS t
             FROM generate_series(1, 1000) i;
         CREATE TABLE nothing (id int);
         CREATE TABLE columnless ();
         INSERT INTO columnless SELECT FROM generate_series(1, 100)",
    );
    for conninfo in [db.source.conninfo(), db.source.socket_conninfo()] {
        let session = open(&conninfo).await.unwrap();
        for table in ["narrow", "wide", "huge", "mixed", "nothing", "columnless"] {
            for (format, more) in [("binary", 1), ("text", 0)] {
                let copy =
                    format!("COPY (SELECT * FROM public.{table}) TO STDOUT (FORMAT {format})");
                let before = session.tap().copy_messages();
                let bytes_before = session.tap().copy_bytes();
                let mut copied = Vec::new();
                let mut blocks = 0;
                let mut stream = pin!(session.client().copy_out(&copy).await.unwrap());
                while let Some(block) = stream.try_next().await.unwrap() {
                    copied.extend_from_slice(&block);
                    blocks += 1;
                }
                let rows = db.source.count(table);
                let messages = session.tap().copy_messages() - before;
                assert_eq!(messages, rows + more, "{table} {format}");
                assert_eq!(
                    session.tap().copy_bytes() - bytes_before,
                    copied.len() as u64
                );
                // Large rows come in pieces.
                let pieces = copied.len() as u64 / (64 << 10);
                assert!(
                    blocks <= messages + pieces,
                    "{table} {format}: {blocks} of {messages}"
                );
                if table == "narrow" {
                    assert!(blocks < messages / 50, "{blocks} of {messages}");
                }
                assert_eq!(session.tap().take_tag(), Some(format!("COPY {rows}")));
                if let Some(expected) = by_psql(&conninfo, &copy) {
                    assert!(copied == expected, "{table} {format} differs");
                }
            }
        }
        session.run(Phase::Inspect, "SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn an_error_during_copy_in_is_noticed_at_once() {
    use futures_util::SinkExt;

    let db = support::databases("early_error");
    db.target.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let session = open(&db.target.conninfo()).await.unwrap();
    session.run(Phase::CopyIn, "BEGIN").await.unwrap();
    let mut sink = Box::pin(
        session
            .client()
            .copy_in::<_, bytes::Bytes>("COPY public.t FROM STDIN")
            .await
            .unwrap(),
    );
    assert!(!session.tap().error_seen());
    sink.send(bytes::Bytes::from_static(b"one\ntwo\n"))
        .await
        .unwrap();
    session.tap().error_arrived().await;
    assert!(session.tap().error_seen());
    let error = session.error(Phase::CopyIn, sink.as_mut().finish().await.unwrap_err());
    assert_eq!(error.sqlstate(), Some("22P02"));
    session.tap().forget_error();
    assert!(!session.tap().error_seen());
}
