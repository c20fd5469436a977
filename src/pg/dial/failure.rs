//! Why no connection was made, with a hint.

use std::io;

use crate::error::{Error, ErrorKind, Phase, Side, chain};
use crate::pg::conninfo::AuthRefused;
use crate::pg::proxy::Proxy;

/// A login that failed, from the first byte sent to the server's greeting.
pub(super) fn of_login(side: Side, error: tokio_postgres::Error) -> Error {
    if let Some(refused) = auth_refused(&error) {
        return Error::new(ErrorKind::Auth, Phase::Connect, side, refused.to_string()).hinted(
            "tableferry sent no password: make sure that it is the right server, and change its \
             pg_hba.conf, or `require_auth`",
        );
    }
    let text = chain(&error);
    let state = error.code().map(|code| code.code().to_owned());
    let made = Error::pg(Phase::Connect, side, error);
    match state.as_deref() {
        Some("3D000") => made
            .of_kind(ErrorKind::Config)
            .hinted("correct `dbname`, or create the database"),
        Some("28P01") => made.hinted("check user and password"),
        Some("28000") => made.hinted("check the role, and pg_hba.conf on the server"),
        Some("53300") => made.of_kind(ErrorKind::Unreachable).hinted(
            "the server has no connection left; lower max_connections here or raise it there",
        ),
        Some("42704" | "22023" | "42601") => made
            .of_kind(ErrorKind::Config)
            .hinted("the server refused a setting: check `options`"),
        Some(_) => made,
        None => of_transport(made, &text),
    }
}

/// The same of a connection through a proxy, which may be why it failed: neither the server nor TLS has said
/// anything then.
pub(super) async fn of_proxy(proxy: Option<&Proxy>, error: Error) -> Error {
    match proxy {
        Some(proxy) if error.sqlstate().is_none() && error.hint().is_none() => {
            proxy.ended().await;
            proxy.explain(error)
        }
        _ => error,
    }
}

/// The tap's refusal, which comes as a failed read.
fn auth_refused(error: &tokio_postgres::Error) -> Option<&AuthRefused> {
    let cause = std::error::Error::source(error)?;
    let read = cause.downcast_ref::<io::Error>()?;
    read.get_ref()?.downcast_ref()
}

fn of_transport(error: Error, text: &str) -> Error {
    let has = |part: &str| text.contains(part);
    if has("password missing") {
        return Error::new(
            ErrorKind::Auth,
            Phase::Connect,
            error.side(),
            "the server asks for a password, and none is configured",
        )
        .hinted("set password_file (or password_env, password_credential, passfile)");
    }
    if has("server did not use channel binding") {
        return error
            .of_kind(ErrorKind::Auth)
            .hinted("channel_binding=require needs TLS and a SCRAM password on the server");
    }
    if has("server does not support TLS") {
        return error.of_kind(ErrorKind::Tls).hinted(
            "turn `ssl` on at the server; or set sslmode=disable if the network is trusted",
        );
    }
    if has("ostname mismatch") || has("IP address mismatch") {
        return error
            .of_kind(ErrorKind::Tls)
            .hinted("the server's certificate names another host: connect by that name, or use sslmode=verify-ca");
    }
    if has("certificate verify failed") {
        return error.of_kind(ErrorKind::Tls).hinted(
            "the server's certificate is not signed by a root that is trusted here: \
             set sslrootcert to the file of its root certificate",
        );
    }
    if has("certificate required") || has("bad certificate") {
        return error
            .of_kind(ErrorKind::Tls)
            .hinted("the server wants another client certificate: set sslcert and sslkey");
    }
    error
}

/// Is this answer final, so that no other address or host is tried?
pub(super) fn is_final(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Unreachable | ErrorKind::ServerShutdown | ErrorKind::Timeout
    )
}

/// TLS failed, or pg_hba.conf has no entry for a connection with TLS.
pub(super) fn may_pass_without_tls(error: &Error) -> bool {
    error.kind() == ErrorKind::Tls || error.sqlstate() == Some("28000")
}

/// Combines all failures into one error: the last one, with the others in its message.
pub(super) fn of_all(mut failures: Vec<Error>, side: Side) -> Error {
    let Some(last) = failures.pop() else {
        return Error::new(
            ErrorKind::Unreachable,
            Phase::Connect,
            side,
            "its host name has no address",
        );
    };
    failures
        .iter()
        .rev()
        .fold(last, |all, earlier| all.after(earlier.message()))
}
