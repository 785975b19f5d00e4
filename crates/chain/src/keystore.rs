//! Where a wallet's key rests: one file with `suiprivkey1…`, readable by its owner only.

use crate::Wallet;
use crate::cursor::sync_folder;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use sui_crypto::ed25519::Ed25519PrivateKey;
use zeroize::Zeroizing;

/// Longest keystore file that is read.
const FILE_BYTES_MAX: u64 = 1024;
/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

/// A keystore could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error("cannot access {path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{path} exists already: choose another path or move it away")]
    Exists { path: String },
    #[error("{path} can be read by others: run chmod 600 {path}")]
    Permissions { path: String },
    #[error("{place} is not an ed25519 suiprivkey: {reason}")]
    Malformed { place: String, reason: String },
    #[error("the system gave no randomness: {reason}")]
    Randomness { reason: String },
}

impl Wallet {
    pub fn generate() -> Result<Self, WalletError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())
            .map_err(|error| WalletError::Randomness { reason: error.to_string() })?;
        Ok(Self::from_seed(*seed))
    }

    /// Reads `suiprivkey1…`, as `sui keytool export` prints it.
    pub fn import(suiprivkey: &str) -> Result<Self, WalletError> {
        Self::parse("the key", suiprivkey)
    }

    /// The secret key as `suiprivkey1…`.
    pub fn export(&self) -> Zeroizing<String> {
        #[expect(clippy::expect_used, reason = "33 bytes always fit into bech32")]
        Zeroizing::new(self.key().to_suiprivkey().expect("33 bytes"))
    }

    /// Reads a keystore file; refuses one that group or others may read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, WalletError> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let io = |source| WalletError::Io { path: place.clone(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.permissions().mode() & OTHERS != 0 {
            return Err(WalletError::Permissions { path: place });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        Self::parse(&place, text.trim())
    }

    /// [`Wallet::load`], or a new wallet saved there if there is no file.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, WalletError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(WalletError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let wallet = Self::generate()?;
        match wallet.save_new(path) {
            Ok(()) => Ok(wallet),
            Err(WalletError::Exists { .. }) => Self::load(path),
            Err(error) => Err(error),
        }
    }

    /// Writes the keystore file with mode 0600; never overwrites.
    pub fn save_new(&self, path: impl AsRef<Path>) -> Result<(), WalletError> {
        let path = path.as_ref();
        self.write_new(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => WalletError::Exists { path: path.display().to_string() },
            _ => WalletError::Io { path: path.display().to_string(), source },
        })
    }

    /// Beside first, then linked to its name: a crash leaves no half a key, and no name is taken over.
    fn write_new(&self, path: &Path) -> std::io::Result<()> {
        let mut beside = path.to_path_buf().into_os_string();
        beside.push(format!(".{}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let written = file
            .write_all(self.export().as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::hard_link(&beside, path));
        std::fs::remove_file(&beside)?;
        written?;
        sync_folder(path)
    }

    fn parse(place: &str, text: &str) -> Result<Self, WalletError> {
        match Ed25519PrivateKey::from_suiprivkey(text) {
            Ok(key) => Self::from_key(&key),
            Err(error) => Err(WalletError::Malformed { place: place.to_owned(), reason: error.to_string() }),
        }
    }
}
