//! Real servers for tests: started in about a second, killed at will, gone with the test.
//!
//! Promises: a process started here ends when its value is dropped and when the test process ends in whatever way, `kill -9`
//! included; its folder too. Ports lie below the range from which the system takes ports for outgoing connections, so a
//! server that is killed gets its own port again. Nothing waits for a fixed time: [`eventually`] polls a condition.
//! Whatever cannot be had is a panic that says what is missing: the caller is a test.
#![allow(dead_code, unused_imports)] // not every test file uses everything

mod certificates;
mod clickhouse;
pub mod installation;
mod kafka;
pub mod process;
mod smtp;

use std::fmt::Display;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self as os, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use certificates::Certificates;
pub use clickhouse::ClickHouse;
pub use installation::{Farebox, Instance, Output};
pub use kafka::{Client, Cluster, Committed, Kafka, Message, Read as KafkaRecord, fast_java};
pub use process::Process;
pub use smtp::{Arrived, Mails, Manners};

/// How long things may take that take a second on an idle machine: two busy cores make it ten.
pub const SOON: Duration = Duration::from_secs(60);

/// Tries until `attempt` gives a value; panics with its last excuse after `within`.
pub fn eventually<T, E: Display>(within: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(excuse) if Instant::now() >= deadline => panic!("not within {within:?}: {excuse}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// A file that `make fetch` brought.
pub fn fetched(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps").join(path);
    assert!(path.exists(), "`{}` is missing: run `make fetch`", path.display());
    path
}

/// A port on which nobody listens, below the range for outgoing connections (32768 and up).
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at once start at different places.
    let start = u16::try_from(os::id().wrapping_mul(7919) % u32::from(COUNT)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < COUNT, "no free port");
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A word that no other caller gets, in this process or another: for topics, groups, databases.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}_{}_{}", os::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A folder that goes with its value, or at the latest with the process.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(prefix: &str) -> Self {
        let path = run_folder().join(unique(prefix));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is the janitor's.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The folder of this test process. Values in statics are never dropped and a killed process drops nothing, so a shell
/// waits for the end of its standard input, which is our end, and removes what is left.
pub fn run_folder() -> &'static Path {
    static RUN: OnceLock<(PathBuf, Mutex<Child>)> = OnceLock::new();
    let (path, _) = RUN.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}", os::id()));
        fs::create_dir_all(&path).unwrap();
        let janitor = Command::new("sh")
            // Again after a moment: killed servers may still have been writing.
            .args(["-c", "cat; rm -rf \"$0\" || { sleep 1; rm -rf \"$0\"; }"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start sh");
        (path, Mutex::new(janitor))
    });
    path
}

/// One HTTP exchange over a connection of its own: status, head and body.
pub fn http(port: u16, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    // 1.0: the answer comes without chunks and ends with the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    Ok((status, head.to_owned(), body.to_owned()))
}

/// A lock that a failed test does not take away from the others.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
