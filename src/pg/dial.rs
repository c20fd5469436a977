//! Connects and logs in to a server: tries every host and every address, each within a time limit. The error
//! says what was tried.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::timeout;
use tokio_postgres::config::{self as pg_config, SslNegotiation};
use tokio_postgres::{Client, Config, Connection, NoTls};

use super::cancel::CancelRequest;
use super::conninfo::{ChannelBinding, Conninfo, HostPlace, HostSpec, SslMode, TargetSessionAttrs};
use super::login::Login;
use super::proxy::{Proxy, ProxyAddress};
use super::route::{Address, Opened, Route, TlsRoute};
use super::tap::{Tap, TapState};
use super::task::ConnectionTask;
use super::tls::{self, TappedTls};
use crate::config::spec::ServerSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};

mod failure;
mod target;

/// A connection that is logged in, and nothing more.
pub(super) struct Dialled {
    pub client: Client,
    pub task: ConnectionTask,
    pub tap: Arc<TapState>,
    pub cancel_request: CancelRequest,
    /// The program that the connection goes through.
    pub proxy: Option<Arc<Proxy>>,
    /// The server's major version, as it said at login.
    pub major: u32,
    /// The remaining `connect_timeout` for the rest of connecting.
    pub limit: Option<Duration>,
    /// Where the connection goes.
    pub place: ServerAddress,
}

/// One address of one host: the way back to the same server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerAddress {
    host: HostSpec,
    address: Address,
}

/// Connects to the first host of a server's conninfo that will do.
pub(super) async fn dial(
    server: &ServerSpec,
    side: Side,
    application_name: &str,
) -> Result<Dialled> {
    let login = Login::read(server).await?;
    let dialler = Dialler::new(&login, server, side, application_name);
    dialler.dial().await
}

/// Connects once more to where a session is connected already.
pub(super) async fn dial_again(
    server: &ServerSpec,
    side: Side,
    application_name: &str,
    place: &ServerAddress,
) -> Result<Dialled> {
    let login = Login::read(server).await?;
    let dialler = Dialler::new(&login, server, side, application_name);
    dialler.dial_address(&place.host, &place.address).await
}

struct Dialler<'a> {
    login: &'a Login,
    server: &'a str,
    proxy_command: Option<&'a [String]>,
    side: Side,
    application_name: &'a str,
}

impl<'a> Dialler<'a> {
    fn new(
        login: &'a Login,
        server: &'a ServerSpec,
        side: Side,
        application_name: &'a str,
    ) -> Self {
        Dialler {
            login,
            server: &server.name,
            proxy_command: server.proxy_command.as_deref(),
            side,
            application_name,
        }
    }

    async fn dial(&self) -> Result<Dialled> {
        let conninfo = &self.login.conninfo;
        let mut failures = Vec::new();
        for wanted in target::passes(conninfo.target_session_attrs) {
            for host in shuffled(&conninfo.hosts, conninfo.load_balance_hosts) {
                match self.dial_host(host, *wanted, &mut failures).await {
                    Some(dialled) => return Ok(dialled),
                    // A server that refuses the login or is not trusted is a final answer. Trying another
                    // one would only hide it.
                    None if failures.last().is_some_and(failure::is_final) => {
                        return Err(failure::of_all(failures, self.side));
                    }
                    None => {}
                }
            }
        }
        Err(failure::of_all(failures, self.side))
    }

    async fn dial_host(
        &self,
        host: &HostSpec,
        wanted: TargetSessionAttrs,
        failures: &mut Vec<Error>,
    ) -> Option<Dialled> {
        let limit = self.login.conninfo.connect_timeout;
        let addresses = match within(limit, self.addresses(host)).await {
            Some(Ok(addresses)) => addresses,
            Some(Err(error)) => {
                let error = self.unreachable(format!("its name has no address: {error}"));
                failures.push(error.at_place(&host.to_string()));
                return None;
            }
            None => {
                failures.push(no_answer(self.side, limit).at_place(&format!("resolving {host}")));
                return None;
            }
        };
        for address in shuffled(&addresses, self.login.conninfo.load_balance_hosts) {
            let attempt = async {
                let dialled = self.dial_address(host, address).await?;
                target::check(&dialled, wanted)
                    .await
                    .map_err(|error| error.into_error(self.side))?;
                Ok(dialled)
            };
            match within(limit, attempt).await {
                Some(Ok(dialled)) => return Some(dialled),
                Some(Err(error)) => {
                    let error: Error = error;
                    let place = place(host, address);
                    let error = error.at_place(&place);
                    let is_final = failure::is_final(&error);
                    failures.push(error);
                    if is_final {
                        return None;
                    }
                }
                None => {
                    failures.push(no_answer(self.side, limit).at_place(&place(host, address)));
                }
            }
        }
        None
    }

    /// Where to connect to. Behind a proxy, names mean what they mean there.
    async fn addresses(&self, host: &HostSpec) -> std::io::Result<Vec<Address>> {
        match self.proxy_command {
            Some(words) => {
                let proxy = ProxyAddress::new(words, &host.address_name(), host.port);
                Ok(vec![Address::Proxy(proxy)])
            }
            None => addresses(host).await,
        }
    }

    /// `prefer` falls back to plaintext when TLS fails, or when the server lets us in only without.
    async fn dial_address(&self, host: &HostSpec, address: &Address) -> Result<Dialled> {
        let mode = self.login.conninfo.ssl_mode(host);
        if mode == SslMode::Disable {
            return self.log_in(host, self.route(address, None)).await;
        }
        let connector = tls::connector(mode, &self.login.conninfo.tls).map_err(|error| {
            let made = Error::new(ErrorKind::Tls, Phase::Connect, self.side, error.to_string());
            match error.hint {
                Some(hint) => made.hinted(hint),
                None => made,
            }
        })?;
        let tls = TlsRoute::new(connector, host.tls_name());
        let result = self.log_in(host, self.route(address, Some(tls))).await;
        match result {
            Err(error) if mode == SslMode::Prefer && failure::may_pass_without_tls(&error) => {
                self.log_in(host, self.route(address, None)).await
            }
            result => result,
        }
    }

    fn route(&self, address: &Address, tls: Option<TlsRoute>) -> Route {
        Route {
            address: address.clone(),
            keepalives: self.login.conninfo.keepalives,
            tcp_user_timeout: self.login.conninfo.tcp_user_timeout,
            tls,
        }
    }

    async fn log_in(&self, host: &HostSpec, route: Route) -> Result<Dialled> {
        let Opened { socket, proxy } = route.open().await.map_err(|error| {
            Error::new(
                ErrorKind::Unreachable,
                Phase::Connect,
                self.side,
                error.to_string(),
            )
            .caused_by(error)
        })?;
        let config = self.config(host, route.tls.is_some());
        let tap = Arc::new(TapState::requiring(
            self.login.conninfo.require_auth.clone(),
        ));
        let connected = match &route.tls {
            None => {
                let stream = Tap::new(socket, Arc::clone(&tap));
                let connected = config.connect_raw(stream, NoTls).await;
                connected.map(|(client, connection)| {
                    self.dialled(host, client, connection, tap, (&route, &proxy))
                })
            }
            Some(tls) => {
                let tls = TappedTls {
                    tls: tls.connector(),
                    state: Arc::clone(&tap),
                };
                let connected = config.connect_raw(socket, tls).await;
                connected.map(|(client, connection)| {
                    self.dialled(host, client, connection, tap, (&route, &proxy))
                })
            }
        };
        match connected {
            Ok(dialled) => Ok(dialled),
            Err(error) => {
                let error = failure::of_login(self.side, error);
                Err(failure::of_proxy(proxy.as_deref(), error).await)
            }
        }
    }

    fn dialled<S, T>(
        &self,
        host: &HostSpec,
        client: Client,
        connection: Connection<S, T>,
        tap: Arc<TapState>,
        (route, proxy): (&Route, &Option<Arc<Proxy>>),
    ) -> Dialled
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        Dialled {
            limit: self.login.conninfo.connect_timeout,
            place: ServerAddress {
                host: host.clone(),
                address: route.address.clone(),
            },
            major: major(connection.parameter("server_version")),
            cancel_request: CancelRequest::new(client.cancel_token(), Arc::new(route.clone())),
            task: ConnectionTask::spawn(connection, proxy.clone(), self.server.to_owned()),
            proxy: proxy.clone(),
            client,
            tap,
        }
    }

    fn config(&self, host: &HostSpec, tls: bool) -> Config {
        let conninfo: &Conninfo = &self.login.conninfo;
        let mut config = Config::new();
        config
            .user(&conninfo.user)
            .dbname(&conninfo.dbname)
            .application_name(
                conninfo
                    .application_name
                    .as_deref()
                    .unwrap_or(self.application_name),
            )
            .channel_binding(match conninfo.channel_binding {
                ChannelBinding::Disable => pg_config::ChannelBinding::Disable,
                ChannelBinding::Prefer => pg_config::ChannelBinding::Prefer,
                ChannelBinding::Require => pg_config::ChannelBinding::Require,
            })
            .ssl_mode(if tls {
                pg_config::SslMode::Require
            } else {
                pg_config::SslMode::Disable
            })
            .ssl_negotiation(if conninfo.tls.direct {
                SslNegotiation::Direct
            } else {
                SslNegotiation::Postgres
            });
        if let Some(options) = &conninfo.options {
            config.options(options);
        }
        if let Some(password) = self.login.password_for(host) {
            config.password(password.expose_secret());
        }
        config
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::new(ErrorKind::Unreachable, Phase::Connect, self.side, reason)
    }
}

/// The server has not answered in `connect_timeout`.
pub(super) fn no_answer(side: Side, limit: Option<Duration>) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        Phase::Connect,
        side,
        format!(
            "no answer within {:?} (connect_timeout)",
            limit.unwrap_or_default()
        ),
    )
}

/// `None` when the time is up.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    future: impl Future<Output = T>,
) -> Option<T> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

async fn addresses(host: &HostSpec) -> std::io::Result<Vec<Address>> {
    match &host.place {
        HostPlace::Socket(dir) => Ok(vec![Address::Unix(socket_path(dir, host.port))]),
        HostPlace::Address { address, .. } => Ok(vec![Address::Tcp((*address, host.port).into())]),
        HostPlace::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), host.port)).await?;
            Ok(found.map(Address::Tcp).collect())
        }
    }
}

fn socket_path(dir: &std::path::Path, port: u16) -> PathBuf {
    dir.join(format!(".s.PGSQL.{port}"))
}

/// A host and the address that was tried, said once if they are the same.
fn place(host: &HostSpec, address: &Address) -> String {
    let (host, address) = (host.to_string(), address.to_string());
    if host.ends_with(&address) {
        host
    } else {
        format!("{host} ({address})")
    }
}

/// In order, or at random.
fn shuffled<T>(items: &[T], at_random: bool) -> Vec<&T> {
    let mut chosen: Vec<&T> = items.iter().collect();
    if at_random {
        chosen.sort_by_cached_key(|_| uuid::Uuid::new_v4());
    }
    chosen
}

/// 15 of `15.18 (Debian 15.18-1)`.
fn major(server_version: Option<&str>) -> u32 {
    server_version
        .and_then(|text| text.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}
