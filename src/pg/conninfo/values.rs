//! Typed access to unvalidated settings.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::error::ConninfoError;

type Result<T> = std::result::Result<T, ConninfoError>;

/// Keys and values as written, last one wins; nothing is validated yet.
pub(super) type RawSettings = BTreeMap<String, String>;

/// Settings; an empty value is an absent one.
pub(super) struct NonEmptySettings<'s>(pub &'s RawSettings);

impl<'s> NonEmptySettings<'s> {
    pub fn get(&self, key: &str) -> Option<&'s str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub fn list(&self, key: &str) -> Vec<&'s str> {
        match self.get(key) {
            Some(value) => value.split(',').map(str::trim).collect(),
            None => Vec::new(),
        }
    }

    pub fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)
            .map(|value| value.trim().parse::<T>())
            .transpose()
            .map_err(|_| ConninfoError::new(format!("`{key}` is not a number in its range")))
    }

    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match choices.iter().find(|(name, _)| *name == value) {
            Some((_, chosen)) => Ok(Some(*chosen)),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                Err(ConninfoError::new(format!(
                    "`{key}` must be one of {}",
                    names.join(", ")
                )))
            }
        }
    }

    pub fn refuse_unless(&self, key: &str, harmless: &[&str]) -> Result<()> {
        match self.get(key) {
            Some(value) if !harmless.contains(&value) => {
                let advice = match (key, harmless) {
                    ("client_encoding", _) => {
                        "; for a SQL_ASCII database set `encoding` on the server".to_owned()
                    }
                    (_, []) => String::new(),
                    (_, values) => format!(" (only {})", values.join(", ")),
                };
                Err(ConninfoError::new(format!(
                    "`{key}` is not supported{advice}"
                )))
            }
            _ => Ok(()),
        }
    }
}
