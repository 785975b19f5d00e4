//! Getting the write-ahead log onto the disk.

use super::SYNC_WITHIN;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// A thread that syncs the log a moment after it grew, whatever else goes on, and ends with this.
pub(super) struct Syncer(SyncSender<()>);

impl Syncer {
    pub(super) fn spawn(wal: PathBuf) -> io::Result<Self> {
        let (grew, dirty) = sync_channel(1);
        thread::Builder::new().name("journal-sync".into()).spawn(move || sync_when_dirty(&wal, &dirty))?;
        Ok(Self(grew))
    }

    pub(super) fn grew(&self) {
        // If there is no room, it knows already.
        let _ = self.0.try_send(());
    }
}

fn sync_when_dirty(wal: &Path, dirty: &Receiver<()>) {
    while dirty.recv().is_ok() {
        thread::sleep(SYNC_WITHIN / 2);
        // What was written meanwhile is synced with the rest.
        let _ = dirty.try_recv();
        sync(wal);
    }
}

pub(super) fn sync(wal: &Path) {
    match File::open(wal).and_then(|file| file.sync_data()) {
        Ok(()) => {}
        // The log is gone when the last connection closed: then SQLite has synced the file itself.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => tracing::error!(%error, "cannot sync the journal"),
    }
}
