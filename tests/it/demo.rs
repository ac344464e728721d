//! The demo as somebody sees it: on a terminal of 80 and of 120 columns, told once, kept, and stopped by Ctrl-C at any moment.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use farebox::demo::embedded::Embedded;
use rustix::pty;
use rustix::termios::{Winsize, tcsetwinsize};

use super::readme::{blocks_of, processes_that_name};
use super::servers::{Folder, SOON, eventually, fetched, free_port, http};

/// The demo on a terminal of its own, every trace of it in one folder.
struct Terminal {
    keyboard: File,
    written: Arc<Mutex<Vec<u8>>>,
    child: Child,
    folder: Folder,
}

impl Terminal {
    fn start(columns: u16, rows: u16, arguments: &[&str]) -> Self {
        let folder = Folder::new("demo");
        let ours = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY | pty::OpenptFlags::CLOEXEC).unwrap();
        pty::grantpt(&ours).unwrap();
        pty::unlockpt(&ours).unwrap();
        tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = pty::ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = || File::options().read(true).write(true).open(&name).unwrap();

        // Killed with the thread that starts it, which is the test's; with a session of its own, so that ^C is its signal.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "setsid", "--ctty", env!("CARGO_BIN_EXE_farebox"), "demo"]).args(arguments);
        command.stdin(theirs()).stdout(theirs()).stderr(theirs());
        command.env_remove("FAREBOX_LOG__LEVEL").env("NO_COLOR", "1").env("TERM", "xterm");
        command.env("TMPDIR", folder.path()).env("XDG_RUNTIME_DIR", folder.path());
        command.env("FAREBOX_EMBEDDED__LIBRARY", fetched("clickhouse/libchdb.so"));
        let child = command.spawn().unwrap();
        drop(command); // and with it our ends of theirs

        let keyboard = File::from(ours);
        let (written, mut screen) = (Arc::new(Mutex::new(Vec::new())), keyboard.try_clone().unwrap());
        let writer = Arc::clone(&written);
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            // Reading fails when nobody holds the other end any more.
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                writer.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { keyboard, written, child, folder }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, said: &str) {
        eventually(SOON, || if self.text().contains(said) { Ok(()) } else { Err(format!("no `{said}` in {}", self.text())) });
    }

    fn press_ctrl_c(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        eventually(SOON, || self.child.try_wait().unwrap().ok_or_else(|| format!("it still runs:\n{}", self.text())))
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(processes_that_name(self.folder.path()), Vec::<u32>::new());
        for port in ports(&self.text()) {
            let answer = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), SOON);
            assert!(answer.is_err(), "somebody listens on port {port}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Performs the little that the demo asks of a terminal, and fails on everything else.
fn screen(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        if lines.len() <= row {
            lines.resize(row + 1, Vec::new());
        }
        match sign {
            '\n' => row += 1,
            '\r' => column = 0,
            '\x1b' => {
                assert_eq!(signs.next(), Some('['), "{text:?}");
                let mut numbers = String::new();
                let command = loop {
                    match signs.next() {
                        Some(sign) if sign.is_ascii_digit() || sign == ';' => numbers.push(sign),
                        Some(command) => break command,
                        None => return lines.into_iter().map(String::from_iter).collect(), // the rest is on its way
                    }
                };
                match (command, numbers.as_str()) {
                    ('H', at) => {
                        let (down, right) = at.split_once(';').unwrap_or(("1", "1"));
                        (row, column) = (down.parse::<usize>().unwrap() - 1, right.parse::<usize>().unwrap() - 1);
                    }
                    ('K', "") => lines[row].truncate(column),
                    ('J', "") => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    other => panic!("{other:?}"),
                }
            }
            sign => {
                assert!(column < columns, "a line is longer than {columns}: {}", String::from_iter(&lines[row]));
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = sign;
                column += 1;
            }
        }
    }
    lines.into_iter().map(String::from_iter).collect()
}

fn ports(text: &str) -> Vec<u16> {
    let after = text.split("127.0.0.1:").skip(1);
    after.filter_map(|rest| rest.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok()).collect()
}

/// Only the last screen: the story before it may be longer than the terminal is wide.
fn live_part(text: &str) -> &str {
    text.find("\x1b[1;1H").map_or("", |at| &text[at..])
}

#[test]
fn on_a_terminal_the_numbers_grow_until_ctrl_c() {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let mut terminal = Terminal::start(columns, rows, &[]);
        let width = usize::from(columns);
        let seen = eventually(SOON, || {
            let lines = screen(live_part(&terminal.text()), width);
            // Users that came while we watched.
            let grown = lines.iter().any(|line| line.contains("(+") && !line.contains("(+0)"));
            if grown { Ok(lines) } else { Err(terminal.text()) }
        });
        let text = seen.join("\n");
        for said in [
            "live for",
            "received = ",
            "exactly one place",
            "unique users",
            "pays for",
            "rejected  ",
            "unpriced  ",
            "curl -s 'http",
        ] {
            assert!(text.contains(said), "no `{said}` at {columns} columns:\n{text}");
        }
        assert_eq!(text.contains("training  operations"), columns == 120, "{text}");
        if columns == 80 {
            assert_eq!(parts(&seen), parts(&shown_by_readme()), "{text}");
        }
        assert!(seen.iter().all(|line| line.chars().count() <= width));
        assert!(seen.len() < usize::from(rows), "{text}");

        let handoff = terminal.folder.path().join("farebox/demo.toml");
        let left = fs::read_to_string(&handoff).unwrap();
        assert_eq!(left.lines().next(), Some(format!("# pid {}", terminal.child.id()).as_str()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&handoff), mode(handoff.parent().unwrap())), (0o600, 0o700));
        let clickhouse: toml::Table = toml::from_str(&left).unwrap();
        let url = clickhouse["clickhouse"]["url"].as_str().unwrap();
        assert!(text.contains(url), "{text}");
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let question = "SELECT sum(received) >= 5000, min(balanced) FROM farebox.conservation";
        assert_eq!(http(port, "POST", "/", question.as_bytes()).unwrap().2, "1\t1\n");

        let sent = send_beside(&terminal);
        assert!(sent.contains("\"cost\":\"6\""), "{sent}");
        terminal.wait_for(" globex hello llm gpt-4o: 6 credits");

        // Half of the crawler's budget is used up after some ten seconds.
        terminal.wait_for("Globex Research: 5");

        terminal.press_ctrl_c();
        assert!(terminal.end().success(), "{}", terminal.text());
        terminal.wait_for("nothing of it is left");
        let last = screen(live_part(&terminal.text()).rsplit("farebox: ").next().unwrap(), 200);
        assert!(last[0].starts_with("the demo is over: ") && last[0].ends_with("nothing of it is left"), "{last:?}");
        terminal.assert_nothing_is_left();
    }
}

fn shown_by_readme() -> Vec<String> {
    blocks_of(include_str!("../../README.md"), "text live").concat().lines().map(str::to_owned).collect()
}

/// What is the same in every run: the names of the parts, and the words of the tables' first lines.
fn parts(screen: &[String]) -> Vec<String> {
    let firsts = screen.iter().filter(|line| line.starts_with(char::is_alphabetic));
    let heads = firsts.map(|line| match line.split_whitespace().next().unwrap_or_default() {
        "sessions" | "credits" => line.split_whitespace().collect::<Vec<_>>().join(" "),
        head => head.to_owned(),
    });
    heads.collect()
}

/// From a second terminal, without a configuration.
fn send_beside(terminal: &Terminal) -> String {
    let line = "send --account globex --agent hello --category llm --model gpt-4o --input-tokens 1200 --output-tokens 300 --follow";
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.args(line.split(' ')).args(["--format", "json"]).env("XDG_RUNTIME_DIR", terminal.folder.path());
    let sent = command.output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    String::from_utf8(sent.stdout).unwrap()
}

#[test]
fn stopped_by_ctrl_c_at_any_moment_it_leaves_nothing_and_says_so() {
    let seed = std::env::var("DEMO_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() & u128::from(u32::MAX)).unwrap());
    eprintln!("DEMO_SEED={seed}");
    let mut state = seed;
    for round in 0..5_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((state >> 33) % 1_500 * (round + 1));
        let mut terminal = Terminal::start(80, 24, &[]);
        terminal.wait_for("farebox: ");
        let started = Instant::now();
        eventually(SOON, || if started.elapsed() >= moment { Ok(()) } else { Err("not yet") });
        terminal.press_ctrl_c();
        let status = terminal.end();
        // librdkafka 2.12 aborts now and then when partitions are taken away the moment they were given (confluentinc/librdkafka#5573).
        if terminal.text().contains("rktp_started' failed") {
            eprintln!("librdkafka aborted after {moment:?}: this round says nothing");
            continue;
        }
        terminal.wait_for("nothing of it is left");
        let text = terminal.text();
        let is_over = text.contains("the demo is over: ");
        assert_eq!(status.code(), Some(if is_over { 0 } else { 1 }), "after {moment:?}: {text}");
        assert!(is_over || text.contains("the demo was stopped before its end; "), "after {moment:?}: {text}");
        terminal.assert_nothing_is_left();
    }
}

#[test]
fn told_once_it_ends_by_itself_on_a_terminal_too() {
    let mut terminal = Terminal::start(120, 40, &["--once"]);
    assert!(terminal.end().success(), "{}", terminal.text());
    terminal.wait_for("conservation: ");
    assert!(!terminal.text().contains('\x1b'), "{}", terminal.text());
    terminal.assert_nothing_is_left();
}

#[test]
fn kept_data_can_be_asked_when_the_demo_is_over() {
    let mut terminal = Terminal::start(120, 40, &["--once", "--keep"]);
    assert!(terminal.end().success(), "{}", terminal.text());
    terminal.wait_for("its data stay in `");
    let text = terminal.text();
    let kept = Path::new(text.split("its data stay in `").nth(1).unwrap().split('`').next().unwrap());
    assert_eq!(kept.parent(), Some(terminal.folder.path()));
    assert!(!terminal.folder.path().join("farebox").exists());

    let (binary, library) = (Path::new(env!("CARGO_BIN_EXE_farebox")), fetched("clickhouse/libchdb.so"));
    let port = free_port();
    let _engine = Embedded::start_from(binary, &library, &kept.join("clickhouse"), port).unwrap();
    let answer = http(port, "POST", "/", b"SELECT sum(accepted) FROM farebox.conservation").unwrap().2;
    assert!(answer.trim().parse::<u64>().unwrap() > 1_000, "{answer}");
}
