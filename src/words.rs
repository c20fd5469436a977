//! Numbers with their noun, for people.

use std::fmt::Display;

/// `1 row`, `2 rows`: the noun takes an s.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let s = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let words = [0, 1, 2].map(|n: u64| counted(n, "row"));
        assert_eq!(words, ["0 rows", "1 row", "2 rows"]);
    }
}
