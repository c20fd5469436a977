//! Loads rows by one way, for benches/loading.sh: `loading WAY ROWS`. The server is that of the environment.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use tableferry::Format;
use tableferry::types::ToSql;
use tokio_postgres::NoTls;

type Failure = Box<dyn std::error::Error>;

/// Rows of one statement with several rows of values: five parameters each, of at most 65535.
const ROWS_OF_A_STATEMENT: usize = 1000;

/// Rows of one statement that unnests arrays.
const ROWS_OF_ARRAYS: usize = 10_000;

/// A row: id, n, name, price, at.
type Row = (i32, i32, String, f64, SystemTime);

fn row(id: usize) -> Row {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + id as u64);
    (
        id as i32,
        id as i32 % 1000,
        format!("name {id}"),
        id as f64 * 1.5,
        at,
    )
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().filter(|word| word != "--bench").collect();
    let [_, way, rows] = arguments.as_slice() else {
        // `cargo test --benches` starts it without a server.
        return Ok(());
    };
    let rows: usize = rows.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match way.as_str() {
            "copy_text" => copy_text(rows).await,
            "copy_binary" => copy_binary(rows).await,
            way => insert(way, rows).await,
        }
    })
}

async fn copy_binary(rows: usize) -> Result<(), Failure> {
    let client = tableferry::Client::connect("").await?;
    let mut load = client.load("public.t").rows().await?;
    load.write_all((0..rows).map(row)).await?;
    load.commit().await?;
    Ok(())
}

async fn copy_text(rows: usize) -> Result<(), Failure> {
    let client = tableferry::Client::connect("").await?;
    let mut load = client.load("public.t").data(Format::text()).await?;
    let mut text = String::new();
    for (id, n, name, price, at) in (0..rows).map(row) {
        let at = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let (day, second) = (at / 86_400 - 20_454, at % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        writeln!(
            text,
            "{id}\t{n}\t{name}\t{price}\t2026-01-{:02} {hour:02}:{minute:02}:{second:02}+00",
            1 + day % 28
        )?;
        if text.len() > 60_000 {
            load.write(std::mem::take(&mut text)).await?;
        }
    }
    load.write(text).await?;
    load.commit().await?;
    Ok(())
}

async fn insert(way: &str, rows: usize) -> Result<(), Failure> {
    let conninfo = format!(
        "host={} port={} user={} dbname={}",
        std::env::var("PGHOST")?,
        std::env::var("PGPORT")?,
        std::env::var("PGUSER")?,
        std::env::var("PGDATABASE")?
    );
    let (mut client, connection) = tokio_postgres::connect(&conninfo, NoTls).await?;
    let driver = tokio::spawn(connection);
    let transaction = client.transaction().await?;
    match way {
        "single" => {
            let insert = transaction
                .prepare("INSERT INTO t VALUES ($1, $2, $3, $4, $5)")
                .await?;
            for (id, n, name, price, at) in (0..rows).map(row) {
                transaction
                    .execute(&insert, &[&id, &n, &name, &price, &at])
                    .await?;
            }
        }
        "multi" => {
            let list = |row: usize| {
                let at = |column: usize| format!("${}", row * 5 + column);
                format!("({})", (1..=5).map(at).collect::<Vec<_>>().join(", "))
            };
            for batch in batches(rows, ROWS_OF_A_STATEMENT) {
                let lists: Vec<String> = (0..batch.len()).map(list).collect();
                let sql = format!("INSERT INTO t VALUES {}", lists.join(", "));
                // Prepared once by whoever measures well; there are only two forms.
                let insert = transaction.prepare(&sql).await?;
                let values = batch.iter().flat_map(|(id, n, name, price, at)| {
                    let values: [&(dyn ToSql + Sync); 5] = [id, n, name, price, at];
                    values
                });
                let values: Vec<_> = values.collect();
                transaction.execute(&insert, &values).await?;
            }
        }
        "unnest" => {
            let sql = "INSERT INTO t SELECT * FROM unnest($1::int[], $2::int[], $3::text[], $4::float8[], $5::timestamptz[])";
            let insert = transaction.prepare(sql).await?;
            for batch in batches(rows, ROWS_OF_ARRAYS) {
                let ids: Vec<i32> = batch.iter().map(|row| row.0).collect();
                let ns: Vec<i32> = batch.iter().map(|row| row.1).collect();
                let names: Vec<&str> = batch.iter().map(|row| row.2.as_str()).collect();
                let prices: Vec<f64> = batch.iter().map(|row| row.3).collect();
                let ats: Vec<SystemTime> = batch.iter().map(|row| row.4).collect();
                transaction
                    .execute(&insert, &[&ids, &ns, &names, &prices, &ats])
                    .await?;
            }
        }
        other => return Err(format!("no way {other}").into()),
    }
    transaction.commit().await?;
    drop(client);
    driver.await??;
    Ok(())
}

fn batches(rows: usize, size: usize) -> impl Iterator<Item = Vec<Row>> {
    (0..rows)
        .step_by(size)
        .map(move |from| (from..rows.min(from + size)).map(row).collect())
}
