//! A request's hold on its channel. Dropped before the engine starts it leaves no trace; dropped after, it
//! books an abort for exactly what was written.

use super::{ApiError, App};
use crate::channels::Channel;
use crate::clock::wall_ms;
use crate::gate::Pass;
use crate::journal::{Entry, FullRecord, Journal, JournalError, Slot};
use crate::ledger::{Refusal, Ticket, Usage};
use atoma_inference::{Outcome, Summary};
use atoma_types::hash::Hasher;
use atoma_types::wire::{Authorization, encode};
use atoma_types::{Hash32, Receipt, RequestAuth, Signed, Status};
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Responses are kept for disputes up to this size.
const RESPONSE_KEPT_MAX: usize = 4 * 1024 * 1024;

/// Units reserved, nothing begun.
pub(super) struct Reservation {
    app: Arc<App>,
    channel: Arc<Channel>,
    ticket: Option<Ticket>,
}

impl Reservation {
    pub(super) fn new(app: &Arc<App>, channel: &Arc<Channel>, auth: &RequestAuth) -> Result<Self, ApiError> {
        let now = app.channels.shelf().clock.now();
        let ticket = {
            let mut books = channel.books();
            books.admit(auth, now).map_err(|refusal| {
                let missing = match refusal {
                    Refusal::MissingReceipt { from } => books.recent_from(from).unwrap_or_default(),
                    _ => Vec::new(),
                };
                refused(refusal, &missing)
            })?
        };
        Ok(Self { app: app.clone(), channel: channel.clone(), ticket: Some(ticket) })
    }

    /// Uses up the nonce, for good. From here on the request ends with a record.
    pub(super) fn start(mut self, slots: Slots, work: Work) -> Result<Running, ApiError> {
        let ticket = self.ticket.take().ok_or_else(ApiError::internal)?;
        let auth = &work.authorization.auth.message;
        let entry = Entry::Admitted {
            stack: auth.stack,
            nonce: ticket.nonce,
            request_hash: ticket.request_hash,
            expires_ms: auth.expires_ms,
        };
        let written = {
            let mut books = self.channel.books();
            books.start(&ticket);
            slots.first.send(entry)
        };
        let running = Running {
            app: self.app.clone(),
            channel: self.channel.clone(),
            input: work.input,
            output: 0,
            hasher: Hasher::default(),
            response: Vec::new(),
            began: work.began,
            _pass: work.pass,
            open: Some(Open { ticket, slot: slots.last, authorization: work.authorization, body: work.body }),
        };
        // Unless its nonce is safe, the request that runs already ends here.
        written?;
        Ok(running)
    }
}

/// Places in the journal's queue for the two rows of a request, so that neither has to wait later.
pub(super) struct Slots {
    first: Slot,
    last: Slot,
}

impl Slots {
    pub(super) async fn take(journal: &Journal) -> Result<Self, JournalError> {
        Ok(Self { first: journal.slot().await?, last: journal.slot().await? })
    }
}

/// What a request brings to its run.
pub(super) struct Work {
    pub(super) pass: Pass,
    pub(super) authorization: Authorization,
    pub(super) body: Bytes,
    pub(super) input: u64,
    /// When the request arrived.
    pub(super) began: Instant,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.channel.books().release(&ticket);
        }
    }
}

/// A refusal with the receipts that the client lacks.
fn refused(refusal: Refusal, missing: &[Signed<Receipt>]) -> ApiError {
    let wants_receipts = matches!(refusal, Refusal::MissingReceipt { .. });
    let error = ApiError::from(refusal);
    if !wants_receipts {
        return error;
    }
    error.with("receipts", json!(missing.iter().map(encode).collect::<Vec<_>>()))
}

/// What closing the books takes; taken once.
struct Open {
    ticket: Ticket,
    slot: Slot,
    authorization: Authorization,
    body: Bytes,
}

/// A request at work.
pub(super) struct Running {
    app: Arc<App>,
    channel: Arc<Channel>,
    open: Option<Open>,
    input: u64,
    output: u64,
    hasher: Hasher,
    response: Vec<u8>,
    began: Instant,
    /// Its place among the running.
    _pass: Pass,
}

impl Running {
    pub(super) fn app(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Its answer began.
    pub(super) fn begun(&self) {
        self.app.metrics.first_token.observe(self.began.elapsed());
    }

    /// Counts bytes that are being handed to the client, and the output tokens up to their end.
    pub(super) fn wrote(&mut self, bytes: &[u8], output_tokens: u64) {
        self.hasher.update(bytes);
        self.output = self.output.max(output_tokens);
        if self.response.len().saturating_add(bytes.len()) <= RESPONSE_KEPT_MAX {
            self.response.extend_from_slice(bytes);
        }
    }

    /// Closes the books as the engine reports, and returns the receipt once its record is safe.
    pub(super) fn finish(&mut self, summary: &Summary) -> Result<Signed<Receipt>, ApiError> {
        let open = self.open.take().ok_or_else(ApiError::internal)?;
        let status = match &summary.outcome {
            Outcome::Complete => Status::Complete,
            Outcome::Aborted => Status::Aborted,
            Outcome::Failed(_) => Status::Failed,
            Outcome::Refused { .. } => Status::Refused,
        };
        match status {
            Status::Complete => (self.input, self.output) = (summary.input_tokens, summary.output_tokens),
            Status::Refused => (self.input, self.output) = (0, 0),
            Status::Aborted | Status::Failed => {}
        }
        self.close(open, status, Hash32(summary.work), &summary.prompt_ids, &summary.output_ids)
    }

    fn close(
        &mut self,
        open: Open,
        status: Status,
        work: Hash32,
        prompt_ids: &[u32],
        output_ids: &[Vec<u32>],
    ) -> Result<Signed<Receipt>, ApiError> {
        let usage = Usage {
            input: self.input,
            output: self.output,
            response_hash: std::mem::take(&mut self.hasher).finish(),
            work,
            status,
            finished_ms: wall_ms(),
        };
        let full = Box::new(FullRecord {
            authorization: open.authorization,
            body: open.body,
            response: std::mem::take(&mut self.response),
            prompt_ids: prompt_ids.to_vec(),
            output_ids: output_ids.to_vec(),
        });
        let mut books = self.channel.books();
        match books.complete(&open.ticket, usage, &self.app.key) {
            Ok(receipt) => {
                // Under the lock, so that records reach the disk in their order.
                let written = open.slot.send(Entry::Receipt { receipt: receipt.clone(), full: Some(full) });
                drop(books);
                // Without a record there is no receipt, and an answer without one is not paid.
                written?;
                self.count(&receipt.message);
                Ok(receipt)
            }
            Err(error) => {
                books.release(&open.ticket);
                tracing::error!(%error, "cannot book a request");
                Err(ApiError::internal())
            }
        }
    }

    fn count(&self, receipt: &Receipt) {
        let metrics = &self.app.metrics;
        metrics.latency.observe(self.began.elapsed());
        match receipt.status {
            Status::Complete => metrics.completed.increment(),
            Status::Aborted => metrics.aborted.increment(),
            Status::Failed | Status::Refused => metrics.failed.increment(),
        }
        if receipt.status.is_billable() {
            metrics.input_tokens.add(receipt.input);
            metrics.output_tokens.add(receipt.output);
            metrics.units.add(receipt.units.0);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropped with books open: the client went away.
        if let Some(open) = self.open.take() {
            drop(self.close(open, Status::Aborted, Hash32::ZERO, &[], &[]));
        }
    }
}
