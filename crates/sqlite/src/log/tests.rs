#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

struct Bench {
    _folder: tempfile::TempDir,
    database: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("journal.db");
        Self { _folder: folder, database }
    }

    fn create(&self, sequence: u64) -> Log {
        Log::create(&self.database, sequence, Some(Duration::ZERO)).unwrap()
    }

    fn read(&self, applied: u64) -> Vec<(u64, Vec<u8>)> {
        let records = Log::read(&self.database, applied).unwrap();
        records.into_iter().map(|record| (record.sequence, record.bytes)).collect()
    }

    fn file(&self, which: usize) -> PathBuf {
        beside(&self.database, SUFFIXES[which])
    }
}

fn append(log: &mut Log, bytes: &[u8]) -> u64 {
    log.append(|buffer| io::Write::write_all(buffer, bytes)).unwrap()
}

#[test]
fn records_come_back_after_what_was_applied() {
    let bench = Bench::new();
    assert_eq!(bench.read(0), []);
    let mut log = bench.create(0);
    assert_eq!([append(&mut log, b"one"), append(&mut log, b""), append(&mut log, b"three")], [1, 2, 3]);
    assert_eq!(bench.read(0), [(1, b"one".to_vec()), (2, Vec::new()), (3, b"three".to_vec())]);
    assert_eq!(bench.read(2), [(3, b"three".to_vec())]);
    assert_eq!(bench.read(3), []);
    for which in 0..2 {
        let mode = std::fs::metadata(bench.file(which)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_torn_or_damaged_record_ends_it() {
    let bench = Bench::new();
    let mut log = bench.create(7);
    for bytes in [b"aaaa", b"bbbb", b"cccc"] {
        append(&mut log, bytes);
    }
    let whole = std::fs::read(bench.file(0)).unwrap();
    let record = whole.len() / 3;
    for cut in 0..whole.len() {
        std::fs::write(bench.file(0), &whole[..cut]).unwrap();
        assert_eq!(bench.read(7).len(), cut / record, "{cut} bytes");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(bench.file(0), damaged).unwrap();
        assert_eq!(bench.read(7).len(), at / record, "byte {at}");
    }
}

#[test]
fn files_take_turns_and_what_is_stale_is_not_read() {
    let bench = Bench::new();
    let mut log = bench.create(0);
    let mut last = 0;
    for turn in 0u8..5 {
        for one in 0..10 - turn {
            last = append(&mut log, &[turn, one]);
        }
        // What is before the file at hand was applied: the other file may be reused.
        let kept = bench.read(log.before);
        assert_eq!(kept.len(), usize::from(10 - turn));
        assert!(kept.iter().all(|(_, bytes)| bytes[0] == turn));
        log.turn();
    }
    // The file at hand is not begun: the other one has the newest.
    assert_eq!(bench.read(last), []);
    assert_eq!(bench.read(last - 1).len(), 1);
    // Whoever applied less lost something, and gets nothing after the gap.
    assert_eq!(bench.read(0), []);
}

#[test]
fn a_file_is_left_when_it_is_long_and_the_other_was_applied() {
    let bench = Bench::new();
    let mut log = bench.create(0);
    let last = append(&mut log, &vec![0; usize::try_from(FILE_BYTES).unwrap()]);
    assert!(log.is_long(0));
    log.turn();
    assert!(!log.is_long(last));
    append(&mut log, &vec![0; usize::try_from(FILE_BYTES).unwrap()]);
    assert!(!log.is_long(last - 1));
    assert!(log.is_long(last));
    assert_eq!(bench.read(0).len(), 2);
}

#[test]
fn a_new_log_begins_empty() {
    let bench = Bench::new();
    let mut log = bench.create(0);
    append(&mut log, b"one");
    drop(log);
    let mut log = bench.create(1);
    assert_eq!(bench.read(0), []);
    assert_eq!(append(&mut log, b"two"), 2);
    assert_eq!(bench.read(1), [(2, b"two".to_vec())]);
}
