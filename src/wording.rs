//! Texts for people: numbers with nouns, the nearest known name, TLS errors without OpenSSL's file and line.

use std::fmt::Display;

/// How many lock holders an error names.
pub const HOLDERS_NAMED_MAX: usize = 3;

/// `1 row`, `2 rows`: the noun takes an s.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{s}")
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

    #[test]
    fn one_is_no_plural() {
        let words = [0, 1, 2].map(|n: u64| counted(n, "row"));
        assert_eq!(words, ["0 rows", "1 row", "2 rows"]);
    }
}
