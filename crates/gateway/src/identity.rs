//! Two secrets of a data folder: by which name its gateway leases money, and what its operator proves itself with.

use crate::keys::{NoRandomness, hash_of};
use crate::store::StoreError;
use atoma_types::Hash32;
use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use subtle::ConstantTimeEq as _;

const INSTANCE: &str = "instance";
/// File of the data folder with the operator's token.
pub const OPERATOR_TOKEN: &str = "operator.token";
/// What an operator's token starts with.
pub(crate) const OPERATOR_PREFIX: &str = "atoma-operator-";

/// The name of the gateway with this data folder, made when there is none.
pub(crate) fn of(data: &Path) -> Result<String, StoreError> {
    kept(&data.join(INSTANCE), "")
}

/// The hash of the operator's token. The token is in the data folder, for its owner only.
pub(crate) struct OperatorToken(Hash32);

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

impl OperatorToken {
    pub(crate) fn of(data: &Path) -> Result<Self, StoreError> {
        Ok(Self(hash_of(&kept(&data.join(OPERATOR_TOKEN), OPERATOR_PREFIX)?)))
    }

    pub(crate) fn is(&self, token: &str) -> bool {
        self.0.0.ct_eq(&hash_of(token).0).into()
    }
}

/// What the file holds; a new secret if there is none yet.
fn kept(path: &Path, prefix: &str) -> Result<String, StoreError> {
    let access = |error: std::io::Error| StoreError::Access {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().len() > prefix.len() => return Ok(text.trim().to_owned()),
        Ok(_) => return Err(StoreError::Corrupt(format!("{} is cut off: remove it", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(access(error)),
    }
    let secret = format!("{prefix}{}", random_hex().map_err(|NoRandomness| StoreError::NoRandomness)?);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(access)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(access)?;
    file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(access)?;
    Ok(secret)
}

/// 256 random bits.
pub(crate) fn random_hex() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(hex::encode(bytes))
}
