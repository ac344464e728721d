//! The users key: a file of this deployment, whose id stands beside the data.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::dedupe::HashKey;
use crate::model::Timestamp;
use crate::store::{self, Store};

const SETTING: &str = "hash_key_id";

/// Why there is no key to work with. All but [`KeyError::Store`] and [`KeyError::Write`] are mended by a person.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the users key `{path}`: {source}; put the key's backup there, or run `farebox migrate` on a new database")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{path}` is not a users key: it must hold 32 hexadecimal digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The data were written with another key.
    #[error(
        "the users key `{path}` has id {found}, the database was written with key {known}: use that key, or counts of users would be wrong"
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The file's key.
        found: String,
        /// The database's key.
        known: String,
    },
    /// The file cannot be made.
    #[error("cannot write the users key `{path}`: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database cannot be asked.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Reads the key and checks that the data were written with it.
///
/// # Errors
/// See [`KeyError`].
pub async fn load(path: &Path, store: &Store, now: Timestamp) -> Result<HashKey, KeyError> {
    let key = read(path)?;
    let known = store.set_setting_once(SETTING, &key.id(), now).await?;
    let path = path.to_owned();
    if known == key.id() { Ok(key) } else { Err(KeyError::Mismatch { path, found: key.id(), known }) }
}

/// Reads the key and checks it as [`load`] does, and writes nothing. Its id.
///
/// # Errors
/// See [`KeyError`].
pub async fn examine(path: &Path, store: &Store) -> Result<String, KeyError> {
    let found = read(path)?.id();
    match store.setting(SETTING).await? {
        Some(known) if known != found => Err(KeyError::Mismatch { path: path.to_owned(), found, known }),
        _ => Ok(found),
    }
}

/// Makes a key when there is none and the database knows none; says whether it did.
///
/// # Errors
/// See [`KeyError`].
pub async fn ensure(path: &Path, store: &Store, now: Timestamp) -> Result<bool, KeyError> {
    let made = !path.exists() && store.setting(SETTING).await?.is_none() && create(path)?;
    load(path, store, now).await?;
    Ok(made)
}

fn read(path: &Path) -> Result<HashKey, KeyError> {
    let text = fs::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    parse(text.trim()).map(HashKey::new).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

/// Writes a new key that nobody but its owner may read. Whether it was us: somebody else may have been first.
fn create(path: &Path) -> Result<bool, KeyError> {
    let failed = |source| KeyError::Write { path: path.to_owned(), source };
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error.to_string())))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(mut file) => {
            writeln!(file, "{:032x}", u128::from_be_bytes(bytes)).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_private_and_made_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("farebox.key");
        assert!(create(&path).expect("a new file"));
        let first = read(&path).expect("a key").id();
        assert!(!create(&path).expect("the file is there"));
        assert_eq!(read(&path).expect("the same key").id(), first);
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a file").permissions()) & 0o777, 0o600);
    }

    #[test]
    fn anything_but_32_hexadecimal_digits_is_refused() {
        for text in
            ["", "0", "+0000000000000000000000000000000", "0123456789abcdef0123456789abcdeg", "0123456789abcdef0123456789abcdef0"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("000000000000000000000000000000ff").map(|bytes| bytes[15]), Some(255));
    }
}
