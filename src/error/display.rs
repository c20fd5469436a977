//! An error as one sentence: what was done, to what, where, and what happened.

use std::fmt;

use super::{Error, Phase, Side};

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        match &inner.relation {
            Some(relation) => write!(f, "{} {relation}", doing_to(inner.phase))?,
            None => write!(f, "{}", doing(inner.phase))?,
        }
        let at = match (inner.phase, &inner.relation) {
            (Phase::Connect, None) => "to",
            _ => "on",
        };
        match (&inner.server, inner.side) {
            (Some(server), Side::Source) => write!(f, " {at} source `{server}`")?,
            (Some(server), Side::Target) => write!(f, " {at} target `{server}`")?,
            (Some(server), Side::Local) if at == "to" => write!(f, " to `{server}`")?,
            (Some(server), Side::Local) => write!(f, " for `{server}`")?,
            (None, Side::Source) => write!(f, " {at} the source")?,
            (None, Side::Target) => write!(f, " {at} the target")?,
            (None, Side::Local) => {}
        }
        write!(f, " failed: {}", inner.message)?;
        if let Some(sqlstate) = &inner.sqlstate {
            write!(f, " ({sqlstate})")?;
        }
        Ok(())
    }
}

/// What failed; no relation follows.
fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Configure => "reading the configuration",
        Phase::Connect => "connecting",
        Phase::Lock => "taking locks",
        Phase::Inspect => "reading the catalog",
        Phase::Plan => "planning the copy",
        Phase::Prepare => "preparing the load",
        Phase::CopyOut | Phase::CopyIn => "COPY",
        Phase::Gate => "the check before COMMIT",
        Phase::Verify => "comparing the tables",
        Phase::Publish => "publishing the tables",
        Phase::Commit => "COMMIT",
        Phase::After => "the work after COMMIT",
    }
}

/// What failed; a relation follows.
fn doing_to(phase: Phase) -> &'static str {
    match phase {
        Phase::Configure => "reading the configuration of",
        Phase::Connect => "connecting for",
        Phase::Lock => "locking",
        Phase::Inspect => "inspecting",
        Phase::Plan => "planning the copy of",
        Phase::Prepare => "preparing",
        Phase::CopyOut => "COPY from",
        Phase::CopyIn => "COPY into",
        Phase::Gate => "the check before COMMIT of",
        Phase::Verify => "comparing",
        Phase::Publish => "publishing",
        Phase::Commit => "COMMIT of",
        Phase::After => "the work after COMMIT of",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::pg::ident::QualifiedName;

    const PHASES: [Phase; 13] = [
        Phase::Configure,
        Phase::Connect,
        Phase::Lock,
        Phase::Inspect,
        Phase::Plan,
        Phase::Prepare,
        Phase::CopyOut,
        Phase::CopyIn,
        Phase::Gate,
        Phase::Verify,
        Phase::Publish,
        Phase::Commit,
        Phase::After,
    ];

    /// Every phase with and without a relation, on every side with and without a server.
    #[test]
    fn every_error_is_a_sentence() {
        let relation = QualifiedName::new("public", "t");
        let mut sentences = String::new();
        for phase in PHASES {
            for side in [Side::Source, Side::Target, Side::Local] {
                for (named, on) in [(false, false), (true, false), (false, true), (true, true)] {
                    let error = Error::new(ErrorKind::Timeout, phase, side, "why");
                    let error = if named { error.at("s") } else { error };
                    let error = if on { error.on(&relation) } else { error };
                    sentences.push_str(&format!("{error}\n"));
                }
            }
        }
        insta::assert_snapshot!(sentences);
    }
}
