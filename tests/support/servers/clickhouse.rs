//! ClickHouse embedded, as the demo runs it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use farebox::demo::embedded::Embedded;
use serde::de::DeserializeOwned;

use super::{Folder, fetched, free_port, http, unique};

/// One engine with a folder of its own, ready in 0.3 s (2 s after a long pause, from a cold disk), 250 MB.
#[derive(Debug)]
pub struct ClickHouse {
    // Before the folder: killed first, removed then.
    engine: Option<Embedded>,
    folder: Folder,
    port: u16,
    /// The binary that serves the engine, or a script that runs it.
    binary: PathBuf,
}

impl ClickHouse {
    pub fn start() -> Self {
        let mut server = Self::make();
        server.restart();
        server
    }

    fn make() -> Self {
        let binary = env!("CARGO_BIN_EXE_farebox").into();
        Self { engine: None, folder: Folder::new("clickhouse"), port: free_port(), binary }
    }

    /// With a library of C functions before those of the system, and variables for it.
    pub fn start_with_preload(library: &Path, variables: &[(&str, &Path)]) -> Self {
        let mut server = Self::make();
        let script = server.folder.path().join("start.sh");
        let mut lines = format!("#!/bin/sh\nexport LD_PRELOAD='{}'\n", library.display());
        for (name, value) in variables {
            lines += &format!("export {name}='{}'\n", value.display());
        }
        fs::write(&script, format!("{lines}exec '{}' \"$@\"\n", server.binary.display())).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        server.binary = script;
        server.restart();
        server
    }

    /// With users from a file, as it lies in `users.d` of a server, and variables for it. The user `default` stays: the embedded engine asks as it itself.
    pub fn start_with_users(users: &Path, variables: &[(&str, &str)]) -> Self {
        let mut server = Self::make();
        let folder = server.folder.path().to_owned();
        // The engine looks for config.xml where it is started.
        fs::write(folder.join("config.xml"), "<clickhouse><users_config>users.xml</users_config></clickhouse>").unwrap();
        let usual = "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password/><profile>default</profile><quota>default</quota>\
                     <networks><ip>::/0</ip></networks></default></users></clickhouse>";
        fs::write(folder.join("users.xml"), usual).unwrap();
        fs::create_dir(folder.join("users.d")).unwrap();
        let users = fs::read_to_string(users).unwrap();
        assert!(users.contains("<default remove=\"remove\"/>"));
        fs::write(folder.join("users.d/farebox.xml"), users.replace("<default remove=\"remove\"/>", "")).unwrap();
        let mut lines = format!("#!/bin/sh\ncd '{}'\n", folder.display());
        for (name, value) in variables {
            lines += &format!("export {name}='{value}'\n");
        }
        let script = folder.join("start.sh");
        fs::write(&script, format!("{lines}exec '{}' \"$@\"\n", server.binary.display())).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        server.binary = script;
        server.restart();
        server
    }

    /// The one that tests share which kill nothing; each takes its own [`Self::database`].
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ClickHouse> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts it on its data and its port, after [`Self::kill9`] or instead.
    pub fn restart(&mut self) {
        self.kill9();
        let library = fetched("clickhouse/libchdb.so");
        let engine = Embedded::start_from(&self.binary, &library, &self.folder.path().join("data"), self.port);
        self.engine = Some(engine.unwrap_or_else(|error| panic!("{error:#}")));
    }

    pub fn kill9(&mut self) {
        self.engine = None;
    }

    /// Whether it ended without being asked to.
    pub fn died(&mut self) -> bool {
        let engine = self.engine.as_mut().expect("the engine was started");
        engine.died().expect("look after ClickHouse").is_some()
    }

    /// Its process, while it was not killed.
    pub fn pid(&self) -> Option<u32> {
        self.engine.as_ref().map(Embedded::pid)
    }

    /// The engine may die by itself; a test that waits for something else should know.
    pub fn assert_alive(&mut self) {
        let engine = self.engine.as_mut().expect("the engine was started");
        let died = engine.died().expect("look after ClickHouse");
        assert!(died.is_none(), "ClickHouse died by itself ({died:?}): {}", engine.last_words());
    }

    /// Its data and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A fresh database.
    pub fn database(&self) -> String {
        let name = unique("it");
        self.query(&format!("CREATE DATABASE {name}"));
        name
    }

    /// What the server answers, lines of tabs unless the query names another format.
    pub fn try_query(&self, sql: &str) -> Result<String, String> {
        self.ask("/", sql)
    }

    fn ask(&self, path: &str, sql: &str) -> Result<String, String> {
        let (status, head, body) = http(self.port, "POST", path, sql.as_bytes()).map_err(|error| error.to_string())?;
        // By line: the name also stands in the list of headers that a browser may see.
        let refused = head.lines().any(|line| line.to_ascii_lowercase().starts_with("x-clickhouse-exception-code:"));
        // An error after the first rows comes at the end of a body that began as a success.
        if status != 200 || refused || body.contains("__exception__") { Err(body) } else { Ok(body) }
    }

    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The rows of a query; 64-bit integers come as numbers, decimals as strings.
    pub fn rows<T: DeserializeOwned>(&self, sql: &str) -> Vec<T> {
        const AS_JSON: &str =
            "/?default_format=JSONEachRow&output_format_json_quote_64bit_integers=0&output_format_json_quote_decimals=1";
        let answer = self.ask(AS_JSON, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        answer.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}
