//! A TCP proxy that parses PostgreSQL's messages and injects faults where a test asks for them.
//!
//! ```text
//! let proxy = Proxy::start(db.target.cluster.port());
//! let cut = proxy.arm(Rule::new(Way::ToServer, Trigger::Text("COMMIT"), Fault::Cut).after());
//! … run the binary with proxy.conninfo(&db.target.conninfo()) …
//! cut.wait(PATIENCE);
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The direction of bytes through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// When a fault happens. All counts start at 1 and begin on the matching connections when the rule is
/// armed.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    /// At the n-th message, the startup packet included.
    Message(u64),
    /// At the n-th message of this type: `Typed(b'd', 3)` is the third CopyData.
    Typed(u8, u64),
    /// At the first message whose body contains this text: a statement.
    Text(&'static str),
    /// When this many bytes have been forwarded, mid-message or not.
    Byte(u64),
}

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Close both sockets.
    Cut,
    /// Close both sockets by RST: the peers see "connection reset".
    Reset,
    /// Close only this direction, by FIN; the other direction continues.
    HalfClose,
    /// Forward nothing in either direction, but keep both sockets open, until `Proxy::resume`.
    Stall,
    /// Nothing: the rule only reports that its trigger was reached.
    Observe,
}

/// A fault, and when it happens. It happens once.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    way: Way,
    trigger: Trigger,
    fault: Fault,
    after: bool,
    connection: Option<usize>,
}

impl Rule {
    /// The fault happens instead of forwarding the message, on the first connection that reaches it.
    pub fn new(way: Way, trigger: Trigger, fault: Fault) -> Self {
        Self {
            way,
            trigger,
            fault,
            after: false,
            connection: None,
        }
    }

    /// The message is forwarded first.
    pub fn after(mut self) -> Self {
        self.after = true;
        self
    }

    /// Only on the n-th connection, from 1; cancel requests are not counted.
    pub fn on_connection(mut self, number: usize) -> Self {
        self.connection = Some(number);
        self
    }
}

/// A rule that was handed to a proxy.
pub struct Armed {
    rule: Rule,
    receiver: mpsc::Receiver<Struck>,
}

impl Armed {
    /// Waits until the rule's trigger was reached. Panics when `bound` has passed.
    #[track_caller]
    pub fn wait(&self, bound: Duration) -> Struck {
        self.receiver
            .recv_timeout(bound)
            .unwrap_or_else(|_| panic!("never came to pass in {bound:?}: {:?}", self.rule))
    }

    /// Whether its trigger was reached.
    pub fn has_struck(&self) -> bool {
        self.receiver.try_recv().is_ok()
    }
}

/// The connection on which a rule's trigger was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struck {
    /// The connection's number, from 1.
    pub connection: usize,
}

/// A proxy in front of one server. All of its connections end when the value is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    cancels: AtomicUsize,
    refusing: AtomicBool,
    passed: [Passed; 2],
    rules: Mutex<Vec<ArmedRule>>,
    flows: Mutex<Vec<watch::Sender<Flow>>>,
}

#[derive(Default)]
struct Passed {
    messages: AtomicU64,
    bytes: AtomicU64,
}

struct ArmedRule {
    rule: Rule,
    seen: u64,
    sender: mpsc::Sender<Struck>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    Stalled,
    Closed { reset: bool },
}

impl Proxy {
    /// Starts a proxy in front of the server on this port of 127.0.0.1.
    pub fn start(server_port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("test-proxy")
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        runtime.spawn(accept(listener, server_port, Arc::clone(&shared)));
        Self {
            port,
            shared,
            runtime: Some(runtime),
        }
    }

    /// The port on 127.0.0.1 to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same key=value conninfo, but through the proxy.
    pub fn conninfo(&self, conninfo: &str) -> String {
        let others = conninfo.split(' ').filter(|word| {
            !["host=", "port=", "hostaddr="]
                .iter()
                .any(|key| word.starts_with(key))
        });
        let own = [
            String::from("host=127.0.0.1"),
            format!("port={}", self.port),
        ];
        own.into_iter()
            .chain(others.map(str::to_owned))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Adds a rule. Call this before the traffic that the rule waits for.
    pub fn arm(&self, rule: Rule) -> Armed {
        let (sender, receiver) = mpsc::channel();
        lock(&self.shared.rules).push(ArmedRule {
            rule,
            seen: 0,
            sender,
        });
        Armed { rule, receiver }
    }

    /// Cuts all current connections.
    pub fn cut(&self) {
        self.set_all(Flow::Closed { reset: false });
    }

    /// Stops forwarding on all current connections.
    pub fn stall(&self) {
        self.set_all(Flow::Stalled);
    }

    /// Resumes forwarding.
    pub fn resume(&self) {
        self.set_all(Flow::Open);
    }

    /// From now on (or no longer) closes new connections as soon as they are made.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// How many connections have sent a startup packet.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many cancel requests went through.
    pub fn cancels(&self) -> usize {
        self.shared.cancels.load(Ordering::SeqCst)
    }

    /// The number of messages in this direction, on all connections.
    pub fn messages(&self, way: Way) -> u64 {
        self.shared.passed[way as usize]
            .messages
            .load(Ordering::SeqCst)
    }

    /// The number of bytes in this direction, on all connections.
    pub fn bytes(&self, way: Way) -> u64 {
        self.shared.passed[way as usize]
            .bytes
            .load(Ordering::SeqCst)
    }

    fn set_all(&self, flow: Flow) {
        for sender in lock(&self.shared.flows).iter() {
            change(sender, flow);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closed stays closed.
fn change(sender: &watch::Sender<Flow>, flow: Flow) {
    sender.send_if_modified(|current| {
        let changes = *current != flow && !matches!(current, Flow::Closed { .. });
        if changes {
            *current = flow;
        }
        changes
    });
}

async fn accept(listener: std::net::TcpListener, server_port: u16, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((client, _)) = listener.accept().await {
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await {
                relay(client, server, shared).await;
            }
        });
    }
}

/// The state that both directions of a connection share.
struct Link {
    shared: Arc<Shared>,
    flow: watch::Sender<Flow>,
    /// Its number; 0 until the startup packet has come.
    number: AtomicUsize,
    /// The server's next byte is the answer to an SSLRequest or GSSENCRequest and has no frame.
    single_byte_answer: AtomicBool,
    /// TLS has begun, so messages cannot be parsed.
    opaque: AtomicBool,
}

async fn relay(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let flow = watch::Sender::new(Flow::Open);
    lock(&shared.flows).push(flow.clone());
    let link = Arc::new(Link {
        shared,
        flow,
        number: AtomicUsize::new(0),
        single_byte_answer: AtomicBool::new(false),
        opaque: AtomicBool::new(false),
    });
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let to_server = Pump::new(Way::ToServer, client_read, server_write, &link);
    let to_client = Pump::new(Way::ToClient, server_read, client_write, &link);
    let (to_server, to_client) = tokio::join!(to_server.run(), to_client.run());
    if matches!(*link.flow.borrow(), Flow::Closed { reset: true }) {
        for stream in [to_server.0.as_ref(), to_client.0.as_ref()] {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

struct Pump {
    way: Way,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    link: Arc<Link>,
    buffer: BytesMut,
    started: bool,
}

/// What `Pump::next` finds at the beginning of the buffer.
enum Piece {
    /// A whole message of this type; 0 where it has no type byte.
    Message(u8, Bytes),
    /// Bytes without a known frame.
    Raw(Bytes),
}

impl Pump {
    fn new(way: Way, from: OwnedReadHalf, to: OwnedWriteHalf, link: &Arc<Link>) -> Self {
        let started = way == Way::ToClient;
        Self {
            way,
            from,
            to,
            link: Arc::clone(link),
            buffer: BytesMut::new(),
            started,
        }
    }

    /// Forwards until this direction or the connection is closed. Returns the sockets so that they are
    /// closed together.
    async fn run(mut self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let mut flow = self.link.flow.subscribe();
        loop {
            let current = *flow.borrow_and_update();
            match current {
                Flow::Closed { .. } => break,
                Flow::Stalled => {
                    let _ = flow.changed().await;
                    continue;
                }
                Flow::Open => {}
            }
            let read = tokio::select! {
                biased;
                _ = flow.changed() => continue,
                read = self.from.read_buf(&mut self.buffer) => read,
            };
            let ended = matches!(read, Ok(0) | Err(_));
            if ended || self.forward(&mut flow).await.is_err() {
                let rest = self.buffer.split();
                let _ = self.to.write_all(&rest).await;
                let _ = self.to.shutdown().await;
                break;
            }
        }
        (self.from, self.to)
    }

    /// Forwards the whole messages in the buffer, as the rules allow. An error ends this direction.
    async fn forward(&mut self, flow: &mut watch::Receiver<Flow>) -> io::Result<()> {
        let mut out = BytesMut::new();
        while let Some(piece) = self.next() {
            let (kind, piece) = match piece {
                Piece::Message(kind, piece) => (Some(kind), piece),
                Piece::Raw(piece) => (None, piece),
            };
            let Some((strike, cut_at)) = self.judge(kind, &piece) else {
                self.count(kind.is_some(), piece.len());
                out.extend_from_slice(&piece);
                continue;
            };
            let first = piece.slice(..cut_at);
            self.count(kind.is_some() && cut_at == piece.len(), cut_at);
            out.extend_from_slice(&first);
            self.to.write_all(&out).await?;
            out.clear();
            // The bytes that were held back are sent after `resume`.
            out.extend_from_slice(&piece.slice(cut_at..));
            let half = strike.rule.fault == Fault::HalfClose;
            match strike.rule.fault {
                Fault::Cut => change(&self.link.flow, Flow::Closed { reset: false }),
                Fault::Reset => change(&self.link.flow, Flow::Closed { reset: true }),
                Fault::Stall => change(&self.link.flow, Flow::Stalled),
                Fault::HalfClose | Fault::Observe => {}
            }
            if half {
                self.buffer.clear();
                self.to.shutdown().await?;
            }
            strike.tell(&self.link);
            if half {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            flow.wait_for(|flow| *flow != Flow::Stalled)
                .await
                .map_err(io::Error::other)?;
            if matches!(*flow.borrow(), Flow::Closed { .. }) {
                self.buffer.clear();
                return Ok(());
            }
        }
        self.to.write_all(&out).await
    }

    /// Takes the next piece from the buffer and updates the state of the connection.
    fn next(&mut self) -> Option<Piece> {
        if self.buffer.is_empty() {
            return None;
        }
        if self.link.opaque.load(Ordering::SeqCst) {
            return Some(Piece::Raw(self.buffer.split().freeze()));
        }
        if self.way == Way::ToClient && self.link.single_byte_answer.swap(false, Ordering::SeqCst) {
            let answer = self.buffer.split_to(1).freeze();
            self.link
                .opaque
                .store(answer[..] != *b"N", Ordering::SeqCst);
            return Some(Piece::Raw(answer));
        }
        let prefix = usize::from(self.started);
        let length = self.buffer.get(prefix..prefix + 4)?.get_u32() as usize;
        if self.buffer.len() < prefix + length {
            return None;
        }
        let message = self.buffer.split_to(prefix + length).freeze();
        if self.started {
            return Some(Piece::Message(message[0], message));
        }
        match message.get(4..8).map(|mut code| code.get_u32()) {
            // SSLRequest, GSSENCRequest
            Some(80_877_103 | 80_877_104) => {
                self.link.single_byte_answer.store(true, Ordering::SeqCst);
            }
            // CancelRequest
            Some(80_877_102) => {
                self.link.shared.cancels.fetch_add(1, Ordering::SeqCst);
                self.started = true;
            }
            _ => {
                let number = self.link.shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                self.link.number.store(number, Ordering::SeqCst);
                self.started = true;
            }
        }
        Some(Piece::Message(0, message))
    }

    /// The rule whose trigger this piece reaches, and how many of its bytes are sent before the fault.
    fn judge(&self, kind: Option<u8>, piece: &Bytes) -> Option<(ArmedRule, usize)> {
        let number = self.link.number.load(Ordering::SeqCst);
        let mut rules = lock(&self.link.shared.rules);
        let mut found = None;
        for (index, armed) in rules.iter_mut().enumerate() {
            let rule = armed.rule;
            // A cancel request does not count as a connection, and an SSLRequest not yet.
            let applies =
                number > 0 && rule.way == self.way && rule.connection.is_none_or(|n| n == number);
            if !applies {
                continue;
            }
            let (counts, limit) = match rule.trigger {
                Trigger::Message(n) => (u64::from(kind.is_some()), n),
                Trigger::Typed(wanted, n) => (u64::from(kind == Some(wanted)), n),
                Trigger::Text(text) => {
                    let has = piece
                        .windows(text.len())
                        .any(|part| part == text.as_bytes());
                    (u64::from(kind.is_some() && has), 1)
                }
                Trigger::Byte(n) => (piece.len() as u64, n),
            };
            let before = armed.seen;
            armed.seen += counts;
            if found.is_none() && counts > 0 && armed.seen >= limit {
                let cut_at = match rule.trigger {
                    Trigger::Byte(n) => usize::try_from(n - before).unwrap(),
                    _ if rule.after || rule.fault == Fault::Observe => piece.len(),
                    _ => 0,
                };
                found = Some((index, cut_at));
            }
        }
        found.map(|(index, cut_at)| (rules.remove(index), cut_at))
    }

    fn count(&self, message: bool, bytes: usize) {
        let passed = &self.link.shared.passed[self.way as usize];
        passed
            .messages
            .fetch_add(u64::from(message), Ordering::SeqCst);
        passed.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }
}

impl ArmedRule {
    fn tell(&self, link: &Link) {
        let connection = link.number.load(Ordering::SeqCst);
        // The test may have dropped the receiver.
        let _ = self.sender.send(Struck { connection });
    }
}
