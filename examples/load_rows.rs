//! Loads typed rows, all of them or none.

use tableferry::{Client, Mode, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect("").await?; // PGHOST, PGSERVICE, ~/.pgpass, … as for psql
    let mut load = client
        .load("public.readings")
        .mode(Mode::Upsert)
        .rows()
        .await?;
    for id in 1..=1000_i64 {
        load.write((id, format!("sensor {}", id % 7), id as f64 / 10.0))
            .await?;
    }
    let report = load.commit().await?; // without it, or after any error, the table is as before
    println!("{} rows inserted", report.tables[0].rows_inserted);
    Ok(())
}
