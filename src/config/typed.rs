//! Deserializers for fields that are written as text. They use the parsers in `syntax`.

use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use super::spec::RejectLimit;
use super::syntax;

/// A field that is read from a text by one of the parsers in `syntax`.
fn parsed<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    parsed(d, syntax::duration)
}

pub(super) fn share<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    parsed(d, syntax::share)
}

pub(super) fn reject_limit<'de, D: Deserializer<'de>>(d: D) -> Result<RejectLimit, D::Error> {
    parsed(d, syntax::reject_limit)
}

pub(super) fn some_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    parsed(d, syntax::duration).map(Some)
}

pub(super) fn some_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    parsed(d, syntax::bytes).map(Some)
}

pub(super) fn some_signal<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u8>, D::Error> {
    parsed(d, syntax::signal).map(Some)
}

/// A text, or a list of texts.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}
