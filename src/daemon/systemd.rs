//! Notifies systemd: sd_notify(3).
//!
//! The sd-notify crate builds the messages. The socket is our own, because the crate does not support abstract
//! addresses (`@…`), which container managers use.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// The supervisor of this process, if there is one. Without one, every notification succeeds.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names.
    pub fn from_env() -> io::Result<Self> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(address) if !address.is_empty() => Supervisor::at(&address),
            _ => Ok(Supervisor { socket: None }),
        }
    }

    /// A supervisor that listens at `/path` or `@abstract`.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "NOTIFY_SOCKET is neither /path nor @name: {}",
                        address.display()
                    ),
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // A supervisor that does not read must not block the daemon.
        socket.set_nonblocking(true)?;
        Ok(Supervisor {
            socket: Some((socket, address)),
        })
    }

    /// Start-up, or a reload, is complete.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// A reload has begun. [`Supervisor::ready`] ends it, whether or not the new configuration was accepted.
    pub fn reloading(&self) -> io::Result<()> {
        // systemd 253 and later need the time; otherwise the reload counts as failed.
        self.send(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
    }

    /// A line for `systemctl status`.
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Status(&one_line(status))])
    }

    /// The loop is alive.
    pub fn watchdog(&self) -> io::Result<()> {
        self.send(&[NotifyState::Watchdog])
    }

    /// The daemon is on its way out.
    pub fn stopping(&self, status: &str) -> io::Result<()> {
        self.send(&[
            NotifyState::Stopping,
            NotifyState::Status(&one_line(status)),
        ])
    }

    /// Requests this much more time for starting, reloading or stopping. More than 71 minutes must be
    /// requested again before they are over.
    pub fn extend_timeout(&self, by: Duration) -> io::Result<()> {
        let usec = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(usec)])
    }

    fn send(&self, states: &[NotifyState]) -> io::Result<()> {
        let Some((socket, address)) = &self.socket else {
            return Ok(());
        };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }
}

/// The interval of watchdog notifications: half of `WATCHDOG_USEC`.
pub fn watchdog_interval() -> Option<Duration> {
    feed_interval(sd_notify::watchdog_enabled())
}

fn feed_interval(limit: Option<Duration>) -> Option<Duration> {
    limit.map(|limit| limit / 2).filter(|half| !half.is_zero())
}

/// A line break would begin the next message.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::path::Path;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn abstract_socket() -> (String, UnixDatagram) {
        let name = format!("tableferry-test-{}", uuid::Uuid::new_v4());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        (
            format!("@{name}"),
            UnixDatagram::bind_addr(&address).unwrap(),
        )
    }

    #[test]
    fn a_life_as_systemd_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let systemd = Supervisor::at(path.as_os_str()).unwrap();

        systemd.ready("3 jobs").unwrap();
        assert_eq!(received(&heard), "READY=1\nSTATUS=3 jobs\n");
        systemd.watchdog().unwrap();
        assert_eq!(received(&heard), "WATCHDOG=1\n");
        systemd.status("running orders\nREADY=1").unwrap();
        assert_eq!(received(&heard), "STATUS=running orders READY=1\n");

        let before = monotonic_usec();
        systemd.reloading().unwrap();
        let text = received(&heard);
        let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let usec: i128 = usec.trim_end().parse().unwrap();
        assert!((before..=monotonic_usec()).contains(&usec), "{text}");

        systemd.stopping("draining 2 runs").unwrap();
        assert_eq!(received(&heard), "STOPPING=1\nSTATUS=draining 2 runs\n");
        systemd.extend_timeout(Duration::from_millis(1500)).unwrap();
        assert_eq!(received(&heard), "EXTEND_TIMEOUT_USEC=1500000\n");
        systemd
            .extend_timeout(Duration::from_secs(1 << 40))
            .unwrap();
        assert_eq!(received(&heard), "EXTEND_TIMEOUT_USEC=4294967295\n");
    }

    fn monotonic_usec() -> i128 {
        match NotifyState::monotonic_usec_now().unwrap() {
            NotifyState::MonotonicUsec(usec) => usec,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn an_abstract_address_is_heard_too() {
        let (address, heard) = abstract_socket();
        let container = Supervisor::at(OsStr::new(&address)).unwrap();
        container.ready("").unwrap();
        assert_eq!(received(&heard), "READY=1\nSTATUS=\n");
    }

    #[test]
    fn nobody_there_is_an_error_and_nobody_asked_is_none() {
        let gone = Supervisor::at(Path::new("/nonexistent/notify").as_os_str()).unwrap();
        assert!(gone.watchdog().is_err());
        assert!(Supervisor { socket: None }.ready("x").is_ok());
    }

    #[rstest]
    #[case("vsock:2:1234")]
    #[case("relative/path")]
    fn an_address_of_another_kind_is_refused(#[case] address: &str) {
        let error = Supervisor::at(OsStr::new(address)).unwrap_err();
        assert!(error.to_string().contains(address));
    }

    #[test]
    fn a_supervisor_that_does_not_read_holds_up_nothing() {
        let (address, _deaf) = abstract_socket();
        let systemd = Supervisor::at(OsStr::new(&address)).unwrap();
        let error = std::iter::repeat_with(|| systemd.watchdog())
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[rstest]
    #[case(None, None)]
    #[case(Some(0), None)]
    #[case(Some(30_000_000), Some(15_000_000))]
    fn the_watchdog_is_fed_twice_in_its_time(
        #[case] limit_usec: Option<u64>,
        #[case] expected_usec: Option<u64>,
    ) {
        let expected = expected_usec.map(Duration::from_micros);
        assert_eq!(
            feed_interval(limit_usec.map(Duration::from_micros)),
            expected
        );
    }
}
