//! Acknowledgements in, receipts out.

use super::body::within;
use super::info::StackQuery;
use super::{ApiError, App};
use crate::channels::Channel;
use crate::journal::Entry;
use crate::ledger::{Acknowledged, RECEIPTS_PER_PAGE, VoucherRefusal};
use atoma_types::wire::{self, encode};
use atoma_types::{Address, Signed, Voucher};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest as _, Query, Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Largest body that brings a voucher: several times what one takes.
pub(super) const SUBMISSION_BYTES_MAX: usize = 4 * 1024;

#[derive(Deserialize)]
pub(super) struct Submission {
    voucher: String,
}

#[derive(Serialize)]
pub(super) struct Accepted {
    count: u64,
}

/// `POST /v1/vouchers`. Unlike one that travels with a request, which others may overtake, an older voucher
/// is an error here.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Accepted>, ApiError> {
    let body = within(app.limits.body_time(), Json::<Submission>::from_request(request, &())).await?;
    let Json(submission) = body.map_err(rejected)?;
    let signed: Signed<Voucher> = wire::decode(&submission.voucher)
        .map_err(|error| ApiError::bad_request("malformed_voucher", format!("the voucher is {error}")))?;
    let channel = app.channels.find(signed.message.stack).await?;
    take(&app, &channel, &signed).await?;
    let acknowledged = channel.books().acknowledged_count();
    if signed.message.count < acknowledged {
        return Err(VoucherRefusal::Backwards { voucher: signed.message.count, acknowledged }.into());
    }
    Ok(Json(Accepted { count: acknowledged }))
}

fn rejected(rejection: JsonRejection) -> ApiError {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the body may have {SUBMISSION_BYTES_MAX} bytes");
        return ApiError::new(status, "body_too_large", message);
    }
    ApiError::new(status, "invalid_request", rejection.body_text())
}

/// Takes a voucher into the books and writes it down, if it is news.
pub(super) async fn take(app: &App, channel: &Channel, voucher: &Signed<Voucher>) -> Result<(), ApiError> {
    voucher.verify(&channel.terms.request_key).map_err(|_| VoucherRefusal::Signature)?;
    let slot = app.journal.slot().await?;
    let mut books = channel.books();
    let before = books.acknowledged_units();
    match books.acknowledge(voucher)? {
        Acknowledged::Unchanged => Ok(()),
        Acknowledged::Advanced => {
            let written = slot.send(Entry::Voucher(voucher.clone()));
            drop(books);
            written?;
            app.metrics.vouchers.increment();
            app.metrics.acknowledged_units.add(voucher.message.units.saturating_sub(before).0);
            Ok(())
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ReceiptsQuery {
    stack: Address,
    from: u64,
}

#[derive(Serialize)]
pub(super) struct Receipts {
    receipts: Vec<String>,
    /// Of those receipts that are for requests which other nodes passed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forwards: Vec<String>,
}

/// `GET /v1/receipts?stack=0x…&from=N`: at most a page, from memory if it is there.
pub(super) async fn receipts(
    State(app): State<Arc<App>>,
    query: Result<Query<ReceiptsQuery>, QueryRejection>,
) -> Result<Json<Receipts>, ApiError> {
    let Query(query) =
        query.map_err(|rejection| ApiError::bad_request("invalid_request", rejection.body_text()))?;
    let channel = app.channels.find(query.stack).await?;
    let from = query.from.max(1);
    let recent = channel.books().recent_from(from);
    let receipts = match recent {
        Some(receipts) => receipts,
        None => {
            let page = i64::try_from(RECEIPTS_PER_PAGE).unwrap_or(i64::MAX);
            app.journal.receipts_from(query.stack, from, page).await?
        }
    };
    let requests = receipts.iter().map(|receipt| receipt.message.request_hash).collect();
    let forwards = app.journal.forwards_of(query.stack, requests).await?;
    let receipts = receipts.iter().map(encode).collect();
    Ok(Json(Receipts { receipts, forwards: forwards.iter().map(encode).collect() }))
}

impl StackQuery {
    pub(super) fn parse(query: Result<Query<Self>, QueryRejection>) -> Result<Address, ApiError> {
        let Query(query) =
            query.map_err(|rejection| ApiError::bad_request("invalid_request", rejection.body_text()))?;
        Ok(query.stack)
    }
}
