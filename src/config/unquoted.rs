//! Detects text without quotes, which TOML reads as another type.

use toml::de::DeValue;

/// The key that this line gives a text without quotes. Never shows the value: it may be a password.
pub(super) fn key_without_quotes(line: &str) -> Option<&str> {
    let (key, value) = line.split_once('=')?;
    let in_quotes = |quote: char| key.matches(quote).count() % 2 == 1;
    if in_quotes('"') || in_quotes('\'') {
        return None;
    }
    let value = value.split(" #").next().unwrap_or(value).trim();
    let needs_quotes = match value.strip_prefix('[') {
        Some(list) => list.trim_end_matches(']').split(',').any(is_bare),
        None => is_bare(value),
    };
    needs_quotes.then_some(key.trim())
}

/// Is it no value of TOML, and nothing that only lacks its end?
fn is_bare(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && !text.starts_with(['"', '\'', '[', '{', '#'])
        && DeValue::parse(text).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("mode = truncate", Some("mode"))]
    #[case("  jobs.a.mode=merge  # why", Some("jobs.a.mode"))]
    #[case("every = 5m", Some("every"))]
    #[case("listen = 127.0.0.1:9632", Some("listen"))]
    #[case("cron = */5 * * * *", Some("cron"))]
    #[case("max_shrink = 50%", Some("max_shrink"))]
    #[case("rate_limit = 50MB", Some("rate_limit"))]
    #[case("conninfo = host=a dbname=b", Some("conninfo"))]
    #[case("password_file = /run/secret", Some("password_file"))]
    #[case("on_demand = True", Some("on_demand"))]
    #[case("tables = [public.a, 'public.b']", Some("tables"))]
    #[case("tables = ['public.a, 'public.b']", None)]
    #[case("mode = 'x", None)]
    #[case("mode = ", None)]
    #[case("workers = 3", None)]
    #[case("retry = { max = 1", None)]
    #[case("\"a=b\" = 1", None)]
    #[case("[jobs.x", None)]
    fn a_text_without_quotes_is_known(#[case] line: &str, #[case] key: Option<&str>) {
        assert_eq!(key_without_quotes(line), key);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in "[a-z\"']{0,4}=.{0,20}|.{0,20}") {
            let _ = key_without_quotes(&line);
        }
    }
}
