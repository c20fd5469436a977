//! Collects the errors and warnings of the merged values.

use super::error::{ConfigError, KeyPath};
use super::keys::{self, DEFAULTS, Known};
use super::layer::Origins;
use super::spec::{About, Mode, Warning};

/// What was found while validating.
pub(super) struct Diagnostics<'o> {
    origins: &'o Origins,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<Warning>,
}

impl<'o> Diagnostics<'o> {
    pub fn new(origins: &'o Origins) -> Self {
        Diagnostics {
            origins,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// An error at the key, or, where it is not set, at the table that lacks it.
    pub fn error(&mut self, key: &KeyPath, message: impl Into<String>) {
        let error = self.placed(key, message.into());
        self.errors.push(error);
    }

    /// Adds a warning.
    pub fn warn(&mut self, key: &KeyPath, message: impl Into<String>) {
        let warning = self.placed(key, message.into());
        let mut names = key.names().map(str::to_owned);
        let about = match (names.next().as_deref(), names.next()) {
            (Some("jobs"), Some(job)) => About::Job(job),
            (Some("servers"), Some(server)) => About::Server(server),
            (Some("notify"), Some(notifier)) => About::Notifier(notifier),
            _ => About::All,
        };
        self.warnings.push(Warning {
            about,
            text: warning.to_string(),
        });
    }

    /// The key or table stands in some layer, be its value right or wrong. That of a job does so only if it is the
    /// job's own: `[defaults]` may be meant for other jobs.
    pub fn is_set(&self, key: &KeyPath) -> bool {
        self.origins.contains_key(key)
    }

    /// The same, or it stands in `[defaults]`.
    pub fn stands(&self, key: &KeyPath) -> bool {
        self.is_set(key) || in_defaults(key).is_some_and(|key| self.is_set(&key))
    }

    /// A required key. One whose value did not fit was reported with its layer.
    pub fn require<T>(&mut self, key: &KeyPath, value: Option<T>) -> Option<T> {
        if value.is_none()
            && !self.stands(key)
            && let Known::Key(known) = keys::lookup(key)
        {
            let expected = known.kind.expected();
            self.error(key, format!("is required: {} ({expected})", known.doc));
        }
        value
    }

    /// A key that the job's mode does not use is a misunderstanding, not something to ignore.
    pub fn only_for(&mut self, modes: &[Mode], mode: Mode, key: &KeyPath) {
        if !modes.contains(&mode) {
            let names: Vec<_> = modes.iter().map(|mode| mode.as_str()).collect();
            let (names, mode) = (names.join(" and "), mode.as_str());
            let message = format!("is only for mode {names}; this job's mode is {mode}");
            self.error(key, message);
        }
    }

    fn placed(&self, key: &KeyPath, message: String) -> ConfigError {
        let mut place = key.clone();
        while !place.is_root() && !self.is_set(&place) {
            if let Some(default) = in_defaults(&place).filter(|default| self.is_set(default)) {
                place = default;
                break;
            }
            place = place.parent();
        }
        ConfigError {
            origin: self.origins.get(&place).cloned(),
            key: key.clone(),
            message,
        }
    }
}

/// The place in `[defaults]` of a job's key.
fn in_defaults(key: &KeyPath) -> Option<KeyPath> {
    let mut names = key.names();
    (names.next() == Some("jobs") && names.next().is_some())
        .then(|| [DEFAULTS].into_iter().chain(names).collect())
}
