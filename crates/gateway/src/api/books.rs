//! What was paid, and the operator's books.

use super::caller::Caller;
use super::openapi::{Access, Answer, Doc, json_of};
use super::shape::{shape_of, shapes};
use super::{Shared, out_of_scope, store_failed};
use crate::keys::Scopes;
use crate::serve::Gateway;
use crate::store::{Deposit, StoreError, Totals, UsageEntry, UsageFilter};
use atoma_client::ApiError;
use atoma_types::{Amount, Hash32};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Requests of a page, at most and if nothing is said.
const PAGE_MAX: u32 = 1_000;
const PAGE: u32 = 100;
/// Requests read at a time for an export.
const EXPORT_PAGE: u32 = 500;
const DEPOSITS_LISTED: u32 = 1_000;

const PAYER: &[Access] = &[Access::Key, Access::Session];
pub(super) const USAGE: Doc = Doc {
    query: &[
        ("from", "Requests at this time or later, in ms."),
        ("to", "Requests before this time."),
        ("model", "Requests of this model."),
        ("key", "Requests of this key, by number; with a session."),
        ("before", "Requests older than this one: `next` of the page before."),
        ("limit", "Requests of the page, at most 1,000."),
    ],
    ..Doc::get("What was paid: by the key, or by the account.", PAYER, json_of::<Usage>("200"))
};
pub(super) const EXPORT: Doc = Doc {
    query: &[("format", "csv or jsonl."), ("from", "As above."), ("to", ""), ("model", ""), ("key", "")],
    ..Doc::get("All of it, oldest first, as one file.", PAYER, Answer::Other("200", "text/csv"))
};
pub(super) const RECEIPT: Doc = Doc::get(
    "The node's signed receipt of a request, by the hash of the request.",
    PAYER,
    json_of::<UsageEntry>("200"),
);
pub(super) const DEPOSITS: Doc =
    Doc::get("The account's deposits.", &[Access::Session, Access::Key], json_of::<Deposits>("200"));
shapes! {
    /// A page of requests and the sums of all that the filter admits. Money is the key's, or the account's.
    sent struct Usage {
        object: &'static str,
        /// The end of the key.
        key: Option<String>,
        budget: Option<Amount>,
        spent: Amount,
        reserved: Amount,
        totals: Totals,
        data: Vec<UsageEntry>,
        /// Where the next page begins, if there is one.
        next: Option<i64>,
    }
    /// Deposits.
    sent struct Deposits { object: &'static str, data: Vec<Deposit> }
}

shape_of! {
    Totals: "Sums." {
        requests: u64, input_tokens: u64, output_tokens: u64, units: u64, cost: u64,
    }
    UsageEntry: "A paid request." {
        id: i64, at_ms: u64, key: i64, model: String, node: u64, stack: String, input_tokens: u64,
        output_tokens: u64, units: u64, price: u64, cost: u64, request: Option<String>, receipt: String,
    }
    Deposit: "A transfer that was credited." {
        digest: String, sender: atoma_types::Address, amount: u64, checkpoint: u64, at_ms: u64,
    }
}

/// What may stand in a query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<u64>,
    to: Option<u64>,
    model: Option<String>,
    key: Option<i64>,
    before: Option<i64>,
    limit: Option<u32>,
    format: Option<String>,
}

type Queried = Result<Query<Asked>, axum::extract::rejection::QueryRejection>;

fn queried(query: Queried) -> Result<Asked, ApiError> {
    let Query(asked) = query.map_err(|error| ApiError::bad_request("invalid_request", error.body_text()))?;
    let times = [asked.from, asked.to];
    if times.iter().flatten().any(|time| i64::try_from(*time).is_err()) {
        return Err(ApiError::bad_request("invalid_request", "a time is out of range"));
    }
    Ok(asked)
}

impl Gateway {
    /// What the caller may see, as far as it asks for it.
    async fn filter(&self, headers: &HeaderMap, asked: &Asked) -> Result<(Caller, UsageFilter), ApiError> {
        let caller = self.caller(headers).await?;
        let mut filter = UsageFilter {
            model: asked.model.clone(),
            from_ms: asked.from,
            to_ms: asked.to,
            before: asked.before,
            ..UsageFilter::default()
        };
        match &caller {
            Caller::Key(key) if !key.scopes.has(Scopes::USAGE) => return Err(out_of_scope("usage")),
            Caller::Key(key) => filter.key = Some(key.id.0),
            Caller::Account(account) => {
                (filter.account, filter.key) = (Some(*account), asked.key);
            }
            Caller::Operator => filter.key = asked.key,
        }
        // So that what is paid shows at once.
        self.ledger.flush().await.map_err(store_failed)?;
        Ok((caller, filter))
    }
}

pub(super) async fn usage(
    State(gateway): Shared,
    headers: HeaderMap,
    query: Queried,
) -> Result<Json<Usage>, ApiError> {
    let asked = queried(query)?;
    let (caller, filter) = gateway.filter(&headers, &asked).await?;
    let (key, budget, spent, reserved, all) = match &caller {
        Caller::Key(key) => {
            let usage = gateway.store.key_usage(key.id).await.map_err(store_failed)?;
            let last4 = format!("…{}", key.last4);
            (Some(last4), usage.budget, usage.spent, usage.reserved, Some(usage.totals))
        }
        Caller::Account(account) => {
            let money = gateway.store.account_money(*account).await.map_err(store_failed)?;
            (None, Some(money.credited), money.spent, money.reserved, None)
        }
        Caller::Operator => {
            let books = gateway.store.books().await.map_err(store_failed)?;
            let charged = books.charged_to_accounts.saturating_add(books.charged_to_operator);
            (None, None, charged, books.reserved, None)
        }
    };
    let is_all = asked.from.is_none() && asked.to.is_none() && asked.model.is_none();
    let totals = match all.filter(|_| is_all) {
        Some(totals) => totals,
        None => {
            let whole = UsageFilter { before: None, ..filter.clone() };
            gateway.store.sums(&whole).await.map_err(store_failed)?
        }
    };
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let data = gateway.store.usage(&filter, limit).await.map_err(store_failed)?;
    let is_full = u32::try_from(data.len()).is_ok_and(|found| found == limit);
    let next = data.last().map(|entry| entry.id).filter(|_| is_full);
    Ok(Json(Usage {
        object: "usage",
        key,
        budget: budget.map(Amount),
        spent: Amount(spent),
        reserved: Amount(reserved),
        totals,
        data,
        next,
    }))
}

pub(super) async fn export(
    State(gateway): Shared,
    headers: HeaderMap,
    query: Queried,
) -> Result<Response, ApiError> {
    let asked = queried(query)?;
    let (media, write): (_, fn(&UsageEntry) -> String) = match asked.format.as_deref() {
        None | Some("csv") => ("text/csv; charset=utf-8", csv_row),
        Some("jsonl") => ("application/jsonl", json_row),
        Some(_) => return Err(ApiError::bad_request("invalid_request", "format is csv or jsonl")),
    };
    let (_, filter) = gateway.filter(&headers, &asked).await?;
    let head = if media.starts_with("text/csv") { CSV_HEAD } else { "" };
    let mut response = Response::new(Body::from_stream(rows(gateway, filter, head, write)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}

/// All requests that the filter admits, read page by page while they are sent.
fn rows(
    gateway: Arc<Gateway>,
    filter: UsageFilter,
    head: &'static str,
    write: fn(&UsageEntry) -> String,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    let start = (gateway, UsageFilter { after: Some(0), ..filter }, head, false);
    stream::unfold(start, move |(gateway, mut filter, head, is_over)| async move {
        if is_over {
            return None;
        }
        let page = match gateway.store.usage(&filter, EXPORT_PAGE).await {
            Ok(page) => page,
            // The connection breaks off, so that nobody takes it for the whole.
            Err(error) => return Some((Err(error), (gateway, filter, "", true))),
        };
        let is_over = u32::try_from(page.len()).is_ok_and(|found| found < EXPORT_PAGE);
        filter.after = page.last().map(|entry| entry.id).or(filter.after);
        let text = page.iter().fold(head.to_owned(), |text, entry| text + &write(entry));
        Some((Ok(Bytes::from(text)), (gateway, filter, "", is_over)))
    })
}

const CSV_HEAD: &str =
    "time_ms,model,key,node,stack,units,input_tokens,output_tokens,price,cost,request,receipt\r\n";

fn csv_row(entry: &UsageEntry) -> String {
    let UsageEntry { at_ms, key, node, stack, units, input_tokens, output_tokens, price, cost, .. } = entry;
    let (model, request) = (csv_field(&entry.model), entry.request.as_deref().unwrap_or_default());
    let receipt = &entry.receipt;
    format!(
        "{at_ms},{model},{key},{node},{stack},{units},{input_tokens},{output_tokens},{price},{cost},{request},\
         {receipt}\r\n"
    )
}

/// Quoted, and never the beginning of a formula.
fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn json_row(entry: &UsageEntry) -> String {
    format!("{}\n", json!(entry))
}

pub(super) async fn receipt(
    State(gateway): Shared,
    headers: HeaderMap,
    Path(request): Path<String>,
) -> Result<Json<UsageEntry>, ApiError> {
    let (_, filter) = gateway.filter(&headers, &Asked::default()).await?;
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "receipt_not_found", "no such request was paid");
    let mut hash = [0; 32];
    hex::decode_to_slice(request.trim_start_matches("0x"), &mut hash).map_err(|_| unknown())?;
    let key = filter.key.map(crate::keys::KeyId);
    let found = gateway.store.usage_of(Hash32(hash), filter.account, key).await.map_err(store_failed)?;
    found.map(Json).ok_or_else(unknown)
}

pub(super) async fn deposits(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Deposits>, ApiError> {
    let account = gateway.caller(&headers).await?.account(Scopes::ACCOUNT, "account")?;
    let data = gateway.store.deposits(account, DEPOSITS_LISTED).await.map_err(store_failed)?;
    Ok(Json(Deposits { object: "list", data }))
}
