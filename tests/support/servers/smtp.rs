//! A mail server process that keeps what it accepts: `smtp.py`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Folder, Process, eventually, fetched};

/// The server; ended when dropped.
pub struct Mails {
    folder: Folder,
    process: Process,
    port: u16,
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
}

impl Mails {
    /// Listens on a free port; `modes`: how the first connections go, see `smtp.py`.
    pub fn start(modes: &[&str]) -> Self {
        let folder = Folder::new("mails");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers/smtp.py");
        let mut python = super::process::command("python3");
        python.env("PYTHONPATH", fetched("smtp/lib")).arg(script).arg(folder.path()).args(modes);
        let (out, log) = (folder.path().join("port"), folder.path().join("log"));
        let mut process = Process::start_split(python, &out, &log);
        let port = eventually(Duration::from_secs(20), || {
            assert!(process.ended().is_none(), "{}", process.log());
            fs::read_to_string(&out).unwrap_or_default().trim().parse::<u16>().map_err(|error| error.to_string())
        });
        Self { folder, process, port }
    }

    /// For `smtp.url`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
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

    /// Waits until so many arrived.
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Arrived> {
        eventually(within, || {
            let arrived = self.arrived();
            if arrived.len() >= count {
                Ok(arrived)
            } else {
                Err(format!("{} of {count} mails; {}", arrived.len(), self.process.log()))
            }
        })
    }
}
