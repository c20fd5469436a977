//! Copies what a query gives into a table of another server, as blocks of COPY data that the program never decodes.
//! The two conninfo are its arguments.

use tableferry::{Client, Format, Mode, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let source = Client::connect(&arguments.next().unwrap_or_default()).await?;
    let target = Client::connect(&arguments.next().unwrap_or_default()).await?;
    let load = target.load("public.readings").mode(Mode::Swap);
    let mut load = load.data(Format::binary()).await?;
    let query = source
        .query("SELECT * FROM public.readings WHERE id <= $1")
        .bind(100_i64);
    let mut blocks = query.blocks(Format::binary()).await?;
    while let Some(block) = blocks.next().await {
        load.write(block?).await?;
    }
    println!("{} rows", load.commit().await?.rows_written());
    Ok(())
}
