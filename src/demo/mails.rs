//! A mail server in this process that keeps what it is given, each mail in a file: it takes every mail, and passes none on.
//!
//! Knows as much of SMTP (RFC 5321) as who sends alerts needs; nobody else is told where it listens.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A mail as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// To whom.
    pub to: String,
    /// Its Message-ID.
    pub message_id: String,
}

/// The server; it ends with its value.
pub struct Mails {
    /// `127.0.0.1:port`.
    pub address: String,
    /// Where the mails lie.
    pub folder: PathBuf,
    caught: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

/// What came, the oldest first.
#[derive(Debug, Default)]
struct Kept {
    mails: Vec<Caught>,
    /// The folder is going away: a mail that is on its way is refused.
    is_over: bool,
}

impl Mails {
    /// Listens on a free port and keeps mails in a new folder.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("mails");
        std::fs::create_dir(&folder).context("make a folder for the demo's mails")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen for mails")?;
        let address = listener.local_addr().context("listen for mails")?.to_string();
        let caught = Arc::<Mutex<Kept>>::default();
        let task = tokio::spawn(serve(listener, folder.clone(), Arc::clone(&caught)));
        Ok(Self { address, folder, caught, task })
    }

    /// The one that came last.
    pub fn newest(&self) -> Option<Caught> {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).mails.last().cloned()
    }
}

impl Drop for Mails {
    fn drop(&mut self) {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, folder: PathBuf, caught: Arc<Mutex<Kept>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (folder, caught) = (folder.clone(), Arc::clone(&caught));
        tokio::spawn(async move {
            // Whoever hangs up has seen what happened, and sends it again.
            let _ = talk(stream, &folder, &caught).await;
        });
    }
}

async fn talk(stream: TcpStream, folder: &Path, caught: &Mutex<Kept>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 farebox demo\r\n").await?;
    let mut to = String::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "EHLO" | "HELO" => b"250-farebox demo\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                b"250 OK\r\n"
            }
            "MAIL" | "RSET" | "NOOP" => b"250 OK\r\n",
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail += line.strip_prefix('.').unwrap_or(&line);
                    mail += "\r\n";
                }
                keep(folder, caught, &to, &mail)?;
                b"250 OK\r\n"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"502 not here\r\n",
        };
        write.write_all(answer).await?;
    }
    Ok(())
}

fn keep(folder: &Path, caught: &Mutex<Kept>, to: &str, mail: &str) -> std::io::Result<()> {
    let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
    if caught.is_over {
        return Err(std::io::Error::other("the demo is over"));
    }
    let header = mail.lines().find_map(|line| line.strip_prefix("Message-ID: "));
    let message_id = header.unwrap_or_default().trim().to_owned();
    std::fs::write(folder.join(format!("{}.eml", caught.mails.len() + 1)), mail)?;
    caught.mails.push(Caught { to: to.to_owned(), message_id });
    Ok(())
}
