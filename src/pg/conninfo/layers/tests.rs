//! Conninfos as tables: text and what lies outside → what comes of it.

use super::super::parameters::{CONNECT_TIMEOUT, HostSpec, KEEPALIVES, SslMode};
use super::*;
use rstest::rstest;
use secrecy::ExposeSecret;
use std::time::Duration;

const SERVICES: &str = "[shop]\nhost=service-host\nport=7777\nuser=service-user\n[bad]\nhots=x\n";

fn resolve_with(text: &str, vars: &[(&str, &str)]) -> Result<Conninfo, ConninfoError> {
    let outside = Outside {
        vars: vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        home: Some(PathBuf::from("/home/ann")),
        os_user: Some("ann".to_owned()),
        read: &|path| match path.to_str() {
            Some("/home/ann/.pg_service.conf") => Ok(SERVICES.to_owned()),
            Some("/etc/shared/pg_service.conf") => Ok("[late]\nhost=system-host\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
        exists: &|path| path == Path::new("/tmp"),
    };
    resolve(text, &outside)
}

fn hosts(conninfo: &Conninfo) -> String {
    let shown: Vec<_> = conninfo.hosts.iter().map(HostSpec::to_string).collect();
    shown.join(" ")
}

#[rstest]
#[case("", "/tmp/.s.PGSQL.5432")]
#[case("host=h", "h:5432")]
#[case("host=a,b port=1,2", "a:1 b:2")]
#[case("host=a,b port=7", "a:7 b:7")]
#[case("host=a,,b", "a:5432 /tmp/.s.PGSQL.5432 b:5432")]
#[case("host=a,b port=,9", "a:5432 b:9")]
#[case("host=/run/pg port=9", "/run/pg/.s.PGSQL.9")]
#[case("host=@abstract", "@abstract/.s.PGSQL.5432")]
#[case("hostaddr=10.0.0.1", "10.0.0.1:5432")]
#[case("host=h hostaddr=::1", "h at [::1]:5432")]
#[case("postgresql://[2001:db8::1]:5/x", "[2001:db8::1]:5")]
fn hosts_and_ports_are_paired(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(hosts(&resolve_with(text, &[]).unwrap()), expected);
}

#[rstest]
// conninfo > service > environment > default
#[case("host=h user=u port=1 service=shop", &[("PGHOST", "e"), ("PGPORT", "2"), ("PGUSER", "v")], "h:1 u u")]
#[case("service=shop", &[("PGHOST", "e"), ("PGDATABASE", "d")], "service-host:7777 service-user d")]
#[case("", &[("PGSERVICE", "shop")], "service-host:7777 service-user service-user")]
#[case("", &[("PGSERVICE", "late"), ("PGSYSCONFDIR", "/etc/shared")], "system-host:5432 ann ann")]
#[case("", &[("PGHOST", "e"), ("PGPORT", "2"), ("PGUSER", "v"), ("PGDATABASE", "d")], "e:2 v d")]
#[case("host=h", &[("PGHOST", ""), ("PGUSER", "")], "h:5432 ann ann")]
#[case("host=h", &[("PGCLIENTENCODING", "LATIN1"), ("PGDATESTYLE", "German")], "h:5432 ann ann")]
fn layers_lie_in_libpqs_order(
    #[case] text: &str,
    #[case] vars: &[(&str, &str)],
    #[case] expected: &str,
) {
    let conninfo = resolve_with(text, vars).unwrap();
    let shown = format!("{} {} {}", hosts(&conninfo), conninfo.user, conninfo.dbname);
    assert_eq!(shown, expected);
}

#[rstest]
#[case("host=db.example", SslMode::VerifyFull)]
#[case("host=10.0.0.1", SslMode::VerifyFull)]
#[case("host=db.example hostaddr=127.0.0.1", SslMode::VerifyFull)]
#[case("host=localhost.example", SslMode::VerifyFull)]
#[case("host=localhost", SslMode::Prefer)]
#[case("host=127.8.8.8", SslMode::Prefer)]
#[case("host=::1", SslMode::Prefer)]
#[case("hostaddr=127.0.0.1", SslMode::Prefer)]
#[case("host=/tmp", SslMode::Disable)]
#[case("host=/tmp sslmode=verify-full", SslMode::Disable)]
#[case("host=localhost sslmode=require", SslMode::Require)]
#[case("host=db.example sslmode=disable", SslMode::Disable)]
#[case("host=db.example sslmode=verify-ca", SslMode::VerifyCa)]
#[case("host=localhost sslrootcert=system", SslMode::VerifyFull)]
fn what_is_not_local_is_verified(#[case] text: &str, #[case] expected: SslMode) {
    let conninfo = resolve_with(text, &[]).unwrap();
    assert_eq!(conninfo.ssl_mode(&conninfo.hosts[0]), expected);
}

#[rstest]
#[case(
    "sslmode=allow",
    "`sslmode=allow` is not supported: it protects from nothing; use disable or prefer"
)]
#[case(
    "sslmode=maybe",
    "`sslmode` must be one of disable, prefer, require, verify-ca, verify-full"
)]
#[case(
    "sslrootcert=system sslmode=require",
    "`sslrootcert=system` needs `sslmode=verify-full`"
)]
#[case(
    "gssencmode=require",
    "`gssencmode` is not supported (only disable, prefer)"
)]
#[case("requirepeer=postgres", "`requirepeer` is not supported")]
#[case(
    "require_auth=scram",
    "`require_auth` must be a list, without spaces, of none, password, md5, gss, sspi, scram-sha-256, oauth"
)]
#[case(
    "require_auth=md5,!none",
    "`require_auth` must not mix methods with and without `!`"
)]
#[case(
    "require_auth=gss",
    "`require_auth` allows no method that is supported (none, password, md5, scram-sha-256)"
)]
#[case(
    "require_auth=md5 channel_binding=require",
    "`channel_binding=require` needs scram-sha-256, which `require_auth` does not allow"
)]
#[case("krbsrvname=pg", "`krbsrvname` is not supported (only postgres)")]
#[case("sslcrl=/x", "`sslcrl` is not supported")]
#[case("sslcompression=1", "`sslcompression` is not supported (only 0)")]
#[case(
    "replication=database",
    "`replication` is not supported (only false, off, no, 0)"
)]
#[case(
    "client_encoding=LATIN1",
    "`client_encoding` is not supported; for a SQL_ASCII database set `encoding` on the server"
)]
#[case("hots=h", "unknown key `hots` in the conninfo; did you mean `host`?")]
#[case(
    "postgresql://h/d?pool_mode=x",
    "unknown key `pool_mode` in the conninfo"
)]
#[case(
    "service=bad",
    "unknown key `hots` in service `bad` in /home/ann/.pg_service.conf; did you mean `host`?"
)]
#[case(
    "service=none",
    "there is no service `none` in /home/ann/.pg_service.conf or /etc/postgresql-common/pg_service.conf"
)]
#[case("host=a,b port=1,2,3", "could not match 3 port numbers to 2 hosts")]
#[case(
    "host=a,b hostaddr=::1",
    "could not match 2 host names to 1 hostaddr values"
)]
#[case("port=0", "`port` is not a number between 1 and 65535")]
#[case("port=secret", "`port` is not a number between 1 and 65535")]
#[case("hostaddr=h", "`hostaddr` is not an IP address")]
#[case(
    "connect_timeout=soon",
    "`connect_timeout` is not a number in its range"
)]
#[case(
    "target_session_attrs=master",
    "`target_session_attrs` must be one of any, read-write, read-only, primary, standby, prefer-standby"
)]
#[case(
    "sslnegotiation=direct sslmode=prefer",
    "`sslnegotiation=direct` needs `sslmode=require` or stronger"
)]
#[case(
    "ssl_max_protocol_version=TLSv1.1",
    "`ssl_max_protocol_version` is older than `ssl_min_protocol_version`"
)]
#[case(
    "sslkey=pkcs11:token",
    "`sslkey` names an OpenSSL engine; only files are supported"
)]
#[case("sslcertmode=require", "`sslcertmode` must be one of disable, allow")]
fn what_is_not_supported_is_an_error(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(resolve_with(text, &[]).unwrap_err().to_string(), expected);
}

#[rstest]
#[case("gssencmode=disable")]
#[case("gssencmode=prefer sslcompression=0 client_encoding=UTF8 replication=false")]
#[case("client_encoding=auto krbsrvname=postgres sslcertmode=allow sslsni=1")]
fn what_asks_for_nothing_is_accepted(#[case] text: &str) {
    assert!(resolve_with(text, &[]).is_ok());
}

#[rstest]
#[case("", &[("PGREQUIREAUTH", "scram-sha-256")], false)]
#[case("require_auth=password", &[("PGREQUIREAUTH", "scram-sha-256")], true)]
#[case("require_auth=", &[], true)]
fn require_auth_may_come_from_the_environment(
    #[case] text: &str,
    #[case] vars: &[(&str, &str)],
    #[case] cleartext: bool,
) {
    let required = resolve_with(text, vars).unwrap().require_auth;
    let allowed = required.is_none_or(|required| required.check(3, false).is_ok());
    assert_eq!(allowed, cleartext);
}

#[test]
fn an_unsupported_variable_is_an_error_too() {
    let error = resolve_with("", &[("PGREQUIREPEER", "postgres")]).unwrap_err();
    assert_eq!(error.to_string(), "`requirepeer` is not supported");
    assert!(resolve_with("sslmode=disable", &[("PGREQUIRESSL", "1")]).is_ok());
}

#[test]
fn times_have_bounds_and_units() {
    let conninfo = resolve_with("", &[]).unwrap();
    assert_eq!(conninfo.connect_timeout, Some(CONNECT_TIMEOUT));
    assert_eq!(conninfo.keepalives, Some(KEEPALIVES));
    assert_eq!(conninfo.tcp_user_timeout, None);

    let text = "connect_timeout=3 tcp_user_timeout=1500 keepalives_idle=5 keepalives_count=9";
    let conninfo = resolve_with(text, &[]).unwrap();
    assert_eq!(conninfo.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(conninfo.tcp_user_timeout, Some(Duration::from_millis(1500)));
    let keepalives = conninfo.keepalives.unwrap();
    assert_eq!(
        (keepalives.idle, keepalives.retries),
        (Duration::from_secs(5), 9)
    );

    let conninfo = resolve_with("connect_timeout=0 keepalives=0", &[]).unwrap();
    assert_eq!(
        (conninfo.connect_timeout, conninfo.keepalives),
        (None, None)
    );
}

#[rstest]
#[case("postgresql://u:hunter2@h/d?sslpassword=hunter2")]
#[case("password=hunter2 sslpassword='hunter2'")]
fn debug_never_shows_a_password(#[case] text: &str) {
    let conninfo = resolve_with(text, &[]).unwrap();
    assert_eq!(
        conninfo.password.as_ref().unwrap().expose_secret(),
        "hunter2"
    );
    assert!(!format!("{conninfo:?}").contains("hunter2"));
}

#[rstest]
#[case("postgresql://u:hunter2/x@h/d")]
#[case("postgresql://u:%hunter2@h/d")]
#[case("postgresql://u:x@hunter2@h/d")]
#[case("postgresql://u:x?hunter2@h/d")]
#[case("postgresql://u:x#hunter2@h:y/d")]
#[case("postgresql://u:hunter2")]
#[case("password=x hunter2 host=h")]
#[case("password=x hunter2=")]
#[case("u:hunter2@h?user=x")]
#[case("jdbc:postgresql://u:hunter2@h/d?user=x")]
#[case("host=h u:hunter2@h=x")]
#[case("postgresql://u:x?hunter2=y@h/d")]
#[case("postgresql://h/d?u:hunter2=x")]
#[case("password='hunter2")]
fn errors_never_show_a_password(#[case] text: &str) {
    let error = resolve_with(text, &[]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}
