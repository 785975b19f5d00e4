//! What only a devnet offers, over plain HTTP; a public network's faucet speaks as the devnet's.

use crate::profile::shown_url;
use crate::{ChainError, Deployment};
use atoma_types::Address;
use std::time::Duration;

const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Asks the devnet's faucet for SUI and the market's coin.
pub async fn faucet(deployment: &Deployment, recipient: Address) -> Result<(), ChainError> {
    faucet_at(&deployment.rpc_url, recipient).await
}

/// Asks the faucet at `url` for SUI.
pub async fn faucet_at(url: &str, recipient: Address) -> Result<(), ChainError> {
    let request = serde_json::json!({ "FixedAmountRequest": { "recipient": recipient.to_string() } });
    let sent = http(url)?.post(join(url, "v2/gas")).json(&request).send().await;
    answer(url, sent).await.map(|_| ())
}

/// The deployment that the devnet at `url` runs.
pub async fn fetch_deployment(url: &str) -> Result<Deployment, ChainError> {
    let sent = http(url)?.get(join(url, "devnet/v1/deployment")).send().await;
    let body = answer(url, sent).await?;
    serde_json::from_slice(&body)
        .map_err(|error| ChainError::Malformed { what: "the deployment", reason: error.to_string() })
}

/// HTTP/2 without asking first: whoever serves gRPC speaks it.
fn http(url: &str) -> Result<reqwest::Client, ChainError> {
    reqwest::Client::builder()
        .http2_prior_knowledge()
        .timeout(HTTP_TIMEOUT)
        .build()
        .map_err(|error| unreachable_at(url, &error))
}

fn join(url: &str, path: &str) -> String {
    format!("{}/{path}", url.trim_end_matches('/'))
}

async fn answer(url: &str, sent: reqwest::Result<reqwest::Response>) -> Result<Vec<u8>, ChainError> {
    let mut response = sent.map_err(|error| unreachable_at(url, &error))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable_at(url, &error))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(ChainError::Malformed { what: "the answer", reason: "too long".to_owned() });
        }
    }
    if !status.is_success() {
        let reason = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(ChainError::Rpc { code: status.to_string(), reason });
    }
    Ok(body)
}

fn unreachable_at(url: &str, error: &reqwest::Error) -> ChainError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    ChainError::Unreachable { url: shown_url(url), reason }
}
