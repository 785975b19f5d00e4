//! A cursor that survives a crash.

use crate::EventCursor;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The cursor's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    #[error("cannot access {path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{path} is not a cursor: remove it to start over")]
    Malformed { path: String },
}

/// Persists an [`EventCursor`]: written beside, synced, renamed, so that a crash leaves the old or the
/// new one. One writer per file. The calls block for a disk write.
#[derive(Debug)]
pub struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// `None` if there is no file yet.
    pub fn load(&self) -> Result<Option<EventCursor>, CursorError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| CursorError::Malformed { path: self.path.display().to_string() }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(error)),
        }
    }

    pub fn store(&self, cursor: &EventCursor) -> Result<(), CursorError> {
        self.replace(cursor).map_err(|error| self.io(error))
    }

    fn replace(&self, cursor: &EventCursor) -> std::io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(cursor)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        sync_folder(&self.path)
    }

    fn io(&self, source: std::io::Error) -> CursorError {
        CursorError::Io { path: self.path.display().to_string(), source }
    }
}

/// Makes a new name in the folder of `path` durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
