//! Ordered reading of what happened: pages of checkpoints, transactions or events between two positions,
//! with a watermark on every frame that never goes back.

use crate::ledger::{Checkpoint, Ledger};
use std::sync::Arc;
use sui_rpc::proto::sui::rpc::v2 as pb;
use tonic::Status;

/// Most items of one page, and the page size if none is asked for.
const ITEMS_MAX: u32 = 1_000;
/// Most checkpoints that one page looks at.
const CHECKPOINTS_MAX: u64 = 20_000;

/// A place in the ledger: a checkpoint, and within it transaction and event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) checkpoint: u64,
    index: u64,
}

impl Position {
    /// After everything in the checkpoint.
    pub(crate) fn end_of(checkpoint: u64) -> Self {
        Self { checkpoint, index: u64::MAX }
    }

    fn start_of(checkpoint: u64) -> Self {
        Self { checkpoint, index: 0 }
    }

    pub(crate) fn event(checkpoint: u64, transaction: u32, event: u32) -> Self {
        Self { checkpoint, index: (u64::from(transaction) << 32) | (u64::from(event) + 1) }
    }

    pub(crate) fn transaction(checkpoint: u64, transaction: u32) -> Self {
        Self { checkpoint, index: (u64::from(transaction) << 32) | u64::from(u32::MAX) }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.checkpoint.to_be_bytes(), self.index.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (checkpoint, index) = bytes.split_first_chunk::<8>()?;
        let index: [u8; 8] = index.try_into().ok()?;
        Some(Self { checkpoint: u64::from_be_bytes(*checkpoint), index: u64::from_be_bytes(index) })
    }
}

pub(crate) fn watermark(position: Position, covered: Option<u64>) -> pb::Watermark {
    let mut watermark = pb::Watermark::default();
    watermark.cursor = Some(position.to_bytes().into());
    watermark.checkpoint = covered;
    watermark
}

/// One frame of a page: an item, or progress, or the end.
#[derive(Debug)]
pub(crate) struct Frame<T> {
    pub(crate) item: Option<T>,
    pub(crate) position: Position,
    pub(crate) covered: Option<u64>,
    pub(crate) end: Option<pb::QueryEndReason>,
}

impl<T> Frame<T> {
    pub(crate) fn watermark(&self) -> pb::Watermark {
        watermark(self.position, self.covered)
    }

    pub(crate) fn query_end(&self) -> Option<pb::QueryEnd> {
        self.end.map(|reason| {
            let mut end = pb::QueryEnd::default();
            end.set_reason(reason);
            end
        })
    }
}

/// Which part to read.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    start: u64,
    end: Option<u64>,
    after: Option<Position>,
    before: Option<Position>,
    limit: usize,
    descending: bool,
}

impl Query {
    pub(crate) fn new(
        start: Option<u64>,
        end: Option<u64>,
        options: Option<&pb::QueryOptions>,
    ) -> Result<Self, Status> {
        let start = start.unwrap_or(0);
        if end.is_some_and(|end| end < start) {
            return Err(Status::invalid_argument("end_checkpoint is before start_checkpoint"));
        }
        let cursor = |bytes: Option<&[u8]>| match bytes {
            None => Ok(None),
            Some(bytes) => {
                let position = Position::from_bytes(bytes);
                position
                    .map(Some)
                    .ok_or_else(|| Status::invalid_argument("cursor was not made by this server"))
            }
        };
        let limit = options.and_then(|options| options.limit).filter(|limit| *limit > 0).unwrap_or(ITEMS_MAX);
        Ok(Self {
            start,
            end,
            after: cursor(options.and_then(|options| options.after.as_deref()))?,
            before: cursor(options.and_then(|options| options.before.as_deref()))?,
            limit: usize::try_from(limit.min(ITEMS_MAX)).unwrap_or(1),
            descending: options.is_some_and(|options| options.ordering() == pb::Ordering::Descending),
        })
    }

    fn admits(&self, position: Position) -> bool {
        self.after.is_none_or(|after| position > after) && self.before.is_none_or(|before| position < before)
    }
}

/// One page. `items` gives a checkpoint's matching items in order.
pub(crate) fn page<T>(
    ledger: &Ledger,
    query: &Query,
    items: impl Fn(&Arc<Checkpoint>) -> Vec<(Position, T)>,
) -> Vec<Frame<T>> {
    match query.descending {
        false => ascending(ledger, query, items),
        true => descending(ledger, query, items),
    }
}

fn ascending<T>(
    ledger: &Ledger,
    query: &Query,
    items: impl Fn(&Arc<Checkpoint>) -> Vec<(Position, T)>,
) -> Vec<Frame<T>> {
    let first = query.start.max(query.after.map_or(0, |after| after.checkpoint));
    let served = ledger.tip() + 1;
    let end = query.end.unwrap_or(u64::MAX).min(served);
    let bound = query.before.filter(|before| before.checkpoint < end);
    let scan_end = bound.map_or(end, |before| before.checkpoint + 1);
    let mut frames = Vec::new();
    for sequence in first..scan_end {
        let covered = sequence.checked_sub(1);
        if sequence - first >= CHECKPOINTS_MAX {
            let position = Position::end_of(sequence.saturating_sub(1));
            frames.push(Frame { item: None, position, covered, end: Some(pb::QueryEndReason::ScanLimit) });
            return frames;
        }
        let found = ledger.checkpoint(sequence).map(&items).unwrap_or_default();
        for (position, item) in found.into_iter().filter(|(position, _)| query.admits(*position)) {
            let covered = if position == Position::end_of(sequence) { Some(sequence) } else { covered };
            let end = (frames.len() + 1 == query.limit).then_some(pb::QueryEndReason::ItemLimit);
            frames.push(Frame { item: Some(item), position, covered, end });
            if end.is_some() {
                return frames;
            }
        }
    }
    frames.push(ascending_end(query, bound, end, served));
    frames
}

fn ascending_end<T>(query: &Query, bound: Option<Position>, end: u64, served: u64) -> Frame<T> {
    if let Some(before) = bound {
        let covered = before.checkpoint.checked_sub(1);
        return Frame { item: None, position: before, covered, end: Some(pb::QueryEndReason::CursorBound) };
    }
    let reason = match query.end {
        Some(asked) if asked <= served => pb::QueryEndReason::CheckpointBound,
        _ => pb::QueryEndReason::LedgerTip,
    };
    let covered = end.checked_sub(1);
    let reached = covered.map_or(Position::start_of(0), Position::end_of);
    let position = query.after.map_or(reached, |after| after.max(reached));
    Frame { item: None, position, covered, end: Some(reason) }
}

fn descending<T>(
    ledger: &Ledger,
    query: &Query,
    items: impl Fn(&Arc<Checkpoint>) -> Vec<(Position, T)>,
) -> Vec<Frame<T>> {
    let first = query.start.max(query.after.map_or(0, |after| after.checkpoint));
    let end = query.end.unwrap_or(u64::MAX).min(ledger.tip() + 1);
    let scan_end = query.before.map_or(end, |before| end.min(before.checkpoint.saturating_add(1)));
    let mut frames = Vec::new();
    if query.start >= end {
        let position = Position::start_of(query.start);
        frames.push(Frame { item: None, position, covered: None, end: Some(pb::QueryEndReason::LedgerTip) });
        return frames;
    }
    for sequence in (first..scan_end).rev() {
        let covered = Some(sequence + 1).filter(|above| *above < scan_end);
        if scan_end - sequence > CHECKPOINTS_MAX {
            let position = Position::start_of(sequence + 1);
            frames.push(Frame { item: None, position, covered, end: Some(pb::QueryEndReason::ScanLimit) });
            return frames;
        }
        let found = ledger.checkpoint(sequence).map(&items).unwrap_or_default();
        for (position, item) in found.into_iter().rev().filter(|(position, _)| query.admits(*position)) {
            let end = (frames.len() + 1 == query.limit).then_some(pb::QueryEndReason::ItemLimit);
            frames.push(Frame { item: Some(item), position, covered, end });
            if end.is_some() {
                return frames;
            }
        }
    }
    let (position, covered, reason) = match query.after.filter(|after| after.checkpoint >= query.start) {
        Some(after) => {
            let above = Some(after.checkpoint.saturating_add(1)).filter(|above| *above < scan_end);
            (after, above, pb::QueryEndReason::CursorBound)
        }
        None => (Position::start_of(first), Some(first), pb::QueryEndReason::CheckpointBound),
    };
    frames.push(Frame { item: None, position, covered, end: Some(reason) });
    frames
}
