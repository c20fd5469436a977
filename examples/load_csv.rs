//! Loads CSV, plain or compressed, that comes over a TCP connection. A file or an HTTP body is loaded the same way.

use tableferry::{Client, Format, Mode};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let (socket, _) = listener.accept().await?;

    let client = Client::connect("").await?;
    let load = client.load("public.readings").mode(Mode::Merge);
    let mut load = load.data(Format::csv()).await?;
    load.read(socket).await?;
    let report = load.commit().await?;
    let table = &report.tables[0];
    println!(
        "{} updated, {} deleted",
        table.rows_updated, table.rows_deleted
    );
    Ok(())
}
