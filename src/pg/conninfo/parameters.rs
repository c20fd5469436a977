//! The connection parameters that result from a conninfo.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::require_auth::RequireAuth;

/// A validated conninfo.
#[derive(Clone, Debug)]
pub struct Conninfo {
    /// Tried in this order, unless `load_balance_hosts`.
    pub hosts: Vec<HostSpec>,
    /// The role to log in as.
    pub user: String,
    /// The database.
    pub dbname: String,
    /// From the conninfo, the service file or `PGPASSWORD`.
    pub password: Option<SecretString>,
    /// Where passwords are looked up by host, port, database and user.
    pub passfile: Option<PathBuf>,
    /// Was `passfile` asked for, or is it the default place?
    pub passfile_is_explicit: bool,
    /// How TLS is to be used; `None` decides by host, see [`Conninfo::ssl_mode`].
    pub ssl_mode: Option<SslMode>,
    /// Certificates, keys and versions.
    pub tls: TlsOptions,
    /// Must SCRAM be bound to the TLS channel?
    pub channel_binding: ChannelBinding,
    /// How the server may ask who we are; `None` answers whatever it asks.
    pub require_auth: Option<RequireAuth>,
    /// What kind of server will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// Try hosts and addresses in random order.
    pub load_balance_hosts: bool,
    /// Limit for one address: connecting, TLS and login together. `None`: no limit.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalives; `None` turns them off.
    pub keepalives: Option<Keepalives>,
    /// How long sent bytes may go unacknowledged; `None` leaves it to the system.
    pub tcp_user_timeout: Option<Duration>,
    /// Command-line options for the server.
    pub options: Option<String>,
    /// The application name in `pg_stat_activity`, if the conninfo sets one.
    pub application_name: Option<String>,
}

/// One host of a conninfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Where to connect.
    pub place: HostPlace,
    /// The port; for a socket, the number in its name.
    pub port: u16,
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPlace {
    /// The directory of a Unix socket; one that starts with `@` is in the abstract namespace.
    Socket(PathBuf),
    /// A name (or an address) to resolve.
    Name(String),
    /// An address, and the name that certificates are checked against, where there is one.
    Address {
        /// `host`.
        name: Option<String>,
        /// `hostaddr`.
        address: IpAddr,
    },
}

/// `sslmode`. libpq's `allow` is not to be had: it protects from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Plaintext.
    Disable,
    /// TLS where the server has it, else plaintext.
    Prefer,
    /// TLS; the certificate is checked only where a root file exists.
    Require,
    /// TLS, and the certificate is signed by a trusted root.
    VerifyCa,
    /// And it names the host.
    VerifyFull,
}

/// The parts of a conninfo that TLS connectors are made of.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// What certificates are trusted.
    pub root: RootCert,
    /// The client's certificate.
    pub cert: FileChoice,
    pub key: FileChoice,
    /// What the key is encrypted with.
    pub key_password: Option<SecretString>,
    /// `~/.postgresql/root.crl`: a revocation list that libpq would use.
    pub default_crl: Option<PathBuf>,
    /// Send the host name in the handshake.
    pub sni: bool,
    /// Send the client certificate when asked.
    pub send_cert: bool,
    /// Start with TLS at once, without asking in PostgreSQL's protocol (17 and later).
    pub direct: bool,
    /// The oldest version of TLS that will do.
    pub min_version: TlsVersion,
    /// The newest.
    pub max_version: Option<TlsVersion>,
}

/// A file that was asked for, or one at the default place that may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChoice {
    /// It must be there.
    Explicit(PathBuf),
    /// It counts if it is there; without a home directory there is no such place.
    Default(Option<PathBuf>),
}

/// `sslrootcert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCert {
    /// The system's roots.
    System,
    File(FileChoice),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where server and TLS can.
    Prefer,
    /// Or no login.
    Require,
}

/// `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// Any server.
    Any,
    /// Sessions can write.
    ReadWrite,
    /// Sessions can't write.
    ReadOnly,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
    /// In recovery if there is one, else any.
    PreferStandby,
}

/// TCP keepalives, as seconds and probes go to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalives {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Unanswered probes until the connection is given up.
    pub retries: u32,
}

/// The default wait for a whole connect to one address.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Linux waits two hours before its first probe. A dead peer must be noticed within a minute.
pub const KEEPALIVES: Keepalives = Keepalives {
    idle: Duration::from_secs(30),
    interval: Duration::from_secs(10),
    retries: 3,
};

impl Conninfo {
    /// The sslmode for a host: `verify-full` for one that isn't local, libpq's `prefer` for one
    /// that is, unless the conninfo says. Over a Unix socket there is no TLS.
    pub fn ssl_mode(&self, host: &HostSpec) -> SslMode {
        match (&host.place, self.ssl_mode) {
            (HostPlace::Socket(_), _) => SslMode::Disable,
            (_, Some(mode)) => mode,
            (_, None) if host.is_local() => SslMode::Prefer,
            (_, None) => SslMode::VerifyFull,
        }
    }
}

impl HostSpec {
    /// A Unix socket, `localhost` or a loopback address. A name decides over `hostaddr`: who
    /// tunnels to `db.example` through 127.0.0.1 still means `db.example`.
    pub fn is_local(&self) -> bool {
        match &self.place {
            HostPlace::Socket(_) => true,
            HostPlace::Name(name)
            | HostPlace::Address {
                name: Some(name), ..
            } => {
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            HostPlace::Address {
                name: None,
                address,
            } => address.is_loopback(),
        }
    }

    /// Where to connect to, as one word: its address, or the name to resolve.
    pub fn address_name(&self) -> String {
        match &self.place {
            HostPlace::Address { address, .. } => address.to_string(),
            HostPlace::Name(_) | HostPlace::Socket(_) => self.tls_name(),
        }
    }

    /// What the server's certificate has to name.
    pub fn tls_name(&self) -> String {
        match &self.place {
            HostPlace::Socket(dir) => dir.display().to_string(),
            HostPlace::Name(name)
            | HostPlace::Address {
                name: Some(name), ..
            } => name.clone(),
            HostPlace::Address {
                name: None,
                address,
            } => address.to_string(),
        }
    }
}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            HostPlace::Socket(dir) => write!(f, "{}/.s.PGSQL.{}", dir.display(), self.port),
            HostPlace::Name(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            HostPlace::Name(name) => write!(f, "{name}:{}", self.port),
            HostPlace::Address { name, address } => {
                if let Some(name) = name {
                    write!(f, "{name} at ")?;
                }
                write!(f, "{}", std::net::SocketAddr::new(*address, self.port))
            }
        }
    }
}
