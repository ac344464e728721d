//! A demo that is alive on this machine: verbs that ask for no other configuration use its servers.
//!
//! The demo writes its configuration into the user's own runtime folder, with its process id in the first line. Holds: a file that is
//! left of a demo that has ended is not used, nor one that somebody else has put there.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The configuration of the demo that is alive, if one is.
pub(super) fn demo_configuration() -> Option<PathBuf> {
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => Path::new(&folder).join("farebox"),
        None => PathBuf::from(format!("/tmp/farebox-{user}")),
    };
    alive(&folder.join("demo.toml"), user)
}

fn alive(file: &Path, user: u32) -> Option<PathBuf> {
    let is_ours = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.uid() == user);
    if !is_ours(file.parent()?) || !is_ours(file) {
        return None; // everybody may write into /tmp
    }
    let text = std::fs::read_to_string(file).ok()?;
    let process: u32 = text.lines().next()?.strip_prefix("# pid ")?.trim().parse().ok()?;
    is_alive(process).then(|| file.to_owned())
}

/// Whether a process of that id runs; one that has ended and was not waited for does not.
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_demo_counts_while_its_process_lives_and_its_file_is_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("demo.toml");
        let user = std::fs::metadata("/proc/self").expect("this process").uid();
        assert_eq!(alive(&file, user), None);
        std::fs::write(&file, format!("# pid {}\n[kafka]\n", std::process::id())).expect("written");
        assert_eq!(alive(&file, user), Some(file.clone()));
        assert_eq!(alive(&file, user + 1), None, "of somebody else");

        let mut ended = Command::new("true").spawn().expect("a process");
        ended.wait().expect("its end");
        for text in [format!("# pid {}\n", ended.id()), "[kafka]\n".to_owned(), "# pid x\n".to_owned(), String::new()] {
            std::fs::write(&file, &text).expect("written");
            assert_eq!(alive(&file, user), None, "{text}");
        }
    }
}
