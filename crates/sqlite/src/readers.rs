//! Connections that only read.

use crate::blocking;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Reads at a time; further ones wait.
const AT_ONCE: usize = 2;

/// Reads a file that somebody else writes. Clones share its connections, which are opened when they are needed.
#[derive(Clone, Debug)]
pub struct Readers {
    path: Arc<Path>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), places: Arc::new(Semaphore::new(AT_ONCE)), idle: Arc::default() }
    }

    /// Sees everything that was committed when it begins.
    pub async fn read<T, E>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        // Never closed.
        let place = Arc::clone(&self.places).acquire_owned().await;
        let readers = self.clone();
        blocking(move || {
            let connection = readers.connection()?;
            let result = read(&connection);
            readers.idle().push(connection);
            drop(place);
            result
        })
        .await
    }

    /// Closes the connections that nobody uses.
    pub fn close(&self) {
        self.idle().clear();
    }

    fn connection(&self) -> Result<Connection, rusqlite::Error> {
        let kept = self.idle().pop();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        kept.map_or_else(|| Connection::open_with_flags(&self.path, flags), Ok)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
