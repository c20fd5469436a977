//! `require_auth`: what a server asks for and is not allowed to is not answered.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use tableferry::error::ErrorKind;

use super::{open, refused, told, value};
use crate::support::Cluster;

const CLEARTEXT: &[u8] = &[0, 0, 0, 3];
const MD5: &[u8] = &[0, 0, 0, 5, 1, 2, 3, 4];
const OK: &[u8] = &[0, 0, 0, 0];

/// Asks for authentication as it is told, and collects what it is sent in answer.
struct FalseServer {
    port: u16,
    answer: JoinHandle<Vec<u8>>,
}

impl FalseServer {
    /// `pieces`: a request may come byte by byte.
    fn start(request: &'static [u8], pieces: bool) -> FalseServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            read_startup(&mut stream);
            let mut message = vec![b'R'];
            message.extend((request.len() as u32 + 4).to_be_bytes());
            message.extend(request);
            let size = if pieces { 1 } else { message.len() };
            for piece in message.chunks(size) {
                stream.write_all(piece).unwrap();
            }
            let mut answer = Vec::new();
            let mut buffer = [0; 512];
            // Until the client hangs up, or has answered.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                answer.extend(&buffer[..count]);
                if answer[0] == b'p' {
                    break;
                }
            }
            answer
        });
        FalseServer { port, answer }
    }

    fn conninfo(&self, more: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=ann password=hunter2 sslmode=disable {more}",
            self.port
        )
    }

    fn was_sent(self) -> Vec<u8> {
        self.answer.join().unwrap()
    }
}

fn read_startup(stream: &mut TcpStream) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body).unwrap();
}

#[tokio::test]
async fn a_false_server_is_sent_nothing() {
    for pieces in [false, true] {
        for (request, required, expected) in [
            (
                CLEARTEXT,
                "scram-sha-256",
                "asks for the password in clear text",
            ),
            (
                CLEARTEXT,
                "!password",
                "asks for the password in clear text",
            ),
            (MD5, "scram-sha-256", "asks for an MD5 hash"),
            (MD5, "none,scram-sha-256", "asks for an MD5 hash"),
            (
                OK,
                "scram-sha-256",
                "accepts the client without authentication",
            ),
            (OK, "!none", "accepts the client without authentication"),
        ] {
            let server = FalseServer::start(request, pieces);
            let error = refused(&server.conninfo(&format!("require_auth={required}"))).await;
            assert_eq!(error.kind(), ErrorKind::Auth, "{}", told(&error));
            assert!(told(&error).contains(expected), "{}", told(&error));
            assert!(told(&error).contains(required), "{}", told(&error));
            assert_eq!(server.was_sent(), b"");
        }
    }
}

#[tokio::test]
async fn without_require_auth_a_password_is_sent() {
    let server = FalseServer::start(CLEARTEXT, false);
    refused(&server.conninfo("")).await;
    assert_eq!(server.was_sent(), b"p\0\0\0\x0chunter2\0");
}

#[tokio::test]
async fn real_servers_are_let_in_by_the_method_they_ask_for() {
    let cluster = Cluster::start();
    cluster.administrator().sql(
        "SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD 'secret';
         SET password_encryption = 'scram-sha-256';
         CREATE ROLE by_scram LOGIN PASSWORD 'secret'; CREATE ROLE by_password LOGIN PASSWORD 'secret';
         CREATE ROLE by_none LOGIN",
    );
    cluster.set_hba(
        "local all postgres trust\nhost all postgres all trust\n\
         host all by_md5 all md5\nhost all by_scram all scram-sha-256\n\
         host all by_password all password\nhost all by_none all trust\n",
    );
    let methods = [
        ("by_md5", "md5"),
        ("by_scram", "scram-sha-256"),
        ("by_password", "password"),
        ("by_none", "none"),
    ];
    for (role, asked) in methods {
        for (_, required) in methods {
            for negated in [false, true] {
                let not = if negated { "!" } else { "" };
                let conninfo = format!(
                    "host=127.0.0.1 port={} user={role} dbname=postgres password=secret \
                     sslmode=disable require_auth={not}{required}",
                    cluster.port()
                );
                if (asked == required) != negated {
                    let who = value(&conninfo, "SELECT current_user::text").await;
                    assert_eq!(who, role, "{conninfo}");
                } else {
                    let error = refused(&conninfo).await;
                    assert_eq!(error.kind(), ErrorKind::Auth, "{}", told(&error));
                }
            }
        }
    }
}

/// A cancel request is no login: it is asked for nothing.
#[tokio::test]
async fn a_session_with_require_auth_can_be_cancelled() {
    let (source, _) = crate::support::pair();
    let session = open(&format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable require_auth=none",
        source.port()
    ))
    .await
    .unwrap();
    let cancel_request = session.cancel_request();
    let slept = session.run(tableferry::error::Phase::Inspect, "SELECT pg_sleep(600)");
    let cancelled = async {
        // A request that comes before the query does nothing: ask until it has ended.
        loop {
            cancel_request.send(crate::support::PATIENCE).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        result = slept => assert_eq!(result.unwrap_err().sqlstate(), Some("57014")),
        () = cancelled => unreachable!(),
    }
}
