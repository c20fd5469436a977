//! Every sslmode against a server with a certificate of our own authority.

use std::sync::OnceLock;
use std::time::Duration;

use tableferry::error::{ErrorKind, Phase, Side};
use tableferry::pg::Session;
use tempfile::TempDir;

use super::certificates::{self, Authority};
use super::{open, refused, server, settings, told, value};
use crate::support::{Cluster, PATIENCE, wait_until};

const SSL: &str = "SELECT CASE WHEN ssl THEN 'tls' ELSE 'plain' END \
     FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";

/// A server that calls itself `db.example`, and the files of its clients.
struct Secure {
    cluster: Cluster,
    files: TempDir,
}

impl Secure {
    fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// As `host`, by way of 127.0.0.1. No root, certificate or key unless `more` says so.
    fn at(&self, host: &str, more: &str) -> String {
        format!(
            "host={host} hostaddr=127.0.0.1 port={} user=postgres dbname=postgres {more}",
            self.cluster.port()
        )
    }

    fn with_root(&self, more: &str) -> String {
        self.at(
            "db.example",
            &format!("sslrootcert={} {more}", self.path("root.crt")),
        )
    }
}

fn secure() -> &'static Secure {
    static SECURE: OnceLock<Secure> = OnceLock::new();
    SECURE.get_or_init(|| {
        let files = tempfile::tempdir().unwrap();
        let dir = files.path();
        let authority = Authority::new("Test Root");
        let server = authority.sign("db.example");
        let client = authority.sign("ferry_cert");
        certificates::write(dir, "root.crt", &authority.pem());
        certificates::write(dir, "other.crt", &Authority::new("Other Root").pem());
        certificates::write(dir, "client.crt", &client.pem());
        certificates::write(dir, "pkcs8.key", &client.pkcs8());
        certificates::write(dir, "pkcs1.key", &client.pkcs1());
        certificates::write(dir, "encrypted.key", &client.encrypted("key secret"));
        certificates::write_with_mode(dir, "open.key", &client.pkcs8(), 0o644);

        let cluster = Cluster::start();
        cluster.write_file("server.crt", server.pem());
        cluster.write_file("server.key", server.pkcs8());
        cluster.write_file("root.crt", authority.pem());
        let administrator = cluster.administrator();
        administrator.sql("ALTER SYSTEM SET ssl_ca_file = 'root.crt'");
        administrator.sql("ALTER SYSTEM SET ssl = on");
        administrator.sql("CREATE ROLE ferry_cert LOGIN");
        administrator.sql("CREATE ROLE ferry_plain LOGIN");
        administrator.sql("CREATE ROLE ferry_scram LOGIN PASSWORD 'scram secret'");
        drop(administrator);
        cluster.set_hba(
            "local all postgres trust\n\
             hostssl all ferry_cert 127.0.0.1/32 cert\n\
             hostnossl all ferry_plain 127.0.0.1/32 trust\n\
             host all ferry_scram 127.0.0.1/32 scram-sha-256\n\
             host all postgres 127.0.0.1/32 trust\n",
        );
        wait_until(PATIENCE, || {
            cluster.connect("postgres").value("SHOW ssl") == "on"
        });
        Secure { cluster, files }
    })
}

#[tokio::test]
async fn each_sslmode_does_what_libpq_says() {
    let server = secure();
    let root = format!("sslrootcert={}", server.path("root.crt"));
    let no_root = "sslrootcert=/nowhere/root.crt";
    for (host, more, expected) in [
        ("db.example", "sslmode=disable".to_owned(), "plain"),
        ("db.example", format!("sslmode=prefer {no_root}"), "tls"),
        ("wrong.example", format!("sslmode=require {no_root}"), "tls"),
        ("wrong.example", format!("sslmode=require {root}"), "tls"),
        ("wrong.example", format!("sslmode=verify-ca {root}"), "tls"),
        ("db.example", format!("sslmode=verify-full {root}"), "tls"),
        ("db.example", root.clone(), "tls"),
    ] {
        assert_eq!(
            value(&server.at(host, &more), SSL).await,
            expected,
            "{host} {more}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_refused_with_advice() {
    let server = secure();
    let root = format!("sslrootcert={}", server.path("root.crt"));
    let other = format!("sslrootcert={}", server.path("other.crt"));
    for (host, more, advice) in [
        // The default for a host that is not local, with the system's roots.
        ("db.example", String::new(), "set sslrootcert"),
        (
            "db.example",
            "sslrootcert=system".to_owned(),
            "set sslrootcert",
        ),
        (
            "db.example",
            format!("sslmode=verify-full {other}"),
            "set sslrootcert",
        ),
        (
            "db.example",
            format!("sslmode=verify-ca {other}"),
            "set sslrootcert",
        ),
        (
            "db.example",
            format!("sslmode=require {other}"),
            "set sslrootcert",
        ),
        (
            "wrong.example",
            format!("sslmode=verify-full {root}"),
            "names another host",
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-full {root}"),
            "names another host",
        ),
        (
            "db.example",
            "sslmode=verify-full sslrootcert=/nowhere/root.crt".to_owned(),
            "/nowhere/root.crt",
        ),
        (
            "db.example",
            "sslmode=verify-ca".to_owned(),
            "root certificate",
        ),
    ] {
        let error = refused(&server.at(host, &more)).await;
        assert_eq!(error.kind(), ErrorKind::Tls, "{}", told(&error));
        assert!(
            told(&error).contains(advice),
            "{host} {more}: {}",
            told(&error)
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_plaintext_will_do() {
    let (plain, _) = crate::support::pair();
    let conninfo = |mode| {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode={mode}",
            plain.port()
        )
    };
    assert_eq!(value(&conninfo("prefer"), SSL).await, "plain");
    let error = refused(&conninfo("require")).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", told(&error));
    assert!(
        told(&error).contains("does not support TLS"),
        "{}",
        told(&error)
    );
    assert!(told(&error).contains("sslmode=disable"), "{}", told(&error));
}

#[tokio::test]
async fn a_proxy_does_not_change_whose_certificate_is_expected() {
    let secure = secure();
    let connect = "exec 3<>/dev/tcp/127.0.0.1/$0 4<&0; cat <&4 >&3 & cat <&3";
    let open = async |host: &str, more: &str| {
        let conninfo = secure.with_root(more).replace("hostaddr=127.0.0.1 ", "");
        let mut spec = server(&conninfo.replace("host=db.example", &format!("host={host}")));
        spec.proxy_command = Some(["bash", "-c", connect, "%p"].map(str::to_owned).to_vec());
        Session::open(&spec, Side::Source, &settings()).await
    };
    let session = open("db.example", "")
        .await
        .unwrap_or_else(|error| panic!("{}", told(&error)));
    let rows = session.query(Phase::Inspect, SSL, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "tls");
    let error = open("other.example", "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", told(&error));
    assert!(
        told(&error).contains("names another host"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn prefer_comes_back_in_plaintext_where_the_server_wants_it() {
    let server = secure();
    let conninfo = server
        .at("localhost", "sslmode=prefer")
        .replace("user=postgres", "user=ferry_plain");
    assert_eq!(value(&conninfo, SSL).await, "plain");
}

#[tokio::test]
async fn a_client_certificate_is_a_login() {
    let server = secure();
    for key in [
        "sslkey=KEYS/pkcs8.key",
        "sslkey=KEYS/pkcs1.key",
        "sslkey=KEYS/encrypted.key sslpassword='key secret'",
    ] {
        let key = key.replace("KEYS", &server.files.path().display().to_string());
        let conninfo = server
            .with_root(&format!("sslcert={} {key}", server.path("client.crt")))
            .replace("user=postgres", "user=ferry_cert");
        assert_eq!(
            value(&conninfo, "SELECT current_user::text").await,
            "ferry_cert",
            "{key}"
        );
    }
    for (key, kind, advice) in [
        ("sslkey=KEYS/open.key", ErrorKind::Tls, "others can read it"),
        (
            "sslkey=KEYS/encrypted.key sslpassword=wrong",
            ErrorKind::Tls,
            "another `sslpassword`",
        ),
        ("sslkey=KEYS/none.key", ErrorKind::Tls, "none.key"),
        (
            "sslkey=KEYS/pkcs8.key sslcertmode=disable",
            ErrorKind::Auth,
            "pg_hba.conf",
        ),
    ] {
        let key = key.replace("KEYS", &server.files.path().display().to_string());
        let conninfo = server
            .with_root(&format!("sslcert={} {key}", server.path("client.crt")))
            .replace("user=postgres", "user=ferry_cert");
        let error = refused(&conninfo).await;
        assert_eq!(error.kind(), kind, "{}", told(&error));
        assert!(!told(&error).contains(".c:"), "{}", told(&error));
        assert!(told(&error).contains(advice), "{}", told(&error));
        assert!(!told(&error).contains("wrong"), "{}", told(&error));
    }
}

#[tokio::test]
async fn scram_can_be_bound_to_the_channel() {
    let server = secure();
    let scram = |more: &str| {
        server
            .with_root(&format!(
                "password='scram secret' channel_binding=require {more}"
            ))
            .replace("user=postgres", "user=ferry_scram")
    };
    assert_eq!(value(&scram(""), SSL).await, "tls");
    let error = refused(&scram("sslmode=disable")).await;
    assert_eq!(error.kind(), ErrorKind::Auth, "{}", told(&error));
    assert!(
        told(&error).contains("channel_binding=require"),
        "{}",
        told(&error)
    );
    assert!(!told(&error).contains("scram secret"));
}

#[tokio::test]
async fn cancel_works_over_tls() {
    let server = secure();
    let session = open(&server.with_root("")).await.unwrap();
    let cancel_request = session.cancel_request();
    let observer = server.cluster.connect("postgres");
    let pid = session.pid();
    let sleep = session.run(Phase::CopyOut, "SELECT pg_catalog.pg_sleep(600)");
    let cancel = async {
        let asleep = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
        );
        while observer.value(&asleep) == "0" {
            tokio::task::yield_now().await;
        }
        cancel_request.send(Duration::from_secs(10)).await;
    };
    let (slept, ()) = tokio::join!(sleep, cancel);
    let error = slept.unwrap_err();
    assert_eq!(
        (error.kind(), error.sqlstate()),
        (ErrorKind::Cancelled, Some("57014"))
    );
}

#[tokio::test]
async fn require_auth_holds_over_tls_and_with_channel_binding() {
    let scram = |more: &str| {
        let conninfo = secure().with_root(&format!(
            "sslmode=verify-full password='scram secret' {more}"
        ));
        conninfo.replace("user=postgres", "user=ferry_scram")
    };
    for more in [
        "require_auth=scram-sha-256",
        "require_auth=scram-sha-256 channel_binding=require",
        "require_auth=!password,!md5,!none channel_binding=require",
    ] {
        assert_eq!(value(&scram(more), SSL).await, "tls", "{more}");
    }
    let error = refused(&scram("require_auth=password")).await;
    assert_eq!(error.kind(), ErrorKind::Auth, "{}", told(&error));
    assert!(told(&error).contains("asks for SCRAM"), "{}", told(&error));
    // A certificate is no authentication in this sense, as in libpq.
    let cert = format!(
        "sslmode=verify-full sslcert={} sslkey={} require_auth=",
        secure().path("client.crt"),
        secure().path("pkcs8.key")
    );
    let cert = secure()
        .with_root(&cert)
        .replace("user=postgres", "user=ferry_cert");
    let error = refused(&cert.replace("require_auth=", "require_auth=scram-sha-256")).await;
    assert!(
        told(&error).contains("without authentication"),
        "{}",
        told(&error)
    );
    assert_eq!(
        value(&cert.replace("require_auth=", "require_auth=none"), SSL).await,
        "tls"
    );
}
