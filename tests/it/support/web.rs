//! A web server that hears notices, and answers as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use openssl::ssl::SslAcceptor;
use serde_json::Value;

use super::Job;

/// What the server does once it has read a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Answers with this status.
    Status(u16),
    /// Answers with a redirect to this URL.
    Redirect(String),
    /// Never answers.
    Hang,
    /// Resets the connection.
    Reset,
}

/// A web server on loopback. Its threads end with the test's process.
pub struct Web {
    port: u16,
    answers: Arc<Mutex<Answers>>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Web {
    pub fn start(answers: Answers) -> Self {
        Web::start_with(answers, None)
    }

    /// One that speaks TLS.
    pub fn start_tls(answers: Answers, acceptor: SslAcceptor) -> Self {
        Web::start_with(answers, Some(acceptor))
    }

    fn start_with(answers: Answers, acceptor: Option<SslAcceptor>) -> Self {
        let acceptor = acceptor.map(Arc::new);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Web {
            port: listener.local_addr().unwrap().port(),
            answers: Arc::new(Mutex::new(answers)),
            heard: Arc::default(),
        };
        let (answers, heard) = (Arc::clone(&web.answers), Arc::clone(&web.heard));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, heard) = (Arc::clone(&answers), Arc::clone(&heard));
                let acceptor = acceptor.clone();
                std::thread::spawn(move || {
                    let Ok(stream) = stream else { return };
                    let socket = stream.try_clone().unwrap();
                    match acceptor {
                        None => serve(stream, &socket, &answers, &heard),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream) {
                                serve(stream, &socket, &answers, &heard);
                            }
                        }
                    }
                });
            }
        });
        web
    }

    /// A secret URL of this server.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook/s3cret", self.port)
    }

    /// A file of mode 0600 beside the configuration that holds the URL.
    pub fn file(&self, job: &Job, name: &str) -> PathBuf {
        secret_file(job, name, &self.url())
    }

    /// From now on it answers so.
    pub fn answer(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    /// The bodies of all requests so far.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// What the requests tell, such as `failed j`.
    pub fn told(&self) -> Vec<String> {
        let heard = self.heard();
        let word = |notice: &Value, key: &str| notice[key].as_str().unwrap_or("-").to_owned();
        heard
            .iter()
            .map(|notice| format!("{} {}", word(notice, "notice"), word(notice, "job")))
            .collect()
    }
}

/// A file of mode 0600 beside the configuration.
pub fn secret_file(job: &Job, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = job.file(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn serve(
    stream: impl Read + Write,
    socket: &TcpStream,
    answers: &Mutex<Answers>,
    heard: &Mutex<Vec<Value>>,
) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    // What is no notice, such as a TLS handshake, gets no answer.
    let Ok(notice) = serde_json::from_slice(&body) else {
        return;
    };
    let how = answers.lock().unwrap().clone();
    heard.lock().unwrap().push(notice);
    let answer = match how {
        Answers::Status(status) => format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"),
        Answers::Redirect(to) => {
            format!("HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
        }
        Answers::Hang => loop {
            std::thread::park();
        },
        Answers::Reset => {
            let socket = socket2::SockRef::from(socket);
            socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            return;
        }
    };
    let _ = reader.get_mut().write_all(answer.as_bytes());
}
