//! Data in COPY's formats into a table.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rstest::rstest;
use tableferry::{ErrorKind, Format, Mode, Side};

use super::{block_on, client, refused, words};
use crate::support::databases;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[rstest]
#[case::csv(Format::csv(), b"name,id\n\"a\nb\",1\n,2\n".to_vec())]
#[case::gzip(Format::csv().delimiter(b';').null("-"), gzip("id;name\n1;\"a\nb\"\n2;-\n"))]
#[case::text(Format::text(), b"1\ta\\nb\n2\t\\N\n".to_vec())]
#[case::by_position(Format::csv().header(false), b"1,\"a\nb\"\n2,\n".to_vec())]
fn data_is_read_like_a_file(#[case] format: Format, #[case] data: Vec<u8>) {
    let db = databases("library_data");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (2, 'old')");
    let report = block_on(async {
        let client = client(&db.target).await;
        let load = client.load("public.t").mode(Mode::Merge);
        let mut load = load.data(format).await.unwrap();
        // In pieces that end anywhere, and from a reader.
        let (first, second) = data.split_at(5);
        load.write(first.to_vec()).await.unwrap();
        load.read(second).await.unwrap();
        load.commit().await.unwrap()
    });
    assert_eq!(
        (
            report.tables[0].rows_inserted,
            report.tables[0].rows_updated
        ),
        (1, 1),
        "{report:?}"
    );
    let rows = db.target.rows("SELECT id, name FROM t ORDER BY id");
    assert_eq!(
        rows,
        [
            [Some("1".into()), Some("a\nb".into())],
            [Some("2".into()), None]
        ]
    );
}

#[rstest]
#[case::no_newline("id,name\n1,a\n2,b", ErrorKind::Truncated, "no newline")]
#[case::open_quote("id,name\n1,a\n2,\"b\n", ErrorKind::Truncated, "quote")]
#[case::empty("", ErrorKind::Truncated, "no header")]
#[case::header("id,nam\n1,a\n", ErrorKind::SchemaMismatch, "did you mean name?")]
#[case::value("id,name\n1,a\nx,b\n", ErrorKind::DataRejected, "22P02")]
fn data_that_is_not_whole_or_wrong_publishes_nothing(
    #[case] data: &'static str,
    #[case] kind: ErrorKind,
    #[case] part: &str,
) {
    let db = databases("library_data_bad");
    db.target.sql("CREATE TABLE t (id int, name text)");
    let error = block_on(async {
        let client = client(&db.target).await;
        let mut load = client.load("public.t").data(Format::csv()).await.unwrap();
        // Depending on who is faster, the error comes here or at the end.
        match load.write(data).await {
            Ok(()) => refused(load.commit().await),
            Err(error) => error,
        }
    });
    assert_eq!(error.kind(), kind, "{error}");
    assert!(words(&error).contains(part), "{}", words(&error));
    assert_eq!(db.target.count("t"), 0);
    db.wait_until_left();
}

/// Fails after some bytes.
struct Broken(&'static [u8]);

impl tokio::io::AsyncRead for Broken {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return std::task::Poll::Ready(Err(std::io::Error::other("unplugged")));
        }
        buffer.put_slice(std::mem::take(&mut self.0));
        std::task::Poll::Ready(Ok(()))
    }
}

#[test]
fn a_reader_that_fails_and_a_load_that_is_dropped_publish_nothing() {
    let db = databases("library_data_broken");
    db.target.sql("CREATE TABLE t (id int)");
    block_on(async {
        let client = client(&db.target).await;
        let mut load = client.load("public.t").data(Format::csv()).await.unwrap();
        let error = refused(load.read(Broken(b"id\n1\n2\n")).await);
        assert_eq!(
            (error.kind(), error.side()),
            (ErrorKind::Truncated, Side::Source),
            "{error}"
        );
        assert!(error.to_string().contains("unplugged"), "{error}");
        refused(load.commit().await);
        let mut load = client.load("public.t").data(Format::csv()).await.unwrap();
        load.write("id\n1\n").await.unwrap();
        drop(load);
        let mut load = client.load("public.t").data(Format::csv()).await.unwrap();
        load.write("id\n1\n").await.unwrap();
        load.rollback().await;
        let wrong = client
            .load("public.t")
            .data(Format::text().quote(b'"'))
            .await;
        assert_eq!(refused(wrong).kind(), ErrorKind::Config);
    });
    db.wait_until_left();
    assert_eq!(db.target.count("t"), 0);
}

#[test]
fn rejected_rows_of_data_may_be_set_aside() {
    let db = databases("library_quarantine");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0))");
    block_on(async {
        let client = client(&db.target).await;
        let data = "id,n\n1,1\n2,-1\nx,1\n3,3\n";
        let mut load = client
            .load("public.t")
            .quarantine(2)
            .data(Format::csv())
            .await
            .unwrap();
        load.write(data).await.unwrap();
        let report = load.commit().await.unwrap();
        assert_eq!(
            (report.rows_written(), report.rows_rejected()),
            (2, 2),
            "{report:?}"
        );
        let mut load = client
            .load("public.t")
            .mode(Mode::Truncate)
            .quarantine(1)
            .data(Format::csv())
            .await
            .unwrap();
        load.write(data).await.unwrap();
        assert_eq!(refused(load.commit().await).kind(), ErrorKind::DataRejected);
        let error = refused(client.load("public.t").quarantine(1).rows().await);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    });
    assert_eq!(db.target.count("t"), 2);
    assert_eq!(db.target.count("tableferry.rejected"), 2);
}
