//! Stands in for a session until there is one.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::error::{Error, Phase, Result, Side};

/// A connection and whose it is.
pub struct Session {
    client: Client,
    side: Side,
    version: u32,
}

impl Session {
    /// Wraps a client.
    pub fn new(client: Client, side: Side, version: u32) -> Self {
        Session {
            client,
            side,
            version,
        }
    }

    /// Runs a query.
    pub async fn query(
        &self,
        phase: Phase,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        self.client
            .query(sql, params)
            .await
            .map_err(|e| Error::pg(phase, self.side, e))
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server.
    pub fn server(&self) -> &str {
        "server"
    }

    /// The side.
    pub fn side(&self) -> Side {
        self.side
    }

    /// `server_version_num`.
    pub fn version(&self) -> u32 {
        self.version
    }
}
