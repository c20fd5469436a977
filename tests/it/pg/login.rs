//! Passwords, hosts, and what a person is told when a login fails.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use tableferry::config::spec::PasswordSource;
use tableferry::error::{ErrorKind, Side};
use tableferry::pg::Session;

use super::certificates::{write, write_with_mode};
use super::{open, refused, server, settings, told, value};
use crate::support::{Cluster, pair};

/// A server with a role `ann` that has the password `correct horse`.
fn guarded() -> &'static Cluster {
    static GUARDED: std::sync::OnceLock<Cluster> = std::sync::OnceLock::new();
    GUARDED.get_or_init(|| {
        let cluster = Cluster::start();
        cluster
            .administrator()
            .sql("CREATE ROLE ann LOGIN PASSWORD 'correct horse'");
        cluster.set_hba(
            "local all postgres trust\nlocal all ann scram-sha-256\n\
             host all postgres 127.0.0.1/32 trust\nhost all ann 127.0.0.1/32 scram-sha-256\n",
        );
        cluster
    })
}

fn as_ann(more: &str) -> String {
    format!(
        "host=127.0.0.1 port={} user=ann dbname=postgres sslmode=disable {more}",
        guarded().port()
    )
}

const WHO: &str = "SELECT current_user::text";

#[tokio::test]
async fn a_password_may_come_from_every_place() {
    let files = tempfile::tempdir().unwrap();
    let dir = files.path();
    let port = guarded().port();
    let passfile = write(
        dir,
        "pgpass",
        format!("127.0.0.1:{port}:*:ann:correct horse\nlocalhost:*:*:ann:correct horse\n")
            .as_bytes(),
    );
    let services = write(
        dir,
        "services",
        format!("[shop]\nhost=127.0.0.1\nport={port}\nuser=ann\ndbname=postgres\nsslmode=disable\npassword=correct horse\n").as_bytes(),
    );
    for conninfo in [
        as_ann("password='correct horse'"),
        format!("postgresql://ann:correct%20horse@127.0.0.1:{port}/postgres?sslmode=disable"),
        as_ann(&format!("passfile={}", passfile.display())),
        format!(
            "host={} port={port} user=ann dbname=postgres passfile={}",
            guarded().socket_directory().display(),
            passfile.display()
        ),
        format!("service=shop servicefile={}", services.display()),
    ] {
        assert_eq!(value(&conninfo, WHO).await, "ann", "{conninfo}");
    }

    let mut spec = server(&as_ann("password=wrong"));
    spec.password = PasswordSource::File(write(dir, "password", b"correct horse\nnot this\n"));
    assert!(
        Session::open(&spec, Side::Source, &settings())
            .await
            .is_ok()
    );
    let log = dir.join("asked");
    let script = format!(
        "echo asked >> {}; echo correct horse; echo not this",
        log.display()
    );
    let mut spec = server(&as_ann(""));
    spec.password = PasswordSource::Command(["sh", "-c", &script].map(str::to_owned).to_vec());
    for logins in 1..=2 {
        let opened = Session::open(&spec, Side::Source, &settings()).await;
        assert!(opened.is_ok());
        let asked = std::fs::read_to_string(&log).unwrap();
        assert_eq!(asked.lines().count(), logins);
    }
    let mut spec = server(&as_ann(""));
    spec.password = PasswordSource::PassFile(passfile);
    assert!(
        Session::open(&spec, Side::Source, &settings())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_password_that_cannot_be_read_names_its_place() {
    let files = tempfile::tempdir().unwrap();
    let too_open = write_with_mode(files.path(), "pgpass", b"*:*:*:*:correct horse", 0o644);
    let empty = write(files.path(), "empty", b"\n");
    for (source, expected) in [
        (
            PasswordSource::File("/nowhere/password".into()),
            "password_file /nowhere/password",
        ),
        (PasswordSource::File(empty), "first line is empty"),
        (
            PasswordSource::Env("TABLEFERRY_NO_SUCH_VARIABLE".to_owned()),
            "TABLEFERRY_NO_SUCH_VARIABLE",
        ),
        (
            PasswordSource::Credential("shop".to_owned()),
            "CREDENTIALS_DIRECTORY",
        ),
        (
            PasswordSource::PassFile("/nowhere/pgpass".into()),
            "/nowhere/pgpass",
        ),
        (PasswordSource::PassFile(too_open), "0600"),
        (
            PasswordSource::Command(vec!["true".to_owned()]),
            "password_command: `true` printed nothing",
        ),
    ] {
        let mut spec = server(&as_ann(""));
        spec.password = source;
        let error = Session::open(&spec, Side::Source, &settings())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{}", told(&error));
        assert_eq!(error.server(), Some("shop"));
        assert!(told(&error).contains(expected), "{}", told(&error));
    }
}

#[tokio::test]
async fn a_refused_login_says_why_and_hides_the_password() {
    for (conninfo, kind, sqlstate, expected) in [
        (
            as_ann("password=hunter2"),
            ErrorKind::Auth,
            Some("28P01"),
            "check user and password",
        ),
        (as_ann(""), ErrorKind::Auth, None, "set password_file"),
        (
            as_ann("password=hunter2").replace("user=ann", "user=bob"),
            ErrorKind::Auth,
            Some("28000"),
            "pg_hba.conf",
        ),
        (
            as_ann("password='correct horse'").replace("dbname=postgres", "dbname=none"),
            ErrorKind::Config,
            Some("3D000"),
            "dbname",
        ),
        (
            as_ann("password='correct horse' options='-c no_such=1'"),
            ErrorKind::Config,
            Some("42704"),
            "options",
        ),
        (
            as_ann("sslmode=allow"),
            ErrorKind::Config,
            None,
            "sslmode=allow",
        ),
    ] {
        let error = refused(&conninfo).await;
        assert_eq!(
            (error.kind(), error.sqlstate()),
            (kind, sqlstate),
            "{}",
            told(&error)
        );
        assert!(told(&error).contains(expected), "{}", told(&error));
        assert!(!format!("{} {error:?}", told(&error)).contains("hunter2"));
        assert!(!format!("{} {error:?}", told(&error)).contains("correct horse"));
    }
}

#[tokio::test]
async fn hosts_are_tried_in_turn_and_all_are_named() {
    let (source, _) = pair();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let conninfo = format!(
        "postgresql://postgres@127.0.0.1:{closed_port},no-such-host.invalid,127.0.0.1:{}/postgres?sslmode=disable",
        source.port()
    );
    assert_eq!(value(&conninfo, WHO).await, "postgres");

    let conninfo = format!("host=/nowhere,127.0.0.1 port={closed_port} user=u sslmode=disable");
    let error = refused(&conninfo).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        told(&error).contains("/nowhere/.s.PGSQL"),
        "{}",
        told(&error)
    );
    assert!(
        told(&error).contains(&format!("127.0.0.1:{closed_port}: ")),
        "{}",
        told(&error)
    );
    assert!(told(&error).contains("refused"), "{}", told(&error));
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_elsewhere() {
    let (source, _) = pair();
    let conninfo = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=ann dbname=postgres sslmode=disable password=wrong",
        guarded().port(),
        source.port()
    );
    let error = refused(&conninfo).await;
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(
        !told(&error).contains(&source.port().to_string()),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_read_only_server_is_passed_over() {
    let (source, target) = pair();
    let conninfo = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=reads_only dbname=postgres sslmode=disable",
        source.port(),
        target.port(),
    );
    source.administrator().sql(
        "CREATE ROLE reads_only LOGIN SUPERUSER;
         ALTER ROLE reads_only SET default_transaction_read_only = on",
    );
    target
        .administrator()
        .sql("CREATE ROLE reads_only LOGIN SUPERUSER");
    let port = "SELECT pg_catalog.current_setting('port')";
    for (wanted, cluster) in [
        ("any", source),
        ("read-only", source),
        ("read-write", target),
        ("primary", source),
        ("prefer-standby", source),
    ] {
        let conninfo = format!("{conninfo} target_session_attrs={wanted}");
        assert_eq!(
            value(&conninfo, port).await,
            cluster.port().to_string(),
            "{wanted}"
        );
    }
    let error = refused(&format!("{conninfo} target_session_attrs=standby")).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    for cluster in [source, target] {
        let expected = format!("127.0.0.1:{}: it is not a standby", cluster.port());
        assert!(told(&error).contains(&expected), "{}", told(&error));
        cluster.administrator().sql("DROP ROLE reads_only");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for mode in ["disable", "prefer", "verify-full"] {
        let started = Instant::now();
        let error = refused(&format!(
            "host=127.0.0.1 port={port} user=u sslmode={mode} connect_timeout=1"
        ))
        .await;
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", told(&error));
        assert!(
            told(&error).contains("no answer within 1s"),
            "{}",
            told(&error)
        );
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn the_socket_and_the_name_localhost_work() {
    let (source, _) = pair();
    let dir: &Path = source.socket_directory();
    let conninfo = format!(
        "host={} port={} user=postgres dbname=postgres",
        dir.display(),
        source.port()
    );
    assert_eq!(value(&conninfo, WHO).await, "postgres");
    let conninfo = format!(
        "host=localhost port={} user=postgres dbname=postgres",
        source.port()
    );
    let session = open(&conninfo).await.unwrap();
    assert_eq!(session.server(), "shop");
    assert_eq!(session.version() / 10_000, source.version() / 10_000);
}
