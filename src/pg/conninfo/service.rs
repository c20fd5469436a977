//! `pg_service.conf`: named groups of conninfo keys.

use std::collections::BTreeMap;

/// Why a service file is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// A line that is neither a comment, a `[name]` nor `key=value`.
    #[error("line {0}: expected `key=value`")]
    Syntax(usize),
    /// A service can't refer to another.
    #[error("line {0}: `{1}` is not allowed in a service")]
    Nested(usize, &'static str),
    /// An LDAP URL, which libpq could look up.
    #[error("line {0}: looking up a service by LDAP is not supported")]
    Ldap(usize),
}

/// The keys of service `name`; `None` if the file lacks it. As in libpq, the first value of a key counts.
/// Other services are not parsed.
pub fn find(text: &str, name: &str) -> Result<Option<BTreeMap<String, String>>, ServiceError> {
    let mut found: Option<BTreeMap<String, String>> = None;
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.split(']').next() == Some(name) {
                found = Some(BTreeMap::new());
            }
            continue;
        }
        let Some(settings) = &mut found else { continue };
        if line.starts_with("ldap") {
            return Err(ServiceError::Ldap(number));
        }
        let (key, value) = line.split_once('=').ok_or(ServiceError::Syntax(number))?;
        for nested in ["service", "servicefile"] {
            if key == nested {
                return Err(ServiceError::Nested(number, nested));
            }
        }
        settings
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const FILE: &str = "# shops\n[shop]\nhost=shop-db\r\nport=5433\nport=1\n  password=a b=c\n\n[empty]\n[other]\nhost=other\n[shop]\nuser=late\n";

    #[rstest]
    #[case("shop", Some("host=shop-db;password=a b=c;port=5433"))]
    #[case("empty", Some(""))]
    #[case("other", Some("host=other"))]
    #[case("none", None)]
    fn services_are_found(#[case] name: &str, #[case] expected: Option<&str>) {
        let found = find(FILE, name).unwrap().map(|settings| {
            let pairs = settings.iter().map(|(key, value)| format!("{key}={value}"));
            pairs.collect::<Vec<_>>().join(";")
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[rstest]
    #[case("[s]\nhost\n", ServiceError::Syntax(2))]
    #[case("[s]\nservice=t\n", ServiceError::Nested(2, "service"))]
    #[case("[s]\nldap://ldap.example/x\n", ServiceError::Ldap(2))]
    fn what_cannot_be_followed_is_refused(#[case] text: &str, #[case] expected: ServiceError) {
        assert_eq!(find(text, "s"), Err(expected));
        assert_eq!(find(text, "t"), Ok(None));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(\\[a\\]\n)?(?s).{0,100}") {
            let _ = find(&text, "a");
        }
    }
}
