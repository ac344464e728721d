//! A TCP proxy of our own between a client and a server: for faults of the network, and for answers that no server gives when asked.
//!
//! Promises: what no rule names goes through unchanged; a port of its own, below those for outgoing connections; everything ends
//! with its value. [`Proxy::http`] reads requests and answers whole, so that a rule can name the second insert into a table;
//! [`Proxy::raw`] moves bytes, for Kafka, whose broker must then advertise the proxy's port.
//! A held request outlives its client: let go later, it reaches the server as one that was long under way.
//! Absent on purpose: TLS, HTTP/2, pipelining, `Expect`. Our clients use none of it.

mod http;
mod message;
mod raw;
mod rules;
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::servers::{SOON, eventually, free_port};
pub use message::Request;
pub use raw::Wire;
pub use rules::{Do, Rule, When, exception, exception_in_body};
use rules::{Fate, Stated};

/// The proxy. Dropping it closes its port and every connection.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before ClickHouse.
    pub fn http(target: u16) -> Self {
        Self::start(target, true)
    }

    /// Before anything.
    pub fn raw(target: u16) -> Self {
        Self::start(target, false)
    }

    fn start(target: u16, is_http: bool) -> Self {
        let port = free_port();
        let state = Arc::new(State { target, is_http, inner: Mutex::default(), changed: Condvar::new() });
        let listener = listen(port);
        let for_acceptor = Arc::clone(&state);
        let acceptor = thread::spawn(move || accept(listener, port, &for_acceptor));
        Self { port, state, acceptor: Some(acceptor) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As `clickhouse.url` wants it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As `kafka.brokers` wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds a rule; of several that concern a request the oldest counts.
    pub fn on(&self, when: When, what: Do) -> Rule {
        let rule = Arc::new(Stated::new(when, what));
        self.state.lock().rules.push(Arc::clone(&rule));
        Rule { state: Arc::clone(&self.state), rule }
    }

    /// Forgets all rules. What they hold stays held.
    pub fn clear(&self) {
        self.state.lock().rules.clear();
    }

    /// Cuts the network: breaks every connection, and refuses new ones until told otherwise.
    pub fn refuse(&self, refused: bool) {
        let mut inner = self.state.lock();
        inner.refused = refused;
        if refused {
            inner.close_connections();
        }
        drop(inner);
        self.state.changed.notify_all();
        if refused {
            self.wake_acceptor();
            eventually(SOON, || match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                other => Err(format!("the proxy still listens: {other:?}")),
            });
        } else {
            eventually(SOON, || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        }
    }

    /// Breaks every connection once.
    pub fn cut(&self) {
        self.state.lock().close_connections();
    }

    /// What raw connections meet from now on.
    pub fn wire(&self, wire: Wire) {
        self.state.lock().wire = wire;
        self.state.changed.notify_all();
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.state.lock().accepted
    }

    fn wake_acceptor(&self) {
        // It looks around after each connection; one that fails means that it does not listen.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.ended = true;
        inner.close_connections();
        drop(inner);
        self.state.changed.notify_all();
        self.wake_acceptor();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} to {})", self.port, self.state.target)
    }
}

#[derive(Default)]
pub struct Inner {
    ended: bool,
    refused: bool,
    accepted: u64,
    wire: Wire,
    rules: Vec<Arc<Stated>>,
    connections: BTreeMap<u64, Vec<TcpStream>>,
}

impl Inner {
    fn close_connections(&mut self) {
        for stream in std::mem::take(&mut self.connections).into_values().flatten() {
            // One that is closed already is what was wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

pub struct State {
    target: u16,
    is_http: bool,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&Inner) -> bool) -> MutexGuard<'_, Inner> {
        let inner = self.lock();
        self.changed.wait_while(inner, |inner| !inner.ended && condition(inner)).unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a stream, so that a cut finds it.
    fn register(&self, connection: u64, stream: &TcpStream) -> io::Result<()> {
        let clone = stream.try_clone()?;
        let mut inner = self.lock();
        let Some(streams) = inner.connections.get_mut(&connection) else { return Err(broken("cut meanwhile")) };
        streams.push(clone);
        Ok(())
    }

    fn connect(&self, connection: u64) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, self.target)), SOON)?;
        stream.set_nodelay(true)?;
        self.register(connection, &stream)?;
        Ok(stream)
    }

    /// Waits for the end of a hold.
    fn hold(&self, rule: &Stated) -> io::Result<()> {
        rule.held().waiting += 1;
        let inner = self.wait_while(|_| rule.held().fate.is_none());
        let ended = inner.ended;
        drop(inner);
        let mut held = rule.held();
        held.waiting -= 1;
        if ended || held.fate == Some(Fate::Cut) { Err(broken("cut while held")) } else { Ok(()) }
    }

    fn decide(&self, request: &Request) -> Option<Arc<Stated>> {
        // Not under the lock: a rule may look long.
        let rules = self.lock().rules.clone();
        rules.into_iter().find(|rule| rule.concerns(request))
    }
}

pub fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
}

pub fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_or_else(|error| panic!("listen on port {port}: {error}"))
}

fn accept(mut listener: TcpListener, port: u16, state: &Arc<State>) {
    for number in 0.. {
        let accepted = listener.accept();
        let inner = state.lock();
        if inner.ended {
            return;
        }
        if inner.refused {
            drop((inner, accepted, listener));
            if state.wait_while(|inner| inner.refused).ended {
                return;
            }
            listener = listen(port);
            continue;
        }
        drop(inner);
        let Ok((client, _)) = accepted else { continue };
        let state = Arc::clone(state);
        {
            let mut inner = state.lock();
            inner.accepted += 1;
            inner.connections.insert(number, Vec::new());
        }
        thread::spawn(move || {
            // How a connection ends is the client's and the server's business.
            let _ = state.register(number, &client).and_then(|()| {
                client.set_nodelay(true)?;
                if state.is_http { http::serve(&state, number, &client) } else { raw::serve(&state, number, &client) }
            });
            let streams = state.lock().connections.remove(&number);
            for stream in streams.into_iter().flatten() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}
