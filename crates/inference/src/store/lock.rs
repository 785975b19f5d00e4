//! One puller per file and machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(200);
/// Half an hour of waiting: longer than any download that is going anywhere.
const POLLS: u32 = 9000;

/// Held until dropped; the operating system lets go of it if the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock; `None` if another process keeps it for too long.
    pub(super) async fn take(path: &Path) -> std::io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        for _ in 0..POLLS {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }
}
