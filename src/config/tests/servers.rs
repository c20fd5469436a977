//! What of a server can be told wrong without connecting, and what may still come.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use rstest::rstest;

use super::{env, file, read, read_all, said};
use crate::config::spec::About;

fn with_conninfo(conninfo: &str) -> String {
    format!("[servers.shop]\nmax_connections = 2\nconninfo = {conninfo:?}\n")
}

#[rstest]
#[case(
    "host=h sslmode=verify_full",
    "`sslmode` must be one of disable, prefer, require, verify-ca, verify-full"
)]
#[case("postgresql://h/d?foo=bar", "unknown key `foo` in the conninfo")]
#[case(
    "postgresql://h:pgport/d",
    "`port` is not a number between 1 and 65535"
)]
#[case("host=h port=70000", "`port` is not a number between 1 and 65535")]
#[case(
    "jdbc:postgresql://h/d",
    "it is neither a URI (postgresql://…) nor key=value"
)]
#[case("shop-db", "it is neither a URI (postgresql://…) nor key=value")]
#[case("hots=h", "unknown key `hots` in the conninfo; did you mean `host`?")]
#[case(
    "host=h connect_timeout=5s",
    "`connect_timeout` is not a number in its range"
)]
#[case(
    "host=h gssencmode=require",
    "`gssencmode` is not supported (only disable, prefer)"
)]
fn a_conninfo_that_can_never_work_is_an_error(#[case] conninfo: &str, #[case] message: &str) {
    let error = read(&with_conninfo(conninfo)).unwrap_err();
    assert_eq!(error, format!("t.toml:3: servers.shop.conninfo: {message}"));
}

#[test]
fn a_wrong_variable_is_told_from_a_wrong_conninfo() {
    let files = || vec![file("t.toml", &with_conninfo("host=h"))];
    let error = read_all(files(), &env(&[("PGSSLMODE", "verify_full")])).unwrap_err();
    let start = "t.toml:3: servers.shop.conninfo: the conninfo with the environment's PG* variables: `sslmode`";
    assert!(error.starts_with(start), "{error}");
    assert!(read_all(files(), &env(&[("PGSSLMODE", "require")])).is_ok());
}

#[rstest]
#[case(
    "conninfo = 'host=h'\npassword_file = '/nowhere/p'",
    "t.toml:3: servers.shop.password_file: it names /nowhere/p: "
)]
#[case(
    "conninfo = 'host=h'\npassfile = '/nowhere/p'",
    "t.toml:3: servers.shop.passfile: /nowhere/p cannot be read: "
)]
#[case(
    "conninfo = 'host=h passfile=/nowhere/p'",
    "t.toml:2: servers.shop.conninfo: passfile: /nowhere/p cannot be read: "
)]
#[case(
    "conninfo = 'host=h'\npassword_env = 'NO_SUCH'",
    "t.toml:3: servers.shop.password_env: the environment variable NO_SUCH is not set"
)]
#[case(
    "conninfo = 'host=h'\npassword_credential = 'c'",
    "t.toml:3: servers.shop.password_credential: $CREDENTIALS_DIRECTORY is not set"
)]
#[case(
    "conninfo = 'service=none servicefile=/nowhere/s'",
    "t.toml:2: servers.shop.conninfo: the service file /nowhere/s cannot be read: "
)]
#[case(
    "conninfo = 'host=h sslrootcert=/nowhere/root.crt'",
    "t.toml:2: servers.shop.conninfo: sslrootcert /nowhere/root.crt: "
)]
#[case(
    "conninfo = 'host=h sslcert=/nowhere/c sslkey=/nowhere/k'",
    "t.toml:2: servers.shop.conninfo: sslcert /nowhere/c: "
)]
#[case(
    "conninfo = 'host=h sslmode=verify-ca sslrootcert=/nowhere/root.crt'",
    "t.toml:2: servers.shop.conninfo: sslrootcert /nowhere/root.crt: "
)]
fn what_is_missing_now_is_a_warning(#[case] server: &str, #[case] start: &str) {
    let config = read(&format!("[servers.shop]\n{server}\n")).unwrap();
    let said = said(&config);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with(start), "{said:?}");
    assert_eq!(config.warnings[0].about, About::Server("shop".to_owned()));
}

#[rstest]
#[case(0o600, "secret\n", &[])]
#[case(0o644, "secret\n", &["can be read by others"])]
#[case(0o640, "secret\n", &["can be read by others"])]
#[case(0o600, "\n", &["its first line is empty"])]
fn a_password_file_is_looked_at(#[case] mode: u32, #[case] text: &str, #[case] parts: &[&str]) {
    let password = tempfile::NamedTempFile::new().unwrap();
    fs::write(password.path(), text).unwrap();
    fs::set_permissions(password.path(), fs::Permissions::from_mode(mode)).unwrap();
    // Some user's, if root runs the tests: root's files may be readable by their group.
    let _ = std::os::unix::fs::chown(password.path(), Some(1000), None);
    let path = password.path().display();
    let config = read(&format!(
        "[servers.shop]\nconninfo = 'host=h'\npassword_file = '{path}'\n"
    ))
    .unwrap();
    let said = said(&config);
    assert_eq!(said.len(), parts.len(), "{said:?}");
    for part in parts {
        assert!(
            said[0].contains(part) && !said[0].contains("secret"),
            "{said:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_conninfo_is_right_or_an_error_at_its_line(
        scheme in "(postgres(ql)?://|jdbc:)?",
        text in "((host|port|sslmode|require_auth|user|options)=|[a-z]{1,4}|[@:/?&= ]|%[0-9a-f]{2}|[^\0]){0,15}",
    ) {
        let conninfo = format!("password=hunter2 {scheme}{text}");
        for conninfo in [conninfo, format!("{scheme}u:hunter2@{text}")] {
            let mut request = env(&[]);
            request.overrides = vec![("servers.shop.conninfo".to_owned(), conninfo)];
            match read_all(vec![file("t.toml", "")], &request) {
                Ok(config) => {
                    let shown = format!("{config:?}");
                    prop_assert!(!shown.contains("hunter2"));
                }
                Err(error) => {
                    prop_assert!(error.starts_with("command line: servers.shop.conninfo: "));
                    prop_assert!(!error.contains("hunter2"), "{}", error);
                }
            }
        }
    }
}
