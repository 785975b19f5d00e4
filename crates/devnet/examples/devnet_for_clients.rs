//! A devnet in memory with one node to buy from and one account with money, for clients written in other
//! languages. Prints one line of JSON with all they need, then runs until its input ends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test harness")]

#[expect(dead_code, reason = "the integration tests use the rest")]
#[path = "../tests/it/support.rs"]
mod support;

use std::io::{Read as _, Write as _};
use support::{Net, USD, address, key, request_key};

const OPERATOR: u8 = 1;
const BUYER: u8 = 2;

#[tokio::main]
async fn main() {
    let net = Net::start().await;
    let operator = net.funded(OPERATOR).await;
    net.open_market(&operator).await;
    let buyer = net.funded(BUYER).await;
    let deployment = net.devnet.deployment();
    let line = serde_json::json!({
        "rpc_url": net.devnet.url(),
        "package": deployment.package,
        "db": deployment.db,
        "coin_type": deployment.coin_type,
        "secret_key": hex_of(&[BUYER; 32]),
        "address": address(&buyer),
        "operator": address(&key(OPERATOR)),
        "request_key": request_key().public_key().to_string(),
        "task": 1,
        "units": 1_000_000,
        "max_price": 500_000,
        "payment": USD,
    });
    println!("{line}");
    std::io::stdout().flush().unwrap();
    let until_end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(until_end).await.unwrap().unwrap();
    net.devnet.shutdown().await;
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
