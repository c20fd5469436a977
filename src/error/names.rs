//! The names of error kinds and sides in logs. They are the same as in JSON.

use super::{ErrorKind, Side};

impl ErrorKind {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Config => "config",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Auth => "auth",
            ErrorKind::Tls => "tls",
            ErrorKind::Permission => "permission",
            ErrorKind::SchemaMismatch => "schema_mismatch",
            ErrorKind::DataRejected => "data_rejected",
            ErrorKind::Guard => "guard",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Stalled => "stalled",
            ErrorKind::ServerShutdown => "server_shutdown",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Truncated => "truncated",
            ErrorKind::InDoubt => "in_doubt",
            ErrorKind::Locked => "locked",
            ErrorKind::Bug => "bug",
        }
    }
}

impl Side {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
            Side::Local => "local",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_json() {
        let kinds = [
            ErrorKind::SchemaMismatch,
            ErrorKind::InDoubt,
            ErrorKind::Tls,
        ];
        for kind in kinds {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(
            serde_json::to_value(Side::Source).unwrap(),
            Side::Source.as_str()
        );
    }
}
