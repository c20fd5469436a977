//! `target_session_attrs`: checks whether the server is of the requested kind.

use super::Dialled;
use crate::error::{Error, ErrorKind, Phase, Side};
use crate::pg::conninfo::TargetSessionAttrs as Wanted;

/// Why a server won't do.
pub(super) enum HostRefused {
    /// It is of another kind.
    Kind(&'static str),
    /// It couldn't say.
    Query(tokio_postgres::Error),
    /// It didn't say.
    Silent,
}

impl HostRefused {
    pub fn into_error(self, side: Side) -> Error {
        match self {
            HostRefused::Kind(reason) => Error::new(
                ErrorKind::Unreachable,
                Phase::Connect,
                side,
                format!("{reason} (target_session_attrs)"),
            )
            .hinted(
                "name all hosts of the cluster in the conninfo, the primary and its standbys; \
                 `target_session_attrs` says which of them will do, and in a failover it can pass",
            ),
            HostRefused::Query(error) => Error::pg(Phase::Connect, side, error),
            HostRefused::Silent => {
                let message = "the server does not say whether it is a primary or a standby";
                Error::new(ErrorKind::Bug, Phase::Connect, side, message)
            }
        }
    }
}

/// What to look for, in turn.
pub(super) fn passes(wanted: Wanted) -> &'static [Wanted] {
    match wanted {
        Wanted::Any => &[Wanted::Any],
        Wanted::ReadWrite => &[Wanted::ReadWrite],
        Wanted::ReadOnly => &[Wanted::ReadOnly],
        Wanted::Primary => &[Wanted::Primary],
        Wanted::Standby => &[Wanted::Standby],
        Wanted::PreferStandby => &[Wanted::Standby, Wanted::Any],
    }
}

pub(super) async fn check(dialled: &Dialled, wanted: Wanted) -> Result<(), HostRefused> {
    if matches!(wanted, Wanted::Any) {
        return Ok(());
    }
    // Not prepared: a pooler may use another backend to execute a prepared statement.
    let rows = dialled
        .client
        .query_typed(
            "SELECT pg_catalog.pg_is_in_recovery(), \
             pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on'",
            &[],
        )
        .await
        .map_err(HostRefused::Query)?;
    let [row] = rows.as_slice() else {
        return Err(HostRefused::Silent);
    };
    match unfit(wanted, row.get(0), row.get(1)) {
        Some(reason) => Err(HostRefused::Kind(reason)),
        None => Ok(()),
    }
}

fn unfit(wanted: Wanted, in_recovery: bool, read_only: bool) -> Option<&'static str> {
    match wanted {
        Wanted::Any | Wanted::PreferStandby => None,
        Wanted::ReadWrite => read_only.then_some("sessions there are read-only"),
        Wanted::ReadOnly => (!read_only).then_some("sessions there are not read-only"),
        Wanted::Primary => in_recovery.then_some("it is a standby"),
        Wanted::Standby => (!in_recovery).then_some("it is not a standby"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Wanted::Any, true, true, true)]
    #[case(Wanted::ReadWrite, false, false, true)]
    #[case(Wanted::ReadWrite, false, true, false)]
    #[case(Wanted::ReadOnly, true, true, true)]
    #[case(Wanted::ReadOnly, false, false, false)]
    #[case(Wanted::Primary, false, true, true)]
    #[case(Wanted::Primary, true, true, false)]
    #[case(Wanted::Standby, true, true, true)]
    #[case(Wanted::Standby, false, false, false)]
    fn a_server_is_judged(
        #[case] wanted: Wanted,
        #[case] in_recovery: bool,
        #[case] read_only: bool,
        #[case] fits: bool,
    ) {
        assert_eq!(unfit(wanted, in_recovery, read_only).is_none(), fits);
    }
}
