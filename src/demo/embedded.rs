//! ClickHouse embedded: the real engine as a library, in a process of its own.
//!
//! Promises: ClickHouse's HTTP interface on a loopback port, MergeTree, deduplication tokens and all, within a second; data that
//! survive `kill -9`; a process that ends with the one that started it, also when that one was killed.
//! Relies on: `libchdb.so`, whose `query_stable_v2` is `clickhouse-local` with its arguments as they are.
//! Absent on purpose: the native protocol (its clients can take this engine down), access from other machines, passwords, and
//! a clean end: the engine is killed, as a server may be at any moment.
//!
//! The engine gets a process of its own because it brings allocator, signal handlers and threads with it, and because its death
//! must not be ours.

// Calling into a C library cannot be done without it; each use says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, ptr, thread};

use anyhow::{Context, bail};

/// The verb, not shown in any help, under which the binary serves the engine.
pub const VERB: &str = "embedded-clickhouse";

/// A cold disk reads 570 MB of library before the first answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Serves the engine on `127.0.0.1:port`, its data under `data`, until standard input closes or the process is killed.
///
/// Standard input is the lease: whoever started this process holds its other end and, dying in whatever way, lets go of it. Then
/// `remove` is removed, when there is such a folder: whoever is killed can clean up nothing.
pub fn serve(library: &Path, data: &Path, port: u16, remove: Option<PathBuf>) -> anyhow::Result<()> {
    // SAFETY: loading runs the library's initialisers. It is the library the operator named, in a process made for it alone.
    let library_handle =
        unsafe { libloading::Library::new(library) }.with_context(|| format!("load ClickHouse from `{}`", library.display()))?;
    // SAFETY: the type is the function's declaration in the library's header, its result taken as an opaque pointer.
    let query = unsafe { library_handle.get::<unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void>(b"query_stable_v2\0") }
        .with_context(|| format!("`{}` is not the ClickHouse library", library.display()))?;

    let data = data.to_str().with_context(|| format!("the path `{}` is not UTF-8", data.display()))?;
    let arguments = [
        "clickhouse",
        "--path",
        data,
        "--http_port",
        &port.to_string(),
        "--listen_host",
        "127.0.0.1",
        "--multiquery",
        "--query",
        // The second query never ends; it keeps the process serving. Two rows of a second each stay under the limit per block.
        "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(1) FROM system.numbers SETTINGS max_block_size=2 FORMAT Null",
    ]
    .into_iter()
    .map(CString::new)
    .collect::<Result<Vec<_>, _>>()
    .context("a path holds a NUL byte")?;
    let mut pointers: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    pointers.push(ptr::null_mut());

    let starter = std::os::unix::process::parent_id();
    thread::spawn(move || {
        let mut byte = [0];
        // Nobody writes; any outcome but an interruption means that the other end is gone.
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
        super::handoff::forget(starter);
        if let Some(folder) = remove {
            // The engine writes until the end, so a removal may come too early for a file. Nobody is left to be told of a failure.
            let _ = (0..10).find(|_| fs::remove_dir_all(&folder).is_ok() || !folder.exists());
        }
        end_now()
    });
    // SAFETY: argc and argv as a C program gets them, NUL-terminated and alive until the call returns. The engine only reads them.
    unsafe { query(c_int::try_from(arguments.len())?, pointers.as_mut_ptr()) };
    bail!("ClickHouse ended by itself; it wrote its reason above")
}

/// Ends the process without running the engine's exit handlers, which wait for its threads.
fn end_now() -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // SAFETY: `_exit` of the C library takes any status and returns to nobody. What the engine was writing is as after a kill.
    unsafe { _exit(0) }
}

/// An engine that runs beside us. Dropping it kills it; the data stay.
#[derive(Debug)]
pub struct Embedded {
    // Holds the child's standard input open: the lease.
    child: Child,
    port: u16,
    log: PathBuf,
    ready_by: Instant,
}

impl Embedded {
    /// Starts the engine from this very binary and waits until it answers.
    pub fn start(library: &Path, data: &Path, port: u16) -> anyhow::Result<Self> {
        let binary = env::current_exe().context("find the path of this binary")?;
        Self::start_from(&binary, library, data, port)
    }

    /// The same from a named binary that knows [`VERB`]. What the engine writes goes to `clickhouse.log` in the data folder.
    pub fn start_from(binary: &Path, library: &Path, data: &Path, port: u16) -> anyhow::Result<Self> {
        let mut embedded = Self::launch_from(binary, library, data, port, None)?;
        embedded.wait_until_ready()?;
        Ok(embedded)
    }

    /// Starts the engine from this very binary and waits for nothing: see [`Self::is_ready`]. If we are killed, it takes
    /// away what we left: `remove`, and what leads other processes to us.
    pub fn launch(library: &Path, data: &Path, port: u16, remove: Option<&Path>) -> anyhow::Result<Self> {
        let binary = env::current_exe().context("find the path of this binary")?;
        Self::launch_from(&binary, library, data, port, remove)
    }

    fn launch_from(binary: &Path, library: &Path, data: &Path, port: u16, remove: Option<&Path>) -> anyhow::Result<Self> {
        if !library.is_file() {
            bail!("no ClickHouse library at `{}`: `make fetch` brings it, or set `embedded.library`", library.display());
        }
        // Checked here because a stranger who answers on the port would be taken for our engine.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("listen on 127.0.0.1:{port}"))?;
        fs::create_dir_all(data).with_context(|| format!("make the folder `{}`", data.display()))?;
        let log = data.join("clickhouse.log");
        let output = File::options().create(true).append(true).open(&log).with_context(|| format!("open `{}`", log.display()))?;
        let child = Command::new(binary)
            .arg(VERB)
            .arg("--library")
            .arg(library)
            .arg("--data")
            .arg(data)
            .arg("--port")
            .arg(port.to_string())
            .args(remove.into_iter().flat_map(|folder| [OsStr::new("--remove"), folder.as_os_str()]))
            .stdin(Stdio::piped())
            .stdout(output.try_clone().with_context(|| format!("open `{}` twice", log.display()))?)
            .stderr(output)
            // A Ctrl-C of the terminal is for the one who started it, who then ends it in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{} {VERB}`", binary.display()))?;
        Ok(Self { child, port, log, ready_by: Instant::now() + READY_WITHIN })
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        while !self.is_ready()? {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Whether it answers by now.
    ///
    /// # Errors
    /// It ended, or a minute has passed.
    pub fn is_ready(&mut self) -> anyhow::Result<bool> {
        if let Some(status) = self.died().context("look after ClickHouse")? {
            bail!("ClickHouse ended while starting ({status}): {}", self.last_words());
        }
        if answers(self.port) {
            return Ok(true);
        }
        if Instant::now() >= self.ready_by {
            bail!("ClickHouse does not answer on port {} after {READY_WITHIN:?}: {}", self.port, self.last_words());
        }
        Ok(false)
    }

    /// Where it answers, as `clickhouse.url` wants it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The engine's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it ended without being asked to.
    pub fn died(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        // Fails only when it is dead already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last line that the engine wrote.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answers(port: u16) -> bool {
    let ask = || -> io::Result<bool> {
        let timeout = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(b"GET /ping HTTP/1.0\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}
