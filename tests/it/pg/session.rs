//! Settings that hold whatever the role says, COMMIT that is proven, and ends that are bounded.

use std::time::Duration;

use tableferry::error::{ErrorKind, Phase, Side};
use tableferry::pg::Session;

use super::{open, server, settings, told};
use crate::support::{self, Cluster, PATIENCE, wait_until};

const SHOW: &str = "SELECT pg_catalog.string_agg(name || '=' || pg_catalog.current_setting(name), ';' ORDER BY pg_catalog.lower(name) COLLATE pg_catalog.\"C\") \
    FROM pg_catalog.unnest($1::text[]) name";

async fn shown(session: &Session, names: &[&str]) -> String {
    session
        .query(Phase::Inspect, SHOW, &[&names.to_vec()])
        .await
        .unwrap()[0]
        .get(0)
}

#[tokio::test]
async fn hostile_settings_of_a_role_are_overruled() {
    let db = support::databases("hostile");
    let role = format!("{}_role", db.source.name());
    db.source
        .sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    for setting in [
        "datestyle = 'German, DMY'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = -10",
        "array_nulls = off",
        "client_encoding = 'LATIN1'",
        "statement_timeout = '100ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "search_path = 'public, pg_temp'",
        "xmloption = document",
        "timezone = 'Asia/Kathmandu'",
        "bytea_output = escape",
        "row_security = on",
        "standard_conforming_strings = off",
        "quote_all_identifiers = on",
        "session_replication_role = replica",
    ] {
        db.source.sql(&format!("ALTER ROLE {role} SET {setting}"));
    }
    let conninfo = db
        .source
        .conninfo()
        .replace("user=postgres", &format!("user={role}"));
    let session = open(&conninfo)
        .await
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    let names = [
        "array_nulls",
        "bytea_output",
        "client_encoding",
        "DateStyle",
        "extra_float_digits",
        "idle_in_transaction_session_timeout",
        "IntervalStyle",
        "lock_timeout",
        "row_security",
        "search_path",
        "session_replication_role",
        "statement_timeout",
        "TimeZone",
        "xmloption",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
    ];
    assert_eq!(
        shown(&session, &names).await,
        "array_nulls=on;bytea_output=hex;client_encoding=UTF8;DateStyle=ISO, YMD;extra_float_digits=3;\
         idle_in_transaction_session_timeout=0;IntervalStyle=postgres;lock_timeout=30s;row_security=off;\
         search_path=\"\";session_replication_role=origin;statement_timeout=0;\
         tcp_keepalives_count=3;tcp_keepalives_idle=30;tcp_keepalives_interval=10;TimeZone=UTC;xmloption=content"
    );
    session.verify(Phase::Inspect).await.unwrap();
    session
        .run(Phase::Inspect, "SET bytea_output = escape")
        .await
        .unwrap();
    let error = session.verify(Phase::Inspect).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        told(&error).contains("bytea_output") && told(&error).contains("pgBouncer"),
        "{}",
        told(&error)
    );
    session.close(PATIENCE).await;
    db.source.sql(&format!("DROP ROLE {role}"));
}

#[tokio::test]
async fn an_encoding_and_the_replication_role_are_set_where_asked() {
    let db = support::databases("encoding");
    let mut wanted = settings();
    wanted.encoding = Some("iso-8859-1".to_owned());
    wanted.replica = true;
    let spec = server(&db.source.conninfo());
    let session = Session::open(&spec, Side::Target, &wanted).await.unwrap();
    assert_eq!(
        shown(
            &session,
            &[
                "client_encoding",
                "session_replication_role",
                "application_name"
            ]
        )
        .await,
        "application_name=tableferry test;client_encoding=LATIN1;session_replication_role=replica"
    );

    let role = format!("{}_role", db.source.name());
    db.source.sql(&format!("CREATE ROLE {role} LOGIN"));
    let spec = server(
        &db.source
            .conninfo()
            .replace("user=postgres", &format!("user={role}")),
    );
    let error = Session::open(&spec, Side::Target, &wanted)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", told(&error));
    assert!(told(&error).contains("superuser"), "{}", told(&error));
    db.source.sql(&format!("DROP ROLE {role}"));
}

#[tokio::test]
async fn commit_is_proven() {
    let db = support::databases("commit");
    db.target
        .sql("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)");
    let session = open(&db.target.conninfo()).await.unwrap();
    session
        .run(Phase::Prepare, "BEGIN; INSERT INTO public.t VALUES (1)")
        .await
        .unwrap();
    session.commit().await.unwrap();
    assert_eq!(db.target.count("t"), 1);

    // A failed transaction.
    session
        .run(Phase::Prepare, "BEGIN; INSERT INTO public.t VALUES (2)")
        .await
        .unwrap();
    session.run(Phase::Prepare, "SELECT 1/0").await.unwrap_err();
    let error = session.commit().await.unwrap_err();
    assert_eq!(
        (error.phase(), error.sqlstate()),
        (Phase::Commit, Some("25P02"))
    );
    assert_ne!(error.kind(), ErrorKind::InDoubt);
    session.run(Phase::Prepare, "ROLLBACK").await.unwrap();

    // A constraint that is checked at COMMIT.
    session
        .run(Phase::Prepare, "BEGIN; INSERT INTO public.t VALUES (1)")
        .await
        .unwrap();
    let error = session.commit().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::DataRejected, Some("23505"))
    );
    assert_eq!(db.target.count("t"), 1);
    session.close(PATIENCE).await;
}

#[tokio::test]
async fn a_connection_lost_during_commit_leaves_it_in_doubt() {
    let db = support::databases("in_doubt");
    // COMMIT waits in a deferred trigger for a lock that the test holds.
    db.target.sql(
        "CREATE TABLE t (id int);
         CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN PERFORM pg_catalog.pg_advisory_xact_lock(4711); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION hold();
         SELECT pg_advisory_lock(4711)",
    );
    let session = open(&db.target.conninfo()).await.unwrap();
    let pid = session.pid();
    session
        .run(Phase::Prepare, "BEGIN; INSERT INTO public.t VALUES (1)")
        .await
        .unwrap();
    let observer = db.target.connect();
    let kill = tokio::task::spawn_blocking(move || {
        wait_until(PATIENCE, || {
            observer.value(&format!(
                "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted"
            )) == "1"
        });
        observer.sql(&format!("SELECT pg_terminate_backend({pid})"));
    });
    let error = session.commit().await.unwrap_err();
    kill.await.unwrap();
    assert_eq!(
        (error.kind(), error.phase()),
        (ErrorKind::InDoubt, Phase::Commit),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn abort_ends_what_runs_and_close_says_goodbye() {
    let db = support::databases("abort");
    let session = open(&db.source.conninfo()).await.unwrap();
    let backends = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
        session.pid()
    );
    let sleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'PgSleep'",
        session.pid()
    );
    {
        let mut running =
            std::pin::pin!(session.run(Phase::CopyOut, "SELECT pg_catalog.pg_sleep(600)"));
        while db.source.value(&sleep) == "0" {
            tokio::select! {
                biased;
                _ = &mut running => panic!("it did not sleep"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    session.abort(PATIENCE).await;
    wait_until(PATIENCE, || db.source.value(&backends) == "0");

    let session = open(&db.source.conninfo()).await.unwrap();
    let backends = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
        session.pid()
    );
    session.close(PATIENCE).await;
    wait_until(PATIENCE, || db.source.value(&backends) == "0");
}

#[tokio::test]
async fn a_session_that_the_server_ended_says_why() {
    let db = support::databases("ended");
    let session = open(&db.source.conninfo()).await.unwrap();
    // An error that was dealt with is not the reason.
    session.run(Phase::Inspect, "SELECT 1/0").await.unwrap_err();
    assert_eq!(session.tap().last_error(), None);
    let ended = format!("SELECT pg_terminate_backend({})", session.pid());
    db.source.sql(&ended);
    while !session.client().is_closed() {
        tokio::task::yield_now().await;
    }
    let error = session.run(Phase::Inspect, "SELECT 1").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::ServerShutdown, Some("57P01")),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn closing_is_bounded_when_the_server_is_busy() {
    let db = support::databases("busy");
    let session = open(&db.source.conninfo()).await.unwrap();
    {
        let mut running =
            std::pin::pin!(session.run(Phase::CopyOut, "SELECT pg_catalog.pg_sleep(600)"));
        tokio::select! {
            biased;
            _ = &mut running => panic!("it did not sleep"),
            () = tokio::task::yield_now() => {}
        }
    }
    let started = std::time::Instant::now();
    session.close(Duration::from_millis(50)).await;
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_is_full_says_so() {
    let cluster = Cluster::start_with(
        &support::ClusterOptions::default()
            .setting("max_connections", "2")
            .setting("superuser_reserved_connections", "0")
            .setting("max_wal_senders", "0")
            .setting("autovacuum", "off"),
    );
    let _taken = [cluster.connect("postgres"), cluster.connect("postgres")];
    let error = super::refused(&cluster.conninfo("postgres")).await;
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::Unreachable, Some("53300")),
        "{}",
        told(&error)
    );
    assert!(told(&error).contains("max_connections"), "{}", told(&error));
}
