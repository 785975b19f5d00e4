//! The receipt key's file: 32 bytes of seed in hex, readable by its owner alone.

use atoma_types::SecretKey;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot access the key file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the key file {0} can be read by others; run chmod 600 on it")]
    Permissions(PathBuf),
    #[error("{0} is not a key file: it must hold 64 hex digits")]
    Malformed(PathBuf),
    #[error("the system gave no randomness")]
    Randomness,
}

/// Reads a receipt key.
pub fn load_key(path: &Path) -> Result<SecretKey, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Permissions(path.to_owned()));
    }
    let mut text = String::new();
    file.take(256).read_to_string(&mut text).map_err(io)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| KeyError::Malformed(path.to_owned()))?;
    Ok(SecretKey::from_seed(seed))
}

/// Reads a receipt key, or makes one if there is no file.
pub fn load_or_create_key(path: &Path) -> Result<SecretKey, KeyError> {
    match load_key(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => create_key(path),
        other => other,
    }
}

fn create_key(path: &Path) -> Result<SecretKey, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| KeyError::Randomness)?;
    let key = SecretKey::from_seed(seed);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    writeln!(file, "{}", hex::encode(*key.to_seed())).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_key_survives_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipt.key");
        let made = load_or_create_key(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create_key(&path).unwrap().public_key(), made.public_key());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_key(&path), Err(KeyError::Permissions(_))));
    }

    #[test]
    fn nonsense_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receipt.key");
        std::fs::write(&path, "hello").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_create_key(&path), Err(KeyError::Malformed(_))));
    }
}
