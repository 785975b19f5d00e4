//! The plain HTTP routes beside the RPC: the faucet as Sui's, and the controls of a devnet.

use crate::chain::{Chain, SubmitError};
use crate::faucet::{self, BlobCertificate, FaucetError, Gift};
use atoma_types::Address;
use atoma_types::onchain::Deployment;
use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

const BODY_BYTES_MAX: usize = 16 * 1024;
/// Furthest that one request moves the clock: ten years.
const ADVANCE_MS_MAX: u64 = 10 * 365 * 24 * 3_600_000;
/// Most epochs that one request ends.
const EPOCHS_MAX: u64 = 1_000;

#[derive(Clone)]
struct Control {
    chain: Arc<Chain>,
    deployment: Arc<Deployment>,
}

pub(crate) fn routes(chain: Arc<Chain>, deployment: Deployment) -> axum::Router {
    let control = Control { chain, deployment: Arc::new(deployment) };
    axum::Router::new()
        .route("/v2/gas", post(gas))
        .route("/devnet/v1/faucet", post(faucet_amounts))
        .route("/devnet/v1/blob", post(blob))
        .route("/devnet/v1/deployment", get(deployment_info))
        .route("/devnet/v1/clock", get(clock).post(advance_clock))
        .route("/devnet/v1/epoch", get(epoch).post(advance_epoch))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

/// An error as one line of JSON.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<FaucetError> for Problem {
    fn from(error: FaucetError) -> Self {
        let status = match &error {
            FaucetError::Nothing | FaucetError::TooMuch | FaucetError::Epochs => StatusCode::BAD_REQUEST,
            FaucetError::Empty => StatusCode::SERVICE_UNAVAILABLE,
            FaucetError::Submit(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

type Reply<T> = Result<Json<T>, Problem>;

#[derive(Deserialize)]
struct GasRequest {
    #[serde(rename = "FixedAmountRequest")]
    fixed_amount: FixedAmount,
}

#[derive(Deserialize)]
struct FixedAmount {
    recipient: Address,
}

#[derive(Deserialize)]
struct FaucetRequest {
    recipient: Address,
    #[serde(default)]
    sui: u64,
    #[serde(default)]
    usd: u64,
}

#[derive(Serialize)]
struct CoinSent {
    amount: u64,
    id: Address,
    #[serde(rename = "transferTxDigest")]
    transfer_tx_digest: String,
    #[serde(rename = "coinType")]
    coin_type: String,
}

async fn gas(State(control): State<Control>, Json(request): Json<GasRequest>) -> Reply<serde_json::Value> {
    let recipient = request.fixed_amount.recipient;
    give(control, Gift { recipient, sui: faucet::STANDARD_SUI, usd: faucet::STANDARD_USD }).await
}

async fn faucet_amounts(
    State(control): State<Control>,
    Json(request): Json<FaucetRequest>,
) -> Reply<serde_json::Value> {
    let FaucetRequest { recipient, sui, usd } = request;
    give(control, Gift { recipient, sui, usd }).await
}

async fn give(control: Control, gift: Gift) -> Reply<serde_json::Value> {
    let (executed, given) = blocking(move || faucet::give(&control.chain, gift)).await??;
    let coins: Vec<CoinSent> = given
        .into_iter()
        .map(|coin| CoinSent {
            amount: coin.amount,
            id: coin.id,
            transfer_tx_digest: executed.digest.to_string(),
            coin_type: coin.coin_type.to_string(),
        })
        .collect();
    Ok(Json(json!({ "status": "Success", "coins_sent": coins })))
}

#[derive(Serialize)]
struct Certified {
    /// The `Blob` object.
    id: Address,
}

async fn blob(State(control): State<Control>, Json(request): Json<BlobCertificate>) -> Reply<Certified> {
    let id = blocking(move || faucet::certify(&control.chain, &request)).await??;
    Ok(Json(Certified { id }))
}

async fn deployment_info(State(control): State<Control>) -> Json<Deployment> {
    Json(Deployment::clone(&control.deployment))
}

#[derive(Serialize)]
struct ClockInfo {
    now_ms: u64,
    /// How far ahead of the machine's clock the chain is.
    offset_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceClock {
    advance_ms: u64,
}

async fn clock(State(control): State<Control>) -> Json<ClockInfo> {
    Json(clock_info(&control.chain))
}

async fn advance_clock(
    State(control): State<Control>,
    Json(request): Json<AdvanceClock>,
) -> Reply<ClockInfo> {
    if request.advance_ms > ADVANCE_MS_MAX {
        let limit = format!("advance_ms is at most {ADVANCE_MS_MAX}");
        return Err(Problem(StatusCode::BAD_REQUEST, limit));
    }
    let chain = control.chain.clone();
    blocking(move || chain.advance_clock(request.advance_ms)).await??;
    Ok(Json(clock_info(&control.chain)))
}

fn clock_info(chain: &Chain) -> ClockInfo {
    let now_ms = chain.now_ms();
    ClockInfo { now_ms, offset_ms: chain.read().clock_offset_ms() }
}

#[derive(Serialize)]
struct EpochInfo {
    epoch: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceEpoch {
    #[serde(default = "one")]
    advance: u64,
}

fn one() -> u64 {
    1
}

async fn epoch(State(control): State<Control>) -> Json<EpochInfo> {
    Json(EpochInfo { epoch: control.chain.read().epoch() })
}

async fn advance_epoch(
    State(control): State<Control>,
    Json(request): Json<AdvanceEpoch>,
) -> Reply<EpochInfo> {
    if request.advance > EPOCHS_MAX {
        return Err(Problem(StatusCode::BAD_REQUEST, format!("advance is at most {EPOCHS_MAX}")));
    }
    let chain = control.chain.clone();
    let advance = move || (0..request.advance).try_for_each(|_| chain.advance_epoch().map(drop));
    blocking(advance).await??;
    Ok(Json(EpochInfo { epoch: control.chain.read().epoch() }))
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let failed = |_| Problem(StatusCode::INTERNAL_SERVER_ERROR, "the devnet failed; see its log".to_owned());
    tokio::task::spawn_blocking(run).await.map_err(failed)
}
