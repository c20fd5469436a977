//! Reads the rows of a query with a parameter, converted into a tuple.

use tableferry::{Client, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect("").await?;
    let sql = "SELECT sensor, avg(value) FROM public.readings WHERE id > $1 GROUP BY 1 ORDER BY 1";
    let mut rows = client
        .query(sql)
        .bind(500_i64)
        .rows::<(String, Option<f64>)>()
        .await?;
    while let Some(row) = rows.next().await {
        let (sensor, mean) = row?;
        println!("{sensor}: {:.1}", mean.unwrap_or_default());
    }
    Ok(())
}
