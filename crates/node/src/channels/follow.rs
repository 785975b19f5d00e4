//! Keeps channels up to date from the chain's events.

use super::Channels;
use crate::journal::Entry;
use atoma_chain::{ChainError, EventCursor, EventFrame};
use atoma_types::Address;
use atoma_types::onchain::Event;
use futures::StreamExt as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Pause before the stream is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// How often a cursor that only reports progress is kept.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Runs until cancelled. Events are processed, then their cursor is journaled: after a crash some come
/// again, which changes nothing, because each only makes the node read the stack.
pub(crate) async fn follow_events(channels: Channels, from: Option<EventCursor>, stop: CancellationToken) {
    let mut follower = Follower { channels, cursor: from, kept: None };
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = follower.follow() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REOPEN_AFTER) => {}
        }
    }
}

struct Follower {
    channels: Channels,
    cursor: Option<EventCursor>,
    kept: Option<Instant>,
}

impl Follower {
    async fn follow(&mut self) {
        let mut events = self.channels.shelf().market.events(self.cursor.clone());
        while let Some(frame) = events.next().await {
            match frame {
                Ok(frame) => self.step(frame).await,
                Err(error @ ChainError::MalformedEvent { .. }) => {
                    tracing::warn!(%error, "passed over an event")
                }
                Err(error @ ChainError::WrongChain { .. }) => {
                    tracing::error!(%error, "the journaled cursor is of another chain; following from now on");
                    self.cursor = None;
                    self.channels.mark_all_stale();
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the event stream ended");
                    return;
                }
            }
        }
    }

    async fn step(&mut self, frame: EventFrame) {
        if let Some(Event::NodeDisabled(disabled)) = frame.event.as_ref().map(|event| &event.event)
            && disabled.node == self.channels.shelf().node
        {
            self.end_all(disabled.at_ms).await;
        }
        let stack = frame.event.as_ref().and_then(|event| stack_of(&event.event));
        let ours = match stack {
            Some(stack) => self.touch(stack).await,
            None => false,
        };
        self.cursor = Some(frame.cursor);
        let due = self.kept.is_none_or(|kept| kept.elapsed() >= PROGRESS_EVERY);
        if ours || due {
            self.keep_cursor().await;
        }
    }

    /// This node was disabled: its channels end, and what is signed settles for the close delay only.
    async fn end_all(&self, at_ms: u64) {
        tracing::warn!("this node was disabled on chain; settling what it holds");
        self.channels.shelf().disabled_ms.store(at_ms, Ordering::Relaxed);
        // Marked first: one that is being looked up is read once more.
        self.channels.mark_all_stale();
        for channel in self.channels.all() {
            self.touch(channel.terms.stack).await;
        }
    }

    /// True if the stack is one of ours.
    async fn touch(&self, stack: Address) -> bool {
        self.channels.state().absent.remove(&stack);
        if !self.channels.mark_stale(stack) {
            return false;
        }
        if let Err(error) = self.channels.refresh(stack).await {
            // It stays marked, and the settler's next round reads it first.
            tracing::warn!(%stack, %error, "cannot read a stack after its event");
        }
        true
    }

    async fn keep_cursor(&mut self) {
        let Some(cursor) = &self.cursor else { return };
        let Ok(json) = serde_json::to_string(cursor) else { return };
        if let Err(error) = self.channels.shelf().journal.write(Entry::Cursor(json)).await {
            tracing::warn!(%error, "cannot keep the event cursor");
        }
        self.kept = Some(Instant::now());
    }
}

fn stack_of(event: &Event) -> Option<Address> {
    match event {
        Event::StackAcquired(event) => Some(event.stack),
        Event::ChannelOpened(event) => Some(event.stack),
        Event::Settled(event) => Some(event.stack),
        Event::ChannelRevoked(event) => Some(event.stack),
        Event::ChannelReleased(event) => Some(event.stack),
        Event::ChannelReclaimed(event) => Some(event.stack),
        Event::CloseRequested(event) => Some(event.stack),
        Event::Refunded(event) => Some(event.stack),
        Event::StackDeleted(event) => Some(event.stack),
        _ => None,
    }
}
