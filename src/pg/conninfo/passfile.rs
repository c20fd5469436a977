//! `.pgpass`: passwords by host, port, database and user.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

/// Why a password file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PassfileError {
    /// It isn't there, or can't be opened.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A directory, a pipe, a device.
    #[error("is not a plain file")]
    NotAFile,
    /// Others could read the passwords.
    #[error("can be read by others than its owner: its permissions must be u=rw (0600) or less")]
    TooOpen,
}

/// What a password is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordFor<'a> {
    /// The host as the conninfo names it, else its address; `localhost` for a Unix socket.
    pub host: &'a str,
    pub port: u16,
    /// The database.
    pub dbname: &'a str,
    /// The role.
    pub user: &'a str,
}

/// Reads a password file, unless others can, too.
pub fn read(path: &Path) -> Result<SecretString, PassfileError> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(PassfileError::NotAFile);
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(PassfileError::TooOpen);
    }
    Ok(SecretString::from(fs::read_to_string(path)?))
}

/// The password of the first line that matches: `host:port:database:user:password`, where `*`
/// matches anything and a backslash makes `:` and `\` plain.
pub fn find(text: &str, wanted: &PasswordFor<'_>) -> Option<SecretString> {
    let port = wanted.port.to_string();
    let fields = [wanted.host, &port, wanted.dbname, wanted.user];
    text.lines()
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut rest = line;
            for field in fields {
                let (pattern, after) = split_field(rest)?;
                if pattern != "*" && unescape(pattern) != field {
                    return None;
                }
                rest = after;
            }
            // libpq reads the password up to a colon that is not escaped, if there is one.
            let password = split_field(rest).map_or(rest, |(password, _)| password);
            (!password.is_empty()).then(|| SecretString::from(unescape(password)))
        })
}

/// Splits at the first colon that is not escaped.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => plain.extend(characters.next()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    #[rstest]
    #[case("h:5432:db:u:secret", Some("secret"))]
    #[case("*:*:*:*:any", Some("any"))]
    #[case("h:*:db:u:a\\:b\\\\c", Some("a:b\\c"))]
    #[case("h:*:db:u:before:after", Some("before"))]
    #[case("other:*:*:*:no\nh:*:*:*:first\nh:*:*:*:second", Some("first"))]
    #[case("# h:*:*:*:no\nh:*:*:*:yes\r\n", Some("yes"))]
    #[case("h:5433:db:u:no", None)]
    #[case("h:5432:db:u:", None)]
    #[case("h:5432:db:u", None)]
    #[case("H:5432:db:u:no", None)]
    #[case("h*:5432:db:u:no", None)]
    #[case("\\*:5432:db:u:no", None)]
    fn the_first_line_that_matches_counts(#[case] text: &str, #[case] expected: Option<&str>) {
        let wanted = PasswordFor {
            host: "h",
            port: 5432,
            dbname: "db",
            user: "u",
        };
        let found = find(text, &wanted);
        assert_eq!(found.as_ref().map(ExposeSecret::expose_secret), expected);
    }

    #[test]
    fn colons_in_names_are_escaped() {
        let wanted = PasswordFor {
            host: "::1",
            port: 5432,
            dbname: "a:b",
            user: "u\\v",
        };
        let found = find(r"\:\:1:5432:a\:b:u\\v:yes", &wanted);
        assert_eq!(found.unwrap().expose_secret(), "yes");
    }

    #[rstest]
    #[case(0o600, true)]
    #[case(0o400, true)]
    #[case(0o640, false)]
    #[case(0o604, false)]
    fn a_file_that_others_can_read_is_refused(#[case] mode: u32, #[case] good: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, "*:*:*:*:secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read(&path).is_ok(), good);
    }

    proptest::proptest! {
        #[test]
        fn any_password_comes_back_and_any_text_is_read(
            noise in "(?s).{0,80}",
            host in "[^\n\r\0#*][^\n\r\0]{0,11}",
            password in "[^\n\r\0]{1,12}",
        ) {
            let wanted = PasswordFor { host: &host, port: 5432, dbname: "db", user: "u" };
            let _ = find(&noise, &wanted);
            let escape = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
            let line = format!("{}:*:db:u:{}", escape(&host), escape(&password));
            let found = find(&line, &wanted).map(|found| found.expose_secret().to_owned());
            proptest::prop_assert_eq!(found, Some(password));
        }
    }
}
