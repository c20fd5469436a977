//! The errors of a conninfo.

/// Why a conninfo is not understood. Never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConninfoError {
    message: String,
    may_pass: bool,
}

impl ConninfoError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        ConninfoError {
            message: message.into(),
            may_pass: false,
        }
    }

    /// About a file that may still come.
    pub(super) fn passing(message: impl Into<String>) -> Self {
        ConninfoError {
            message: message.into(),
            may_pass: true,
        }
    }

    /// Is the error about files or variables, which may be right later? Otherwise the conninfo is wrong.
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// Says where it came up.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}
