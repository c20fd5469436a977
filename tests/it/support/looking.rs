//! Sessions of tableferry on test databases, for tests of the library.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use tableferry::catalog;
use tableferry::catalog::desc::{KeyActions, RelationDesc};
use tableferry::catalog::inspected::Inspected;
use tableferry::config::spec::{JobSpec, PasswordSource, ServerPlace, ServerSpec, TableInput};
use tableferry::error::{Error, Phase, Side};
use tableferry::pg::ident::QualifiedName;
use tableferry::pg::session::{Session, SessionSettings};
use tableferry::plan::copy::JobPlan;
use tableferry::plan::shared::Attempt;
use tableferry::plan::{self, Refusal};

use super::Databases;

/// Opens a session with pinned settings.
pub async fn session(conninfo: &str, side: Side) -> Session {
    let server = ServerSpec {
        name: match side {
            Side::Source => "source".to_owned(),
            Side::Target | Side::Local => "target".to_owned(),
        },
        place: ServerPlace::Database,
        conninfo: SecretString::from(conninfo.to_owned()),
        password: PasswordSource::Libpq,
        proxy_command: None,
        max_connections: 4,
        encoding: None,
    };
    let settings = SessionSettings {
        encoding: None,
        lock_timeout: Duration::from_secs(10),
        application_name: "tableferry test".to_owned(),
        replica: false,
    };
    Session::open(&server, side, &settings).await.unwrap()
}

/// Runs `work` to its end on this thread.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

/// The job `j` of this configuration, with both servers added.
pub fn job_spec(db: &Databases<'_>, jobs: &str) -> JobSpec {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tableferry.toml");
    let text = format!(
        "[servers.source]\nconninfo = \"{}\"\n[servers.target]\nconninfo = \"{}\"\n{jobs}",
        db.source.conninfo(),
        db.target.conninfo()
    );
    std::fs::write(&file, text).unwrap();
    let request = tableferry::config::Request {
        explicit: Some(file),
        ..Default::default()
    };
    let config = tableferry::config::load(&request).unwrap_or_else(|errors| panic!("{errors:?}"));
    config.jobs["j"].clone()
}

/// The input of a job's plan, and the plan.
pub struct Looked {
    pub inspected: Vec<Inspected>,
    pub plan: Result<JobPlan, Vec<Refusal>>,
}

/// Describes both sides as a run does, and plans.
pub fn look(db: &Databases<'_>, jobs: &str) -> Result<Looked, Error> {
    let job = job_spec(db, jobs);
    let (source, target) = (db.source.conninfo(), db.target.conninfo());
    block_on(async {
        let source = session(&source, Side::Source).await;
        let target = session(&target, Side::Target).await;
        let inspected = inspect(&source, &target, &job).await?;
        let plan = plan::job(
            &job,
            inspected.clone(),
            false,
            Attempt::default(),
            &KeyActions::default(),
        );
        Ok(Looked { inspected, plan })
    })
}

async fn inspect(
    source: &Session,
    target: &Session,
    job: &JobSpec,
) -> Result<Vec<Inspected>, Error> {
    let tables = catalog::expand(source, job).await?.tables;
    let locks = catalog::lock_list(source, &tables).await?;
    source
        .run(
            Phase::Lock,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )
        .await?;
    catalog::lock(source, &locks).await?;
    let read_names: Vec<QualifiedName> = tables
        .iter()
        .filter_map(|table| match &table.input {
            TableInput::Relation(name) => Some(name.clone()),
            TableInput::Query(_) | TableInput::File(_) => None,
        })
        .collect();
    let written_names: Vec<QualifiedName> = tables.iter().map(|t| t.target.clone()).collect();
    let mut from: BTreeMap<_, RelationDesc> = catalog::read(source, &read_names).await?;
    let to = catalog::read(target, &written_names).await?;
    let mut inspected = Vec::new();
    for spec in tables {
        let desc = match &spec.input {
            TableInput::Relation(name) => from.remove(name),
            TableInput::Query(_) | TableInput::File(_) => None,
        };
        inspected.push(Inspected::new(source, spec, desc, &to).await?);
    }
    Ok(inspected)
}
