//! Parses a conninfo, URI or key=value, into keys and values.

use super::error::ConninfoError;
use super::keys::{is_known, is_word};
use super::values::RawSettings;

/// Reads either form. A URI is told by its scheme, as libpq does.
pub(super) fn parse(text: &str) -> Result<RawSettings, ConninfoError> {
    let uri = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match uri {
        Some(rest) => parse_uri(rest),
        None => parse_pairs(text),
    }
}

/// `key = value  key='a value'`: a backslash makes the next character a plain one, inside quotes
/// and outside.
fn parse_pairs(text: &str) -> Result<RawSettings, ConninfoError> {
    let mut settings = RawSettings::new();
    let mut previous = String::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if rest.starts_with('=') {
            return Err(ConninfoError::new("a `=` has no key before it"));
        }
        let end = rest.find(|c: char| c == '=' || c.is_whitespace());
        let (key, after) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(value) = after
            .trim_start()
            .strip_prefix('=')
            .filter(|_| is_word(key))
        else {
            // A word without `=` may be the rest of a password with a space, so it is not shown.
            return Err(ConninfoError::new(match previous.as_str() {
                "" => "it is neither a URI (postgresql://…) nor key=value".to_owned(),
                previous if is_word(key) => format!(
                    "what follows the value of `{previous}` has no `=` \
                     (a value with spaces needs single quotes)"
                ),
                previous => format!(
                    "what follows the value of `{previous}` is no key \
                     (a value with spaces needs single quotes)"
                ),
            }));
        };
        let (value, after) = parse_value(key, value.trim_start())?;
        check_key(key, &previous)?;
        settings.insert(key.to_owned(), value);
        previous = key.to_owned();
        rest = after.trim_start();
    }
    Ok(settings)
}

/// A key that follows a password may be the rest of a password with a space in it.
fn check_key(key: &str, previous: &str) -> Result<(), ConninfoError> {
    if is_known(key) || !matches!(previous, "password" | "sslpassword") {
        return Ok(());
    }
    Err(ConninfoError::new(format!(
        "an unknown key follows `{previous}` (a value with spaces needs single quotes)"
    )))
}

fn parse_value<'t>(key: &str, text: &'t str) -> Result<(String, &'t str), ConninfoError> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(ConninfoError::new(format!(
            "the quotes around the value of `{key}` are not closed"
        )));
    }
    Ok((value, ""))
}

/// `user:password@host:port,host:port/dbname?key=value&key=value`, everything percent-encoded.
fn parse_uri(text: &str) -> Result<RawSettings, ConninfoError> {
    let mut settings = RawSettings::new();
    let (text, query) = match text.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (text, None),
    };
    let (authority, dbname) = match text.split_once('/') {
        Some((authority, dbname)) => (authority, Some(dbname)),
        None => (text, None),
    };
    let (login, hosts) = match authority.split_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    if hosts.contains('@') || dbname.is_some_and(|name| name.contains('@')) {
        return Err(ConninfoError::new(
            "the URI has an `@` or `/` that is not percent-encoded (in a password write %40 and %2F)",
        ));
    }
    // `user:pass?word@host`
    let cut_short = |query: &str| {
        let after_colon = hosts.rsplit(':').next().unwrap_or_default();
        query.contains('@') && !after_colon.bytes().all(|byte| byte.is_ascii_digit())
    };
    if login.is_none() && hosts.contains(':') && query.is_some_and(cut_short) {
        return Err(ConninfoError::new(
            "the URI has a `?` that is not percent-encoded (in a password write %3F)",
        ));
    }
    if let Some(login) = login {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        put(&mut settings, "user", user)?;
        if let Some(password) = password {
            put(&mut settings, "password", password)?;
        }
    }
    parse_hosts(&mut settings, hosts)?;
    put(&mut settings, "dbname", dbname.unwrap_or_default())?;
    for pair in query.unwrap_or_default().split('&') {
        if !pair.is_empty() {
            parse_parameter(&mut settings, pair)?;
        }
    }
    Ok(settings)
}

fn parse_hosts(settings: &mut RawSettings, text: &str) -> Result<(), ConninfoError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(bracketed) => {
                let (address, after) = bracketed.split_once(']').ok_or_else(|| {
                    ConninfoError::new("an IPv6 address in the URI lacks its `]`")
                })?;
                if address.is_empty() {
                    return Err(ConninfoError::new("an IPv6 address in the URI is empty"));
                }
                match after.strip_prefix(':') {
                    Some(port) => (address, port),
                    None if after.is_empty() => (address, ""),
                    None => {
                        return Err(ConninfoError::new(
                            "unexpected characters follow the `]` of an IPv6 address in the URI",
                        ));
                    }
                }
            }
            None => part.split_once(':').unwrap_or((part, "")),
        };
        hosts.push(decode("host", host)?);
        ports.push(decode("port", port)?);
    }
    // A comma in a decoded host would be taken for a second host.
    if hosts.iter().any(|host| host.contains(',')) {
        return Err(ConninfoError::new("a host in the URI contains a comma"));
    }
    for (key, values) in [("host", hosts), ("port", ports)] {
        if values.iter().any(|value| !value.is_empty()) {
            settings.insert(key.to_owned(), values.join(","));
        }
    }
    Ok(())
}

fn parse_parameter(settings: &mut RawSettings, pair: &str) -> Result<(), ConninfoError> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(ConninfoError::new(
            "a parameter of the URI has no `=` (a `&` or `?` in a value is written %26 or %3F)",
        ));
    };
    if value.contains('=') {
        return Err(ConninfoError::new(format!(
            "the value of `{key}` in the URI has a second `=` (write %3D)"
        )));
    }
    match (key, value) {
        // JDBC's way to ask for TLS, which libpq takes, too.
        ("ssl", "true") => put(settings, "sslmode", "require"),
        _ => {
            let key = decode("a parameter's name", key)?;
            put(settings, &key, value)
        }
    }
}

/// Sets a key, unless the value is empty: an empty part of a URI is an absent one.
fn put(settings: &mut RawSettings, key: &str, encoded: &str) -> Result<(), ConninfoError> {
    let value = decode(key, encoded)?;
    if !value.is_empty() {
        settings.insert(key.to_owned(), value);
    }
    Ok(())
}

/// Undoes percent-encoding. A `+` stays a plus, as in libpq.
fn decode(what: &str, text: &str) -> Result<String, ConninfoError> {
    let wrong = || {
        ConninfoError::new(format!(
            "`{what}` in the URI is not well percent-encoded (a percent sign is written %25)"
        ))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.first_chunk::<2>().ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        if byte == 0 {
            return Err(wrong());
        }
        bytes.push(byte);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(settings) => settings
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    // Many of these are what libpq's own uri-regress thinks of.
    #[rstest]
    #[case(
        "postgresql://uri-user:secret@host:12345/db",
        "dbname=db host=host password=secret port=12345 user=uri-user"
    )]
    #[case(
        "postgresql://uri-user@host:12345/db",
        "dbname=db host=host port=12345 user=uri-user"
    )]
    #[case("postgres://host/", "host=host")]
    #[case("postgresql://", "")]
    #[case("postgresql://host?", "host=host")]
    #[case(
        "postgresql://host/db?user=u&port=1",
        "dbname=db host=host port=1 user=u"
    )]
    #[case(
        "postgresql://host/db?u%73er=someotheruser&port=12345",
        "dbname=db host=host port=12345 user=someotheruser"
    )]
    #[case(
        "postgresql://host?user%2=u",
        "error: `a parameter's name` in the URI is not well percent-encoded (a percent sign is written %25)"
    )]
    #[case("postgresql://[::1]:12345/db", "dbname=db host=::1 port=12345")]
    #[case("postgresql://[2001:db8::1234]/", "host=2001:db8::1234")]
    #[case("postgresql://[::1", "error: an IPv6 address in the URI lacks its `]`")]
    #[case("postgresql://[]", "error: an IPv6 address in the URI is empty")]
    #[case(
        "postgresql://[::1]z",
        "error: unexpected characters follow the `]` of an IPv6 address in the URI"
    )]
    #[case("postgresql://a:1,b,[::1]:3/db", "dbname=db host=a,b,::1 port=1,,3")]
    #[case(
        "postgresql://a,b/db?target_session_attrs=read-write",
        "dbname=db host=a,b target_session_attrs=read-write"
    )]
    #[case(
        "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname",
        "dbname=dbname host=/var/lib/postgresql"
    )]
    #[case(
        "postgresql:///dbname?host=/unix/socket",
        "dbname=dbname host=/unix/socket"
    )]
    #[case("postgresql://@host", "host=host")]
    #[case("postgresql://:12345/", "port=12345")]
    #[case("postgresql://u:p%40%2F%3a%25%20x@h", "host=h password=p@/:% x user=u")]
    #[case("postgresql://u:a+b@h", "host=h password=a+b user=u")]
    #[case(
        "postgresql://u:p@ss@h/db",
        "error: the URI has an `@` or `/` that is not percent-encoded (in a password write %40 and %2F)"
    )]
    #[case(
        "postgresql://u:12/34@h/db",
        "error: the URI has an `@` or `/` that is not percent-encoded (in a password write %40 and %2F)"
    )]
    #[case(
        "postgresql://u:%00@h",
        "error: `password` in the URI is not well percent-encoded (a percent sign is written %25)"
    )]
    #[case(
        "postgresql://u:%zz@h",
        "error: `password` in the URI is not well percent-encoded (a percent sign is written %25)"
    )]
    #[case(
        "postgresql://u:%+1@h",
        "error: `password` in the URI is not well percent-encoded (a percent sign is written %25)"
    )]
    #[case("postgresql://h?ssl=true", "host=h sslmode=require")]
    #[case(
        "postgresql://h?zzz",
        "error: a parameter of the URI has no `=` (a `&` or `?` in a value is written %26 or %3F)"
    )]
    #[case(
        "postgresql://h?user=a=b",
        "error: the value of `user` in the URI has a second `=` (write %3D)"
    )]
    #[case("postgresql://h?user=", "host=h")]
    #[case("postgresql://h?options=-c%20geqo%3Doff", "host=h options=-c geqo=off")]
    fn uris(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(text), expected);
    }

    #[rstest]
    #[case("", "")]
    #[case("  host=h\tport=1\n", "host=h port=1")]
    #[case("host = h  port  =  1", "host=h port=1")]
    #[case(
        r"password='it\'s a \\ secret' user=u",
        r"password=it's a \ secret user=u"
    )]
    #[case(r"password=a\ b\'c user=u", "password=a b'c user=u")]
    #[case("password='' user=u", "password= user=u")]
    #[case("host=a'b", "host=a'b")]
    #[case("user=ann user=bob", "user=bob")]
    #[case("host='h'port=1", "host=h port=1")]
    #[case(
        "host='h",
        "error: the quotes around the value of `host` are not closed"
    )]
    #[case("shop-db", "error: it is neither a URI (postgresql://…) nor key=value")]
    #[case("=h", "error: a `=` has no key before it")]
    #[case(
        "password=my secret host=h",
        "error: what follows the value of `password` has no `=` (a value with spaces needs single quotes)"
    )]
    #[case(
        "password=my sec=ret host=h",
        "error: an unknown key follows `password` (a value with spaces needs single quotes)"
    )]
    fn pairs(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(text), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_value_comes_back_in_quotes_and_in_a_uri(value in "(?s)[^\0]{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let parsed = parse(&format!("user='{quoted}' host=h")).unwrap();
            proptest::prop_assert_eq!(&parsed["user"], &value);
        }

        #[test]
        fn any_text_is_read_without_a_panic(
            scheme in "(postgres(ql)?://)?",
            text in "([a-z]{1,4}|[@:/?&=%'\\\\\\[\\], ]|%[0-9a-f]{2}|(?s).){0,25}",
        ) {
            let _ = parse(&format!("{scheme}{text}"));
        }
    }
}
