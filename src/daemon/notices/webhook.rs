//! Tells a web server: a POST to the URL in a file. The URL is a secret and appears in no message.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::{NOTICE_WAIT, SendError};
use crate::private;
use crate::wording::without_openssl_places;

/// The longest URL.
const URL_BYTES_MAX: u64 = 8192;

/// Sends the notice. Redirects are not followed: they would take the notice somewhere else.
pub(super) fn post(file: &Path, body: &[u8]) -> Result<(), SendError> {
    let url = url(file).map_err(|why| SendError::Failed(format!("{}: {why}", file.display())))?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(NOTICE_WAIT))
        .user_agent(concat!("tableferry/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent();
    let answered = agent
        .post(&url)
        .content_type("application/json")
        .send(body)
        .map_err(|error| SendError::Failed(reason(&error)))?;
    match answered.status().as_u16() {
        200..=299 => Ok(()),
        status @ 300..=399 => Err(SendError::Failed(format!(
            "the server answered with a redirect ({status}), which is not followed: put the new URL into the file"
        ))),
        status => Err(SendError::Failed(format!(
            "the server answered with status {status}"
        ))),
    }
}

/// The first line of the file.
fn url(path: &Path) -> Result<String, String> {
    if private::is_open_to_others(path).map_err(|error| error.to_string())? {
        let message =
            "it is open to others than its owner, and the URL in it is a secret: chmod 600";
        return Err(message.to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut line = String::new();
    BufReader::new(file.take(URL_BYTES_MAX))
        .read_line(&mut line)
        .map_err(|_| "its first line is not a URL".to_owned())?;
    let url = line.trim();
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        let rest = url.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    });
    match is_url {
        true => Ok(url.to_owned()),
        false => Err("its first line is not a URL that begins with https:// or http://".to_owned()),
    }
}

/// Why the request failed. Errors that may quote the URL are told by their kind only.
fn reason(error: &ureq::Error) -> String {
    use ureq::Error;
    match error {
        Error::Timeout(_) => format!("no answer within {} s", NOTICE_WAIT.as_secs()),
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            format!("no answer within {} s", NOTICE_WAIT.as_secs())
        }
        Error::Io(error) => format!("the connection failed: {error}"),
        Error::HostNotFound => "the host of the URL is not found".to_owned(),
        Error::ConnectionFailed => "the connection failed".to_owned(),
        Error::NativeTls(error) => {
            format!("TLS failed: {}", without_openssl_places(&error.to_string()))
        }
        Error::Tls(why) => format!("TLS failed: {why}"),
        Error::Protocol(_) => "the answer is not HTTP".to_owned(),
        Error::BadUri(_) | Error::Http(_) => "the file's first line is not a URL".to_owned(),
        Error::InvalidProxyUrl | Error::ConnectProxyFailed(_) => {
            "the proxy of $HTTPS_PROXY or $HTTP_PROXY cannot be used".to_owned()
        }
        _ => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[rstest]
    #[case(
        "https://chat.example/hook/s3cret\nmore",
        0o600,
        Ok("https://chat.example/hook/s3cret")
    )]
    #[case("  http://127.0.0.1:8080/x \n", 0o400, Ok("http://127.0.0.1:8080/x"))]
    #[case("https://chat.example/s3cret", 0o604, Err("chmod 600"))]
    #[case("", 0o600, Err("not a URL"))]
    #[case("ftp://chat.example/s3cret", 0o600, Err("not a URL"))]
    #[case("https://", 0o600, Err("not a URL"))]
    #[case("https://a b/s3cret", 0o600, Err("not a URL"))]
    fn the_url_is_read_from_a_file_of_its_owner(
        #[case] text: &str,
        #[case] mode: u32,
        #[case] expected: Result<&str, &str>,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hook");
        std::fs::write(&path, text).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        match (url(&path), expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url, expected),
            (Err(why), Err(expected)) => {
                assert!(why.contains(expected) && !why.contains("s3cret"), "{why}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }
}
