#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

fn send(queue: &Queue<u32>, entry: u32) -> Ticket<u32> {
    queue.try_place().unwrap().send(entry)
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
    drop(place.send(2));
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
    place.send(2).hurry();
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
    drop(place.send(2));
    assert!(queue.try_place().is_none());
    assert_eq!(take(&mut batches), None);
}

#[tokio::test]
async fn nobody_waits_for_a_thread_that_is_gone() {
    let (queue, mut batches) = queue(1, NEVER);
    let (done, written) = tokio::sync::oneshot::channel::<()>();
    queue.place().await.unwrap().send(done).hurry();
    assert!(batches.take(&mut Vec::new()));
    assert!(written.await.is_err());
    drop(batches);
    assert!(queue.place().await.is_none());
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
