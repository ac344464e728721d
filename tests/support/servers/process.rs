//! A child process that never outlives us.
//!
//! `setpriv --pdeathsig KILL` asks the kernel to kill the child when the *thread* that started it ends. Tests run on threads
//! of their own and share servers, so one thread that lives as long as the process starts them all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::{eventually, lock};

type Job = (Command, Sender<io::Result<Child>>);

/// A command that will be killed by the kernel when we end. Keeps its pid: `setpriv` becomes the program.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command
}

fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                // Nobody waits for the answer only when the asking test has failed meanwhile.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, answer) = mpsc::channel();
    lock(spawner).send((command, sender)).expect("the spawner lives");
    answer.recv().expect("the spawner answers")
}

/// A running process whose output goes to a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts what [`command`] made, both outputs into one log.
    pub fn start(command: Command, log: &Path) -> Self {
        Self::start_split(command, log, log)
    }

    /// The same with standard output in a file of its own.
    pub fn start_split(mut command: Command, stdout: &Path, log: &Path) -> Self {
        let open = |path| File::options().create(true).append(true).open(path).expect("open a file for output");
        command.stdout(open(stdout)).stderr(open(log));
        let name = format!("{command:?}");
        let child = spawn(command).unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote so far, and what its predecessors wrote into the same file.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("look after a child")
    }

    /// Waits for its end; panics with its log when that does not come.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually(within, || self.ended().ok_or_else(|| format!("process {} still runs:\n{}", self.pid(), self.log())))
    }

    pub fn kill9(&mut self) {
        // Fails only when it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn sigterm(&mut self) {
        self.signal("TERM");
    }

    /// Returns when it really stands still.
    pub fn sigstop(&mut self) {
        self.signal("STOP");
        eventually(super::SOON, || match state(self.pid()) {
            Some('T') => Ok(()),
            other => Err(format!("state {other:?}")),
        });
    }

    pub fn sigcont(&mut self) {
        self.signal("CONT");
    }

    /// The pid cannot be a stranger's: an ended child keeps it until we waited for it.
    pub fn signal(&mut self, name: &str) {
        if self.ended().is_none() {
            let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid().to_string()]).status();
            assert!(sent.expect("start sh").success(), "kill -s {name} {}", self.pid());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The letter of a process's state in `/proc`; none when there is no such process.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Bytes of memory that a process holds now.
pub fn resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

/// The most bytes of memory that a process held so far.
pub fn resident_max(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Whether it was ended by `kill -9`.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}
