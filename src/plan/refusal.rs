//! Why a job cannot run as configured: one value for each reason, so that all are reported at once.

use std::fmt;

use crate::error::{Error, ErrorKind, Phase, Side};

/// One reason why a job cannot be run.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Refusal {
    /// For exit codes and JSON.
    pub kind: ErrorKind,
    /// The side to change.
    pub side: Side,
    /// The relation.
    pub relation: String,
    /// The column, if it concerns one.
    pub column: Option<String>,
    /// What is wrong, without the relation.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages about a pair of types begin with the column, or with a path within it.
        let of_column = self
            .column
            .as_ref()
            .is_some_and(|column| self.message.starts_with(column.as_str()));
        let joint = if of_column { "." } else { ": " };
        write!(f, "{}{joint}{}", self.relation, self.message)
    }
}

impl Refusal {
    /// A schema mismatch.
    pub(crate) fn mismatch(side: Side, relation: impl ToString, message: impl ToString) -> Self {
        Refusal {
            kind: ErrorKind::SchemaMismatch,
            side,
            relation: relation.to_string(),
            column: None,
            message: message.to_string(),
            hint: None,
        }
    }

    /// A missing privilege.
    pub(crate) fn permission(side: Side, relation: impl ToString, message: impl ToString) -> Self {
        Refusal {
            kind: ErrorKind::Permission,
            ..Refusal::mismatch(side, relation, message)
        }
    }

    pub(crate) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn in_column(mut self, column: impl ToString) -> Self {
        self.column = Some(column.to_string());
        self
    }

    pub(crate) fn hinted(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

/// Combines all reasons into one error, with a line for each.
pub fn to_error(refusals: &[Refusal]) -> Error {
    let first_of = |wanted: &dyn Fn(&Refusal) -> bool| refusals.iter().find(|r| wanted(r));
    // A schema mismatch takes more work than a missing privilege, so it determines the kind of the error.
    let leading = first_of(&|r| r.kind != ErrorKind::Permission).or_else(|| refusals.first());
    let (kind, side) = leading.map_or((ErrorKind::Bug, Side::Local), |r| (r.kind, r.side));
    let message = match refusals {
        [] => "refused without a reason".to_owned(),
        [only] => only.to_string(),
        several => {
            let lines: Vec<String> = several.iter().map(|r| format!("\n  - {r}")).collect();
            format!("{} reasons:{}", several.len(), lines.concat())
        }
    };
    let mut hints: Vec<&str> = Vec::new();
    for hint in refusals.iter().filter_map(|r| r.hint.as_deref()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    let error = Error::new(kind, Phase::Plan, side, message);
    if hints.is_empty() {
        error
    } else {
        error.hinted(hints.join("; "))
    }
}
