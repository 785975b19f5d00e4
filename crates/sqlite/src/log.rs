//! A write-ahead log in front of a database: what is appended is in the operating system's hands when that returns, so
//! that killing the process loses nothing, and on the disk a moment later. The database follows in batches.
//!
//! Two files take turns. A record is `crc32 | length | sequence | bytes`, little-endian, with the checksum over all that
//! follows it. Sequences have no gaps, so whatever a file held before it was reused cannot be taken for something new.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// From this size on the other file is written, as soon as the database has all of it.
const FILE_BYTES: u64 = 8 * 1024 * 1024;
const HEADER: usize = 16;
/// What the buffer for records keeps at most.
const BUFFER_BYTES: usize = 64 * 1024;
const SUFFIXES: [&str; 2] = ["-log0", "-log1"];

/// One entry that may not be in the database yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1.
    pub sequence: u64,
    pub bytes: Vec<u8>,
}

/// Where records are appended.
#[derive(Debug)]
pub struct Log {
    files: [Arc<File>; 2],
    current: usize,
    /// Where the next record goes.
    end: u64,
    /// Of the last record.
    sequence: u64,
    /// Of the last record in the other file.
    before: u64,
    buffer: Vec<u8>,
    syncer: Syncer,
}

impl Log {
    /// The records after `applied` of the log beside a database, in order, up to the first that is missing or damaged:
    /// a power failure may take the last ones.
    pub fn read(database: &Path, applied: u64) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for suffix in SUFFIXES {
            match std::fs::read(beside(database, suffix)) {
                Ok(bytes) => records.extend(Records { bytes: &bytes, last: None }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        records.retain(|record| record.sequence > applied);
        records.sort_by_key(|record| record.sequence);
        let expected = (applied..).skip(1);
        Ok(records
            .into_iter()
            .zip(expected)
            .take_while(|(one, next)| one.sequence == *next)
            .map(first)
            .collect())
    }

    /// An empty log that goes on after `sequence`. Whatever the files held must be in the database, on the disk. A
    /// record is on the disk `sync_within` after it was appended, or whenever the system likes.
    pub fn create(database: &Path, sequence: u64, sync_within: Option<Duration>) -> io::Result<Self> {
        let files = [create(&beside(database, SUFFIXES[0]))?, create(&beside(database, SUFFIXES[1]))?];
        let syncer = Syncer::spawn(&files, sync_within)?;
        Ok(Self { files, current: 0, end: 0, sequence, before: sequence, buffer: Vec::new(), syncer })
    }

    /// Appends what `write` writes, and returns its sequence. If that fails, the log must not be used any more.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<u64> {
        let sequence = self.sequence.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; HEADER]);
        write(&mut self.buffer)?;
        let length = u32::try_from(self.buffer.len() - HEADER).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.buffer[4..8].copy_from_slice(&length.to_le_bytes());
        self.buffer[8..16].copy_from_slice(&sequence.to_le_bytes());
        let sum = crc32fast::hash(&self.buffer[4..]);
        self.buffer[..4].copy_from_slice(&sum.to_le_bytes());
        self.files[self.current].write_all_at(&self.buffer, self.end)?;
        self.end = self.end.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
        self.sequence = sequence;
        self.buffer.shrink_to(BUFFER_BYTES);
        self.syncer.grew();
        Ok(sequence)
    }

    /// Of the last record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the other file should be used, once the database is on the disk.
    pub fn is_long(&self, applied: u64) -> bool {
        self.end >= FILE_BYTES && self.before <= applied
    }

    /// Reuses the other file. All of it must be in the database, on the disk.
    pub fn turn(&mut self) {
        self.current = 1 - self.current;
        self.end = 0;
        self.before = self.sequence;
    }
}

fn first<A, B>(pair: (A, B)) -> A {
    pair.0
}

/// What is readable of a file.
struct Records<'a> {
    bytes: &'a [u8],
    last: Option<u64>,
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let (header, rest) = self.bytes.split_first_chunk::<HEADER>()?;
        let sum = u32::from_le_bytes(*header.first_chunk()?);
        let length = u32::from_le_bytes(*header[4..].first_chunk()?);
        let sequence = u64::from_le_bytes(*header[8..].first_chunk()?);
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
        let is_whole = crc32fast::hash(self.bytes.get(4..HEADER + length)?) == sum;
        let follows = self.last.is_none_or(|last| last.checked_add(1) == Some(sequence));
        if !is_whole || !follows {
            return None;
        }
        let (bytes, rest) = rest.split_at(length);
        self.bytes = rest;
        self.last = Some(sequence);
        Some(Record { sequence, bytes: bytes.to_vec() })
    }
}

/// An empty file that only its owner can read.
fn create(path: &Path) -> io::Result<Arc<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(Arc::new(file))
}

/// A file that belongs to the one at `path`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A thread that brings the log onto the disk a moment after it grew, whatever else goes on, and ends with this.
#[derive(Debug)]
struct Syncer(Option<SyncSender<()>>);

impl Syncer {
    fn spawn(files: &[Arc<File>; 2], within: Option<Duration>) -> io::Result<Self> {
        let Some(within) = within else { return Ok(Self(None)) };
        let (grew, dirty) = sync_channel(1);
        let files = files.clone();
        let sync = move || sync_when_dirty(&files, within / 2, &dirty);
        thread::Builder::new().name("log-sync".into()).spawn(sync)?;
        Ok(Self(Some(grew)))
    }

    fn grew(&self) {
        // If there is no room, it knows already.
        let _ = self.0.as_ref().map(|grew| grew.try_send(()));
    }
}

fn sync_when_dirty(files: &[Arc<File>; 2], pause: Duration, dirty: &Receiver<()>) {
    while dirty.recv().is_ok() {
        thread::sleep(pause);
        // What was written meanwhile is synced with the rest.
        let _ = dirty.try_recv();
        for file in files {
            if let Err(error) = file.sync_data() {
                tracing::error!(%error, "cannot sync the log");
            }
        }
    }
}
