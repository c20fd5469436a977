//! A conninfo as it may be shown and kept.

use super::error::ConninfoError;
use super::parse;

/// The keys whose values are secret.
const SECRET: [&str; 2] = ["password", "sslpassword"];

/// The conninfo without its passwords, and whether it had any. A conninfo that had one is returned as key=value.
///
/// *Errors:* it is neither a URI nor key=value.
pub fn without_password(text: &str) -> Result<(String, bool), ConninfoError> {
    let mut settings = parse::parse(text)?;
    let removed = SECRET.map(|key| settings.remove(key));
    if removed.iter().all(Option::is_none) {
        return Ok((text.trim().to_owned(), false));
    }
    let pairs: Vec<String> = settings
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    Ok((pairs.join(" "), true))
}

fn quoted(value: &str) -> String {
    if !value.contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '\\')) {
        return value.to_owned();
    }
    let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "postgresql://reader@h/shop?sslmode=disable",
        "postgresql://reader@h/shop?sslmode=disable",
        false
    )]
    #[case(
        "postgresql://reader:s%40cret@a:1,b:2/shop?sslmode=disable",
        "dbname=shop host=a,b port=1,2 sslmode=disable user=reader",
        true
    )]
    #[case(
        "postgresql://reader@h/shop?password=secret",
        "dbname=shop host=h user=reader",
        true
    )]
    #[case(
        "postgresql://reader@h/shop?pass%77ord=secret",
        "dbname=shop host=h user=reader",
        true
    )]
    #[case(" host=h  password = 'se cret' user=x", "host=h user=x", true)]
    #[case("host=h sslpassword=secret", "host=h", true)]
    #[case("", "", false)]
    fn a_password_is_not_kept(#[case] text: &str, #[case] kept: &str, #[case] had_one: bool) {
        assert_eq!(without_password(text).unwrap(), (kept.to_owned(), had_one));
    }

    proptest::proptest! {
        /// All other settings stay as they were.
        #[test]
        fn what_is_left_means_the_same(user in r"[a-z '\\=]{1,10}", password in r"[a-z '\\=]{0,10}") {
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
            let text = format!("user='{}' password='{}'", escaped(&user), escaped(&password));
            let (kept, _) = without_password(&text).unwrap();
            let settings = parse::parse(&kept).unwrap();
            proptest::prop_assert_eq!(settings.get("user"), Some(&user));
            proptest::prop_assert_eq!(settings.len(), 1);
        }
    }
}
