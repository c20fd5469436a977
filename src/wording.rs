//! Texts for people: numbers with nouns, the nearest known name, TLS errors without OpenSSL's file and line.

use std::fmt::Display;
use std::time::Duration;

/// How many lock holders an error names.
pub const HOLDERS_NAMED_MAX: usize = 3;

/// `1 row`, `2 rows`: the noun takes an s.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// A length of time in its largest unit: `12 s`, `3 min`, `5 h`, `2 d`.
pub fn brief(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=59 => format!("{seconds} s"),
        seconds @ 60..=3599 => format!("{} min", seconds / 60),
        seconds @ 3600..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Words in lines of at most `width` characters. The first begins with `first`, the others with `rest`. A word that is
/// longer than a line is cut.
pub fn wrapped(text: &str, width: usize, first: &str, rest: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    let start = |prefix: &str| (prefix.to_owned(), prefix.chars().count());
    let mut used = first.chars().count();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !is_empty && used + 1 + length > width {
            lines.push(line);
            (line, used) = start(rest);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used >= width && !is_empty {
                lines.push(line);
                (line, used) = start(rest);
            }
            line.push(c);
            used += 1;
            is_empty = false;
        }
    }
    lines.push(line);
    lines
}

/// The candidate that a person who wrote `word` most likely meant.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let edits_max = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// An error's text without OpenSSL's error codes, function names and lines of source code: of
/// `error:0A000086:SSL routines:f:certificate verify failed:../ssl/x.c:1889:` the reason.
pub fn without_openssl_places(text: &str) -> String {
    let mut pieces = text.split("error:");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match reason(piece) {
            Some(reason) => plain.push_str(&reason),
            None => {
                plain.push_str("error:");
                plain.push_str(piece);
            }
        }
    }
    plain
}

/// The reason, and what follows the place, of `CODE:library:function:reason:file:line:more`.
fn reason(piece: &str) -> Option<String> {
    let parts: Vec<&str> = piece.splitn(7, ':').collect();
    let [code, _, _, reason, _, line, more] = parts[..] else {
        return None;
    };
    let is_code = code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_code || !line.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let separator = match more.chars().next() {
        None | Some(' ' | ',' | ':') => "",
        Some(_) => ": ",
    };
    Some(format!("{reason}{separator}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("no TLS: connection refused", "no TLS: connection refused")]
    #[case(
        "error performing TLS handshake: error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:../ssl/statem/statem_clnt.c:1889: (self-signed certificate)",
        "error performing TLS handshake: certificate verify failed (self-signed certificate)"
    )]
    #[case(
        "error:0480006C:PEM routines:get_name:no start line:../crypto/pem/pem_lib.c:763:Expecting: CERTIFICATE, error:1608010C:STORE routines:f:unsupported:../crypto/store/x.c:151:",
        "no start line: Expecting: CERTIFICATE, unsupported"
    )]
    #[case("error: a:b:c:d:e:f:g", "error: a:b:c:d:e:f:g")]
    fn openssl_says_why_and_not_where(#[case] text: &str, #[case] plain: &str) {
        assert_eq!(without_openssl_places(text), plain);
    }

    #[rstest]
    #[case("", 10, &["- "])]
    #[case("one two three", 10, &["- one two", "  three"])]
    #[case("one  two\nthree", 80, &["- one two three"])]
    #[case("12345678 x", 10, &["- 12345678", "  x"])]
    #[case("a 1234567890123", 10, &["- a", "  12345678", "  90123"])]
    #[case("größe größe", 7, &["- größe", "  größe"])]
    fn words_are_wrapped(#[case] text: &str, #[case] width: usize, #[case] lines: &[&str]) {
        assert_eq!(wrapped(text, width, "- ", "  "), lines);
    }

    #[test]
    fn a_time_has_one_unit() {
        let shown =
            [0, 59, 60, 3599, 3600, 172_799, 172_800].map(|s| brief(Duration::from_secs(s)));
        assert_eq!(
            shown,
            ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]
        );
    }

    #[test]
    fn one_is_no_plural() {
        let words = [0, 1, 2].map(|n: u64| counted(n, "row"));
        assert_eq!(words, ["0 rows", "1 row", "2 rows"]);
    }
}
