#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use tempfile::TempDir;

impl Logged for u32 {
    fn log(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.extend_from_slice(&self.to_le_bytes());
        Ok(())
    }
}

impl Logged for oneshot::Sender<()> {
    fn log(&self, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

/// Its log is of no interest once it is open.
fn queue<T>(capacity: usize, linger: Duration) -> (Queue<T>, Batches<T>) {
    let folder = TempDir::new().unwrap();
    super::queue(capacity, linger, log(&folder))
}

fn log(folder: &TempDir) -> Log {
    Log::create(&folder.path().join("db"), 0, None).unwrap()
}

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

fn send(queue: &Queue<u32>, entry: u32) -> Ticket<u32> {
    queue.try_place().unwrap().send(entry).unwrap()
}

fn take(batches: &mut Batches<u32>) -> Option<Vec<u32>> {
    let mut batch = Vec::new();
    batches.take(&mut batch).then_some(batch)
}

#[test]
fn what_nobody_waits_for_goes_with_the_next_that_somebody_does() {
    let (queue, mut batches) = queue(8, NEVER);
    let thread = std::thread::spawn(move || [take(&mut batches), take(&mut batches), take(&mut batches)]);
    for entry in [1, 2] {
        drop(send(&queue, entry));
    }
    send(&queue, 3).hurry();
    // In the first batch or in the second: it may be too late for the first.
    let late = send(&queue, 4);
    send(&queue, 5).hurry();
    late.hurry();
    drop(queue);
    let batches = thread.join().unwrap();
    assert_eq!(batches.iter().flatten().flatten().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(batches[0].as_ref().unwrap().starts_with(&[1, 2, 3]), "{batches:?}");
    assert_eq!(batches[2], None);
}

#[test]
fn what_nobody_waits_for_is_given_out_all_the_same() {
    let (queue, mut batches) = queue(8, Duration::from_millis(1));
    let thread = std::thread::spawn(move || take(&mut batches));
    drop(send(&queue, 1));
    assert_eq!(thread.join().unwrap(), Some(vec![1]));
}

#[test]
fn batches_and_the_queue_are_bounded_and_keep_the_order() {
    let (queue, mut batches) = queue(BATCH + 2, NEVER);
    let sent: Vec<u32> = (0..).take(BATCH + 2).collect();
    for entry in &sent {
        drop(send(&queue, *entry));
    }
    assert!(queue.try_place().is_none());
    assert_eq!(take(&mut batches).unwrap(), sent[..BATCH]);
    send(&queue, 9_999).hurry();
    assert_eq!(take(&mut batches).unwrap(), [&sent[BATCH..], &[9_999]].concat());
    assert!(queue.try_place().is_some());
}

#[test]
fn a_closed_queue_is_emptied_first() {
    let (queue, mut batches) = queue(8, NEVER);
    let (place, weak) = (queue.try_place().unwrap(), queue.downgrade());
    drop(send(&queue, 1));
    drop(queue);
    // A place keeps it open.
    drop(place.send(2).unwrap());
    weak.abandon();
    assert_eq!(take(&mut batches), Some(vec![1, 2]));
    assert_eq!(take(&mut batches), None);
}

#[test]
fn a_queue_that_was_closed_takes_nothing_more() {
    let (queue, mut batches) = queue(8, NEVER);
    let place = queue.try_place().unwrap();
    drop(send(&queue, 1));
    queue.close();
    assert_eq!(place.send(2).unwrap_err(), Stopped::Closed);
    assert!(queue.try_place().is_none());
    assert_eq!(take(&mut batches), Some(vec![1]));
    assert_eq!(take(&mut batches), None);
}

#[test]
fn an_abandoned_queue_drops_what_is_in_it() {
    let (queue, mut batches) = queue(8, NEVER);
    let place = queue.try_place().unwrap();
    drop(send(&queue, 1));
    queue.downgrade().abandon();
    assert_eq!(place.send(2).unwrap_err(), Stopped::Closed);
    assert!(queue.try_place().is_none());
    assert_eq!(take(&mut batches), None);
}

#[tokio::test]
async fn nobody_waits_for_a_thread_that_is_gone() {
    let (queue, mut batches) = queue(1, NEVER);
    let (done, written) = tokio::sync::oneshot::channel::<()>();
    queue.place().await.unwrap().send(done).unwrap().hurry();
    assert!(batches.take(&mut Vec::new()));
    assert!(written.await.is_err());
    drop(batches);
    assert_eq!(queue.place().await.unwrap_err(), Stopped::Closed);
}

#[test]
fn what_is_sent_is_in_the_log_before_anybody_takes_it() {
    let folder = TempDir::new().unwrap();
    let (queue, mut batches) = super::queue(8, NEVER, log(&folder));
    let logged = |applied| Log::read(&folder.path().join("db"), applied).unwrap().len();
    for entry in [1, 2, 3] {
        drop(send(&queue, entry));
    }
    assert_eq!(logged(0), 3);
    queue.close();
    assert_eq!(batches.applied(), 0);
    assert_eq!(take(&mut batches), Some(vec![1, 2, 3]));
    assert_eq!(batches.applied(), 3);
    assert_eq!(logged(batches.applied()), 0);
}

#[tokio::test]
async fn a_flush_waits_for_what_was_sent_before() {
    let (queue, mut batches) = queue(8, NEVER);
    queue.flush().await.unwrap();
    drop(send(&queue, 1));
    let thread = std::thread::spawn(move || while take(&mut batches).is_some() {});
    queue.flush().await.unwrap();
    drop(queue);
    thread.join().unwrap();
}

#[tokio::test]
async fn a_broken_queue_says_why() {
    let (queue, mut batches) = queue(8, NEVER);
    let place = queue.try_place().unwrap();
    send(&queue, 1).hurry();
    assert_eq!(take(&mut batches), Some(vec![1]));
    batches.broken("no space".into());
    let broken = Stopped::Broken("no space".into());
    assert_eq!(place.send(2).unwrap_err(), broken);
    assert_eq!(queue.flush().await.unwrap_err(), broken);
    assert_eq!(take(&mut batches), None);
    drop(batches);
    assert_eq!(queue.flush().await.unwrap_err(), broken);
    assert_eq!(queue.place().await.unwrap_err(), broken);
}

#[test]
fn what_waits_and_what_is_not_done_can_be_seen() {
    let (queue, mut batches) = queue(4, Duration::ZERO);
    assert_eq!((queue.waiting(), queue.lag()), (0, Duration::ZERO));
    drop(send(&queue, 1));
    assert_eq!(queue.waiting(), 1);
    let since = Instant::now();
    assert_eq!(take(&mut batches), Some(vec![1]));
    // Taken, and not done before the next is asked for.
    assert_eq!(queue.waiting(), 0);
    let waited = since.elapsed();
    assert!(queue.lag() >= waited);
    queue.close();
    assert_eq!(take(&mut batches), None);
    assert_eq!(queue.lag(), Duration::ZERO);
}
