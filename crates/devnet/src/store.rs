//! The journal on disk: what fixes the network, and every step since, each with its time and the digest of
//! the checkpoint it made. The state itself is not stored; it is replayed.

use crate::ledger::Step;
use crate::ledger::genesis::Genesis;
use redb::{Database, DatabaseError, ReadableTable, StorageError, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use sui_sdk_types::Digest;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
const FORMAT_KEY: &str = "format";
const GENESIS_KEY: &str = "genesis";
/// Changes whenever an old journal would replay to something else.
const FORMAT: &[u8] = b"atoma-devnet/2";

/// Why the state on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path} is in use by another devnet; stop it or choose another directory")]
    InUse { path: PathBuf },
    #[error("{path} is not the state of a devnet of this version; start with --reset to replace it")]
    Foreign { path: PathBuf },
    #[error("{path} is damaged ({reason}); start with --reset to begin anew")]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} cannot be opened: {reason}; check the directory and its permissions")]
    Unreadable { path: PathBuf, reason: String },
    #[error("the journal cannot be written: {0}; check the disk")]
    Write(String),
}

/// One step as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at_ms: u64,
    pub(crate) step: Step,
    /// Digest of the checkpoint that the step made.
    pub(crate) checkpoint: Digest,
}

pub(crate) struct Store {
    database: Database,
    path: PathBuf,
}

/// A write that failed leaves nothing behind.
impl Store {
    /// Opens the journal, making it if there is none. `genesis` is used only for a new one.
    pub(crate) fn open(
        path: &Path,
        genesis: impl FnOnce() -> Genesis,
    ) -> Result<(Self, Genesis), StoreError> {
        let database = open_private(path).map_err(|error| open_error(path, error))?;
        let store = Self { database, path: path.to_owned() };
        if let Some(found) = store.read_genesis()? {
            return Ok((store, found));
        }
        let genesis = genesis();
        store.write_genesis(&genesis)?;
        Ok((store, genesis))
    }

    fn read_genesis(&self) -> Result<Option<Genesis>, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.damaged(&error))?;
        let meta = match read.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) if self.is_empty()? => return Ok(None),
            Err(TableError::TableDoesNotExist(_)) => return Err(self.foreign()),
            Err(error) => return Err(self.damaged(&error)),
        };
        let value = |key| meta.get(key).map_err(|error| self.damaged(&error));
        if value(FORMAT_KEY)?.is_none_or(|format| format.value() != FORMAT) {
            return Err(self.foreign());
        }
        let genesis = value(GENESIS_KEY)?.ok_or_else(|| self.foreign())?;
        bcs::from_bytes(genesis.value()).map(Some).map_err(|error| self.damaged(&error))
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.damaged(&error))?;
        let mut tables = read.list_tables().map_err(|error| self.damaged(&error))?;
        Ok(tables.next().is_none())
    }

    fn write_genesis(&self, genesis: &Genesis) -> Result<(), StoreError> {
        let bytes = bcs::to_bytes(genesis).map_err(write_error)?;
        let write = self.database.begin_write().map_err(write_error)?;
        {
            let mut meta = write.open_table(META).map_err(write_error)?;
            meta.insert(FORMAT_KEY, FORMAT).map_err(write_error)?;
            meta.insert(GENESIS_KEY, bytes.as_slice()).map_err(write_error)?;
            write.open_table(JOURNAL).map_err(write_error)?;
        }
        write.commit().map_err(write_error)
    }

    /// Hands every step to `replay`, oldest first.
    pub(crate) fn replay(
        &self,
        mut replay: impl FnMut(Entry) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let read = self.database.begin_read().map_err(|error| self.damaged(&error))?;
        let journal = read.open_table(JOURNAL).map_err(|error| self.damaged(&error))?;
        for (expected, row) in (1u64..).zip(journal.iter().map_err(|error| self.damaged(&error))?) {
            let (key, value) = row.map_err(|error| self.damaged(&error))?;
            if key.value() != expected {
                return Err(self.damaged(&format!("step {expected} is missing")));
            }
            let entry = bcs::from_bytes(value.value()).map_err(|error| self.damaged(&error))?;
            replay(entry).map_err(|reason| self.damaged(&format!("step {expected}: {reason}")))?;
        }
        Ok(())
    }

    /// Appends the step that made checkpoint `sequence`; on return it survives a crash.
    pub(crate) fn append(&self, sequence: u64, entry: &Entry) -> Result<(), StoreError> {
        let bytes = bcs::to_bytes(entry).map_err(write_error)?;
        let write = self.database.begin_write().map_err(write_error)?;
        {
            let mut journal = write.open_table(JOURNAL).map_err(write_error)?;
            journal.insert(sequence, bytes.as_slice()).map_err(write_error)?;
        }
        write.commit().map_err(write_error)
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), reason: reason.to_string() }
    }

    fn foreign(&self) -> StoreError {
        StoreError::Foreign { path: self.path.clone() }
    }
}

/// The seed inside decides everything random on this network: only its owner may read the file.
fn open_private(path: &Path) -> Result<Database, DatabaseError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let database = Database::builder().create_file(options.open(path).map_err(StorageError::Io)?)?;
    // An older one may have been made for everybody to read.
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(StorageError::Io)?;
    Ok(database)
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            StoreError::Foreign { path }
        }
        DatabaseError::Storage(StorageError::Io(error)) => {
            StoreError::Unreadable { path, reason: error.to_string() }
        }
        DatabaseError::UpgradeRequired(_) => StoreError::Foreign { path },
        other => StoreError::Damaged { path, reason: other.to_string() },
    }
}

fn write_error(error: impl std::fmt::Display) -> StoreError {
    StoreError::Write(error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Config;

    #[test]
    fn the_seed_is_read_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("devnet.redb");
        let genesis =
            || Genesis { seed: [7; 32], timestamp_ms: 1, params: Config::test().params, admin: None };
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(Store::open(&path, genesis).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let (_store, found) = Store::open(&path, genesis).unwrap();
        assert_eq!((mode(), found.seed), (0o600, [7; 32]));
    }
}
