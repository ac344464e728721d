//! Where a running demo leaves its configuration, so that verbs in another terminal find it.
//!
//! Holds: only the user can read it and only the user's folder is used; it goes with its value. The last demo to start is the one found.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::Config;

const NAME: &str = "demo.toml";

/// The file as long as this lives.
#[derive(Debug)]
pub struct HandOff {
    folder: PathBuf,
}

impl HandOff {
    /// Leaves the configuration in the user's runtime folder.
    pub fn leave(config: &Config) -> anyhow::Result<Self> {
        Self::leave_in(folder()?, &text(config)?)
    }

    fn leave_in(folder: PathBuf, text: &str) -> anyhow::Result<Self> {
        make_private(&folder).with_context(|| format!("use the folder `{}`", folder.display()))?;
        let handoff = Self { folder };
        // Never read half written.
        let draft = handoff.folder.join(format!("{NAME}.{}", std::process::id()));
        let written = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, handoff.folder.join(NAME)));
        if written.is_err() {
            let _ = fs::remove_file(&draft); // there is none when it could not be made
        }
        written.with_context(|| format!("write `{}`", handoff.folder.join(NAME).display()))?;
        Ok(handoff)
    }
}

impl Drop for HandOff {
    fn drop(&mut self) {
        forget_in(&self.folder, std::process::id());
    }
}

/// Takes away what a demo of this process id has left, if it could not do so itself.
pub fn forget(pid: u32) {
    if let Ok(folder) = folder() {
        forget_in(&folder, pid);
    }
}

/// Another demo may have started meanwhile: its file stays.
fn forget_in(folder: &Path, pid: u32) {
    let file = folder.join(NAME);
    let is_its_own = fs::read_to_string(&file).is_ok_and(|text| text.lines().next() == Some(&first_line(pid)));
    if is_its_own {
        // Whoever removed them before has done what was wanted; a folder with something in it stays.
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(folder);
    }
}

fn first_line(pid: u32) -> String {
    format!("# pid {pid}")
}

fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(Path::new(&folder).join("farebox"));
    }
    Ok(PathBuf::from(format!("/tmp/farebox-{}", user().context("find out who we are")?)))
}

fn user() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// Everybody may write into /tmp: a folder that a stranger made there is not used.
fn make_private(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user()? {
        bail!("it is somebody else's");
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    Ok(())
}

/// What another process needs to reach this demo.
fn text(config: &Config) -> anyhow::Result<String> {
    let key_file = config.users.hash_key_file.to_str().context("the users key has a path that is not UTF-8")?;
    let section = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let sections: [(&str, toml::Table); 4] = [
        (
            "kafka",
            section(&[
                ("brokers", &config.kafka.brokers),
                ("group", &config.kafka.group),
                ("topic", &config.kafka.topic),
                ("dead_letter_topic", &config.kafka.dead_letter_topic),
            ]),
        ),
        ("clickhouse", section(&[("url", &config.clickhouse.url), ("database", &config.clickhouse.database)])),
        ("users", section(&[("hash_key_file", key_file)])),
        ("metrics", section(&[("listen", "")])),
    ];
    let table: toml::Table = sections.into_iter().map(|(name, section)| (name.to_owned(), section.into())).collect();
    Ok(format!("{}\n{}", first_line(std::process::id()), toml::to_string(&table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_the_user_alone_and_goes_with_its_value() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("farebox");
        let config = Config::defaults().expect("defaults");
        let handoff = HandOff::leave_in(folder.clone(), &text(&config).expect("text")).expect("left");
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(NAME))), (0o700, 0o600));
        let left = fs::read_to_string(folder.join(NAME)).expect("is there");
        let read = Config::from_toml(NAME, &left).expect("a configuration");
        assert_eq!((read.kafka.brokers, read.clickhouse.url), (config.kafka.brokers, config.clickhouse.url));
        assert!(left.starts_with(&format!("# pid {}\n", std::process::id())), "{left}");
        drop(handoff);
        assert!(!folder.exists());
    }

    #[test]
    fn what_another_demo_left_stays() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("farebox");
        let first = HandOff::leave_in(folder.clone(), "# pid 1\n").expect("left");
        drop(first);
        assert!(folder.join(NAME).exists());
        forget_in(&folder, 1);
        assert!(!folder.exists());
    }

    #[test]
    fn a_link_to_elsewhere_is_not_used() {
        let above = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(above.path(), above.path().join("farebox")).expect("a link");
        assert!(HandOff::leave_in(above.path().join("farebox"), "").is_err());
    }
}
