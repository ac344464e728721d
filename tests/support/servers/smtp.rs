//! A mail server process that keeps what it accepts: `smtp.py`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::{Folder, Process, eventually, fetched, free_port};

/// The server; ended when dropped.
pub struct Mails {
    // Before the folder: ended first.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    manners: Manners,
}

/// A mail as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// To whom the envelope said.
    pub recipient: String,
    /// The raw message.
    pub raw: String,
}

impl Arrived {
    /// A header's value, unfolded and as it was sent.
    pub fn header(&self, name: &str) -> String {
        let head = self.raw.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let prefix = format!("{}:", name.to_lowercase());
        let line = head.split("\r\n").find(|line| line.to_lowercase().starts_with(&prefix));
        line.unwrap_or_else(|| panic!("no {name} in {head}"))[prefix.len()..].trim().to_owned()
    }

    /// The plain text, decoded by Python's own library.
    pub fn text(&self) -> String {
        let script = "import sys, email, email.policy; m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default); \
                      sys.stdout.write(m.get_body(('plain',)).get_content())";
        let mut python = super::process::command("python3");
        python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.raw.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }
}

/// How the server wants to be spoken to.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// `starttls`, `wrapped`, or neither.
    pub tls: Option<(&'static str, PathBuf, PathBuf)>,
    /// `user:password`.
    pub login: String,
}

impl Mails {
    /// Listens on a free port; `modes`: how the first connections go, see `smtp.py`.
    pub fn start(modes: &[&str]) -> Self {
        Self::start_with(Manners::default(), modes)
    }

    pub fn start_with(manners: Manners, modes: &[&str]) -> Self {
        let mut mails = Self { folder: Folder::new("mails"), process: None, port: free_port(), manners };
        mails.launch(modes);
        mails
    }

    /// Ends it at once.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts it again, on its port, with what it has taken.
    pub fn launch(&mut self, modes: &[&str]) {
        self.kill9();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers/smtp.py");
        let mut python = super::process::command("python3");
        python.env("PYTHONPATH", fetched("smtp/lib")).arg(script).arg(self.folder.path()).arg(self.port.to_string());
        match &self.manners.tls {
            Some((how, certificate, key)) => python.arg(how).arg(certificate).arg(key),
            None => python.args(["none", "", ""]),
        };
        python.arg(&self.manners.login).args(modes);
        let (out, log) = (self.folder.path().join("port"), self.folder.path().join("log"));
        // A port of an earlier start is not the new one's.
        let _ = fs::remove_file(&out);
        let mut process = Process::start_split(python, &out, &log);
        self.port = eventually(Duration::from_secs(20), || {
            assert!(process.ended().is_none(), "{}", process.log());
            fs::read_to_string(&out).unwrap_or_default().trim().parse::<u16>().map_err(|error| error.to_string())
        });
        self.process = Some(process);
    }

    /// For `smtp.url`.
    pub fn url(&self) -> String {
        let is_wrapped = self.manners.tls.as_ref().is_some_and(|(how, ..)| *how == "wrapped");
        format!("{}://127.0.0.1:{}", if is_wrapped { "smtps" } else { "smtp" }, self.port)
    }

    /// What arrived, the oldest first.
    pub fn arrived(&self) -> Vec<Arrived> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        files.sort();
        files
            .iter()
            .map(|file| {
                let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
                let (recipient, raw) = text.split_once("\r\n").unwrap();
                Arrived { recipient: recipient.trim_start_matches("X-Recipients: ").to_owned(), raw: raw.to_owned() }
            })
            .collect()
    }

    fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// Waits until so many arrived.
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Arrived> {
        eventually(within, || {
            let arrived = self.arrived();
            if arrived.len() >= count { Ok(arrived) } else { Err(format!("{} of {count} mails; {}", arrived.len(), self.log())) }
        })
    }
}
