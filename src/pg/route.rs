//! One address and how to reach it. A connection uses it, and later its cancel request.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::conninfo::Keepalives;
use super::proxy::{Proxy, ProxyAddress};
use super::socket::Socket;

/// A resolved address, or what connects to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A socket's path; one that starts with `@` is in the abstract namespace.
    Unix(PathBuf),
    /// A program that connects.
    Proxy(ProxyAddress),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Proxy(proxy) => write!(f, "{proxy}"),
        }
    }
}

/// One address and how to reach it.
#[derive(Clone)]
pub struct Route {
    /// Where.
    pub address: Address,
    /// TCP keepalives.
    pub keepalives: Option<Keepalives>,
    /// How long sent bytes may go unacknowledged.
    pub tcp_user_timeout: Option<Duration>,
    /// TLS, unless plaintext is meant.
    pub tls: Option<TlsRoute>,
}

/// TLS to one host.
#[derive(Clone)]
pub struct TlsRoute {
    connector: native_tls::TlsConnector,
    name: String,
}

impl TlsRoute {
    /// `name` is what the certificate has to name, if that is verified.
    pub fn new(connector: native_tls::TlsConnector, name: String) -> Self {
        TlsRoute { connector, name }
    }

    /// For one handshake.
    pub fn connector(&self) -> postgres_native_tls::TlsConnector {
        postgres_native_tls::TlsConnector::new(self.connector.clone(), &self.name)
    }
}

/// An open connection, before TLS.
pub(super) struct Opened {
    pub socket: Socket,
    /// The program that it goes through. Without an owner it is killed.
    pub proxy: Option<Arc<Proxy>>,
}

impl Route {
    /// Opens a connection. The caller bounds the time.
    pub(super) async fn open(&self) -> io::Result<Opened> {
        let socket = match &self.address {
            Address::Proxy(proxy) => {
                let (stream, proxy) = proxy.open()?;
                return Ok(Opened {
                    socket: Socket::Unix(stream),
                    proxy: Some(proxy),
                });
            }
            Address::Unix(path) => {
                let path = match path.to_str().and_then(|text| text.strip_prefix('@')) {
                    Some(name) => PathBuf::from(format!("\0{name}")),
                    None => path.clone(),
                };
                Socket::Unix(UnixStream::connect(path).await?)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // TCP_NODELAY: blocks are written completely, so waiting for a full packet would only delay
                // their ends.
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                if let Some(keepalives) = self.keepalives {
                    socket.set_tcp_keepalive(
                        &TcpKeepalive::new()
                            .with_time(keepalives.idle)
                            .with_interval(keepalives.interval)
                            .with_retries(keepalives.retries),
                    )?;
                }
                if self.tcp_user_timeout.is_some() {
                    socket.set_tcp_user_timeout(self.tcp_user_timeout)?;
                }
                Socket::Tcp(stream)
            }
        };
        Ok(Opened {
            socket,
            proxy: None,
        })
    }
}
