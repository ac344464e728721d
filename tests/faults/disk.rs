//! ClickHouse's disk refuses to put a part in place.
//!
//! The engine notes a token before it renames the part. When the rename fails, the token stands without rows, and every retry under it
//! answers success: the witness alone shows that nothing is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::bench::{Bench, TABLES};
use super::outcome;
use super::proxy::{Do, When};
use super::servers::{ClickHouse, Folder, Kafka, SOON, eventually};

/// Refuses, with the error number that stands in the file `FAREBOX_RENAME_FLAG` while there is one, to rename a part that was inserted
/// into its place, if its path holds the word behind the number. -1: the server dies there instead, before the rename; -2: behind it.
/// Each refusal leaves a line in the file of the same name with `.log` behind it.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

static int refusal(const char *from) {
    const char *flag = getenv("FAREBOX_RENAME_FLAG");
    char name[4096], word[256] = "";
    int number = 0;
    FILE *file;
    if (flag == NULL || strstr(from, "/tmp_insert_") == NULL || (file = fopen(flag, "r")) == NULL) return 0;
    if (fscanf(file, "%d %255s", &number, word) < 1) number = 0;
    fclose(file);
    if (number == 0 || strstr(from, word) == NULL) return 0;
    snprintf(name, sizeof name, "%s.log", flag);
    if ((file = fopen(name, "a")) != NULL) {
        fprintf(file, "%d %s\n", number, from);
        fclose(file);
    }
    return number;
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int number = refusal(from);
    if (number > 0) {
        errno = number;
        return -1;
    }
    if (number == -2) next(from, to);
    if (number < 0) kill(getpid(), SIGKILL);
    return next(from, to);
}
"#;

/// A ClickHouse whose disk refuses on demand.
pub struct Disk {
    flag: PathBuf,
    _folder: Folder,
}

impl Disk {
    pub fn new() -> (Self, ClickHouse) {
        let folder = Folder::new("disk");
        let (source, library) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
        fs::write(&source, SHIM).unwrap();
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
        let compiled = compiled.expect("start cc");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let flag = folder.path().join("refuse");
        let clickhouse = ClickHouse::start_with_preload(&library, &[("FAREBOX_RENAME_FLAG", &flag)]);
        (Self { flag, _folder: folder }, clickhouse)
    }

    pub fn refusals(&self) -> usize {
        fs::read_to_string(self.flag.with_extension("log")).unwrap_or_default().lines().count()
    }

    /// Refuses until it refused so many more.
    pub fn refuse(&self, error: i32, count: usize) {
        let before = self.refusals();
        write_whole(&self.flag, &error.to_string());
        eventually(SOON, || match self.refusals() - before {
            refused if refused >= count => Ok(()),
            refused => Err(format!("{refused} of {count} refusals")),
        });
        fs::remove_file(&self.flag).unwrap();
    }

    /// Refuses what lies in the folder of a table while `during` runs.
    pub fn refuse_while(&self, error: i32, table: &str, during: impl FnOnce()) {
        write_whole(&self.flag, &format!("{error} {table}"));
        during();
        fs::remove_file(&self.flag).unwrap();
    }

    /// The server dies as by `kill -9` when it puts the next part of a table in place, and is started again.
    pub fn die(&self, clickhouse: &mut ClickHouse, database: &str, table: &str, moment: Moment) {
        write_whole(&self.flag, &format!("{} {}", moment as i32, folder_of(clickhouse, database, table)));
        eventually(SOON, || if clickhouse.died() { Ok(()) } else { Err("ClickHouse still lives") });
        fs::remove_file(&self.flag).unwrap();
        clickhouse.restart();
    }
}

/// When the server dies.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The token is noted, the part is not in its place.
    BeforeRename = -1,
    /// The part is in its place, nobody was told.
    AfterRename = -2,
}

/// What the path of a table's parts holds.
fn folder_of(clickhouse: &ClickHouse, database: &str, table: &str) -> String {
    let sql = format!("SELECT uuid FROM system.tables WHERE database = '{database}' AND name = '{table}'");
    clickhouse.query(&sql).trim().to_owned()
}

fn write_whole(path: &Path, text: &str) {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, path).unwrap();
}

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

#[test]
fn a_disk_that_refuses_for_some_seconds_stops_no_partition() {
    let (disk, clickhouse) = Disk::new();
    let bench = Bench::new(Kafka::shared().brokers(), &clickhouse, 1);
    let mut instances = [bench.start()];
    bench.under_load(|| {
        bench.scenario.wait_for_more(&clickhouse, 100);
        // Long enough to burn all ten tokens of a block, were they used one after the other without a rest.
        let folder = folder_of(&clickhouse, &bench.scenario.farebox.database, "batches");
        disk.refuse_while(ENOSPC, &folder, || thread::sleep(Duration::from_secs(7)));
        bench.scenario.wait_for_more(&clickhouse, 100);
    });
    let totals = bench.finish(&clickhouse, &mut instances);
    outcome::record("disk refuses the rename of a part for seconds", disk.refusals() as u64, &totals);
}

#[test]
fn tokens_without_rows_are_found_by_the_witness_and_repaired() {
    let (disk, mut clickhouse) = Disk::new();
    let bench = Bench::new(Kafka::shared().brokers(), &clickhouse, 2);
    let mut instances = [bench.start()];
    let repaired = bench.proxy.on(When::request(|request| request.token.ends_with("/r1")), Do::Pass);
    bench.under_load(|| {
        for error in [EIO, ENOSPC, EIO, ENOSPC] {
            bench.scenario.wait_for_more(&clickhouse, 100);
            disk.refuse(error, 3);
        }
        // The server forgets nothing of it by a crash.
        bench.scenario.wait_for_more(&clickhouse, 100);
        disk.refuse(EIO, 3);
        clickhouse.kill9();
        clickhouse.restart();
    });
    let totals = bench.finish(&clickhouse, &mut instances);
    let (refusals, burnt) = (disk.refusals() as u64, repaired.hits());
    assert!(burnt > 0, "{refusals} refusals burnt no token\n{}", instances[0].process.log());
    let note = format!("{burnt} tokens were burnt: success answered, no rows; written under the next token");
    outcome::record("disk refuses the rename of a part (EIO, ENOSPC)", refusals, &(&totals, note.as_str()));
}

#[test]
fn a_server_that_dies_between_token_and_part_or_right_behind_the_part_changes_nothing() {
    let (disk, mut clickhouse) = Disk::new();
    let bench = Bench::new(Kafka::shared().brokers(), &clickhouse, 2);
    let mut instances = [bench.start()];
    let repaired = bench.proxy.on(When::request(|request| request.token.ends_with("/r1")), Do::Pass);
    bench.under_load(|| {
        for moment in [Moment::BeforeRename, Moment::AfterRename] {
            for table in TABLES {
                disk.die(&mut clickhouse, &bench.scenario.farebox.database, table, moment);
                bench.scenario.wait_for_more(&clickhouse, 50);
            }
        }
    });
    let totals = bench.finish(&clickhouse, &mut instances);
    let burnt = repaired.hits();
    assert!(burnt >= 5, "{burnt} tokens were burnt\n{}", instances[0].process.log());
    let note = format!("{burnt} tokens were burnt");
    outcome::record("ClickHouse dies between the token and the rename of the part", 5, &(&totals, note.as_str()));
    outcome::record("ClickHouse dies behind the rename of the part", 5, &totals);
}
