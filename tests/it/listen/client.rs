//! An HTTP client that sends exactly what a test says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::PATIENCE;

pub struct Client {
    pub address: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Client {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// GET with the headers of a browser on this machine.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &format!("Host: {}\r\n", self.address))
    }

    /// GET that must succeed.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    #[track_caller]
    pub fn request(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.send(format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").as_bytes())
    }

    /// Sends these bytes, and reads until the daemon closes the connection.
    #[track_caller]
    pub fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The daemon may have answered and closed the connection before all is sent.
        let _ = stream.write_all(request);
        Answer::read(stream).unwrap_or_else(|| panic!("no answer to {request:?}"))
    }
}

impl Answer {
    /// `None` if the connection was closed without an answer.
    pub fn read(mut stream: TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        // A connection that is reset has been closed, too.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        });
        Some(Answer {
            status,
            headers: headers.collect(),
            body: body.to_owned(),
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// Whether the daemon closes this connection, without a request of its own, within the time.
pub fn is_closed_within(stream: &TcpStream, bound: Duration) -> bool {
    stream.set_read_timeout(Some(bound)).unwrap();
    match stream.peek(&mut [0_u8; 1]) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
    }
}
