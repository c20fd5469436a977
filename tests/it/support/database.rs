//! Fresh databases, and sessions in them that tests can use without `async`.

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use super::cluster::{Cluster, pair};
use super::runtime;
use super::{PATIENCE, wait_until};

/// A row as the server writes it in text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// A fresh database on each of the two shared servers.
pub struct Databases<'a> {
    pub source: Database<'a>,
    pub target: Database<'a>,
}

/// A database on each of the two shared servers, dropped with the value. `name` appears in logs and need
/// not be unique: a number is added.
pub fn databases(name: &str) -> Databases<'static> {
    let (source, target) = pair();
    databases_on(source, target, name)
}

/// The same on servers of the test's own.
pub fn databases_on<'a>(source: &'a Cluster, target: &'a Cluster, name: &str) -> Databases<'a> {
    Databases {
        source: source.database(&format!("{name}_source")),
        target: target.database(&format!("{name}_target")),
    }
}

impl Databases<'_> {
    /// Runs the statements on both sides.
    #[track_caller]
    pub fn both(&self, statements: &str) {
        self.source.sql(statements);
        self.target.sql(statements);
    }

    /// Waits until no session of the program is left on either server.
    #[track_caller]
    pub fn wait_until_left(&self) {
        for side in [&self.source, &self.target] {
            wait_until(PATIENCE, || {
                side.count(
                    "pg_stat_activity WHERE datname = current_database() \
                     AND application_name LIKE 'tableferry%'",
                ) == 0
            });
        }
    }

    /// `Database::wait_for_transactions` on both servers.
    #[track_caller]
    pub fn wait_for_transactions(&self) {
        self.source.wait_for_transactions();
        self.target.wait_for_transactions();
    }

    /// Asserts that the relation holds the same rows on both sides, whatever their order.
    #[track_caller]
    pub fn assert_same(&self, relation: &str) {
        let query = format!("SELECT t::text FROM {relation} t ORDER BY t::text COLLATE \"C\"");
        let source = self.source.rows(&query);
        let target = self.target.rows(&query);
        if source != target {
            let only = |these: &[TextRow], those: &[TextRow]| {
                let missing = |row: &&TextRow| !those.contains(row);
                these
                    .iter()
                    .filter(missing)
                    .take(5)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            panic!(
                "{relation} differs: {} rows on the source, {} on the target\n\
                 only on the source: {:?}\nonly on the target: {:?}",
                source.len(),
                target.len(),
                only(&source, &target),
                only(&target, &source)
            );
        }
    }
}

/// A database of a test's own. Statements go through its session as the superuser.
pub struct Database<'a> {
    pub cluster: &'a Cluster,
    name: String,
    connection: Option<Connection>,
}

impl<'a> Database<'a> {
    pub(super) fn new(cluster: &'a Cluster, name: String) -> Self {
        let connection = Some(cluster.connect(&name));
        Self {
            cluster,
            name,
            connection,
        }
    }

    /// Waits until one session of this database waits for a lock such as `locktype = 'advisory'`.
    #[track_caller]
    pub fn wait_for_waiter(&self, lock: &str) {
        let waiting = format!(
            "pg_locks JOIN pg_stat_activity USING (pid) \
             WHERE datname = current_database() AND NOT granted AND {lock}"
        );
        wait_until(PATIENCE, || self.count(&waiting) == 1);
    }

    /// Waits until every transaction that the server has given an id so far has ended, in whatever database. What
    /// those write that are open during a run looks changed to the next one.
    #[track_caller]
    pub fn wait_for_transactions(&self) {
        let begun = self.value("SELECT pg_snapshot_xmax(pg_current_snapshot())");
        let over = format!("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= '{begun}'");
        wait_until(PATIENCE, || self.value(&over) == "t");
    }

    /// The database's name; unique in its server, so also good as a prefix for a role.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Libpq's key=value conninfo, over TCP.
    pub fn conninfo(&self) -> String {
        self.cluster.conninfo(&self.name)
    }

    /// Libpq's key=value conninfo, over the Unix socket.
    pub fn socket_conninfo(&self) -> String {
        format!(
            "host={} port={} user=postgres dbname={}",
            self.cluster.socket_directory().display(),
            self.cluster.port(),
            self.name
        )
    }

    /// The same as a URI, over TCP.
    pub fn uri(&self) -> String {
        format!(
            "postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable",
            self.cluster.port(),
            self.name
        )
    }

    /// Another session in this database.
    pub fn connect(&self) -> Connection {
        self.cluster.connect(&self.name)
    }

    /// Lets `work` have the database, by its name, without this session.
    pub fn while_nobody_is_there(&mut self, work: impl FnOnce(&Cluster, &str)) {
        self.connection.take();
        work(self.cluster, &self.name);
        self.reconnect();
    }

    /// Replaces the session: the server was restarted, or has ended it.
    pub fn reconnect(&mut self) {
        self.connection = Some(self.connect());
    }
}

impl std::ops::Deref for Database<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().unwrap()
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        self.connection.take();
        // A test that failed may have stopped the server. Then there is nothing to drop.
        if std::thread::panicking() {
            return;
        }
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = self.cluster.administrator().try_sql(&drop) {
            eprintln!("{drop}: {error:?}");
        }
    }
}

/// A session whose calls block. It ends when the value is dropped.
pub struct Connection {
    client: Arc<Client>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Logs in without TLS. Panics when that fails.
    #[track_caller]
    pub fn open(conninfo: &str) -> Self {
        Self::try_open(conninfo).unwrap_or_else(|error| panic!("{conninfo}: {error:?}"))
    }

    /// Logs in without TLS.
    pub fn try_open(conninfo: &str) -> Result<Self, Error> {
        let conninfo = conninfo.to_owned();
        runtime::block_on(async move {
            let (client, connection) = tokio_postgres::connect(&conninfo, NoTls).await?;
            let task = tokio::spawn(async move {
                // A test that kills its server gets the error from the client.
                let _ = connection.await;
            });
            Ok(Self {
                client: Arc::new(client),
                task,
            })
        })
    }

    /// Runs statements, one simple query for all. Panics with the server's message when that fails.
    #[track_caller]
    pub fn sql(&self, statements: &str) {
        if let Err(error) = self.try_sql(statements) {
            panic!("{}\nin: {statements}", Described(&error));
        }
    }

    /// Runs statements, one simple query for all.
    pub fn try_sql(&self, statements: &str) -> Result<(), Error> {
        self.messages(statements).map(drop)
    }

    /// Runs a query; every value as the server writes it in text.
    #[track_caller]
    pub fn rows(&self, query: &str) -> Vec<TextRow> {
        self.try_rows(query)
            .unwrap_or_else(|error| panic!("{}\nin: {query}", Described(&error)))
    }

    /// Runs a query; every value as the server writes it in text.
    pub fn try_rows(&self, query: &str) -> Result<Vec<TextRow>, Error> {
        let messages = self.messages(query)?;
        let text = |row: &tokio_postgres::SimpleQueryRow| -> TextRow {
            (0..row.len())
                .map(|column| row.get(column).map(str::to_owned))
                .collect()
        };
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(text(row)),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The one value of a query. Panics unless it is one row with one column that is not NULL.
    #[track_caller]
    pub fn value(&self, query: &str) -> String {
        let rows = self.rows(query);
        match rows.as_slice() {
            [row] if row.len() == 1 => row[0]
                .clone()
                .unwrap_or_else(|| panic!("NULL from: {query}")),
            _ => panic!("not one value but {rows:?} from: {query}"),
        }
    }

    /// The number of rows in a relation.
    #[track_caller]
    pub fn count(&self, relation: &str) -> u64 {
        self.value(&format!("SELECT count(*) FROM {relation}"))
            .parse()
            .unwrap()
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn messages(&self, statements: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        let client = Arc::clone(&self.client);
        let statements = statements.to_owned();
        runtime::block_on(async move { client.simple_query(&statements).await })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Aborting closes the socket at once, whatever the session was doing.
        self.task.abort();
    }
}

struct Described<'a>(&'a Error);

impl fmt::Display for Described<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_db_error() {
            Some(error) => write!(formatter, "{} ({})", error.message(), error.code().code()),
            None => write!(formatter, "{:?}", self.0),
        }
    }
}
