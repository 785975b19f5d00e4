//! Faucet, clock and epoch over plain HTTP.

use crate::support::{Net, SUI, USD, address, key, sui};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::Address;

#[tokio::test]
async fn the_faucet_answers_as_suis_does() {
    let net = Net::start().await;
    let to = address(&key(3));
    let body = format!(r#"{{"FixedAmountRequest":{{"recipient":"{to}"}}}}"#);
    let (status, reply) = net.http("POST", "/v2/gas", &body).await;
    assert_eq!((status, reply["status"].as_str()), (200, Some("Success")));
    let coins = reply["coins_sent"].as_array().unwrap();
    assert_eq!(coins.len(), 2);
    assert!(coins.iter().all(|coin| coin["transferTxDigest"].is_string() && coin["id"].is_string()));
    assert_eq!(net.balance(to, &sui()).await, 10 * SUI);
    assert_eq!(net.balance(to, &net.usd()).await, 10_000 * USD);

    let body = format!(r#"{{"recipient":"{to}","sui":7,"usd":8}}"#);
    assert_eq!(net.http("POST", "/devnet/v1/faucet", &body).await.0, 200);
    assert_eq!(net.balance(to, &sui()).await, 10 * SUI + 7);
    for bad in [
        format!(r#"{{"recipient":"{to}","sui":0}}"#),
        format!(r#"{{"recipient":"{to}","usd":{}}}"#, u64::MAX),
    ] {
        let (status, reply) = net.http("POST", "/devnet/v1/faucet", &bad).await;
        assert_eq!(status, 400, "{reply}");
    }
    assert!(net.http("POST", "/v2/gas", "{").await.0 >= 400);
    assert!(net.http("POST", "/v2/gas", &"x".repeat(20_000)).await.0 >= 400);
}

#[tokio::test]
async fn the_clock_moves_ahead_on_command() {
    let net = Net::start().await;
    let before = net.devnet.now_ms();
    let (status, reply) = net.http("POST", "/devnet/v1/clock", r#"{"advance_ms": 3600000}"#).await;
    assert_eq!((status, reply["offset_ms"].as_u64()), (200, Some(3_600_000)));
    let (_, read) = net.http("GET", "/devnet/v1/clock", "").await;
    assert!(read["now_ms"].as_u64().unwrap() >= before + 3_600_000);
    let clock = net.object(Address::from_static("0x6")).await.unwrap();
    let contents = clock.as_struct().unwrap().contents();
    let shown = u64::from_le_bytes(contents[32..40].try_into().unwrap());
    assert!(shown >= before + 3_600_000);
    assert_eq!(net.http("POST", "/devnet/v1/clock", r#"{"advance_ms": -1}"#).await.0, 422);
    assert_eq!(
        net.http("POST", "/devnet/v1/clock", &format!(r#"{{"advance_ms": {}}}"#, u64::MAX)).await.0,
        400
    );
}

#[tokio::test]
async fn epochs_end_on_command() {
    let mut net = Net::start().await;
    let (status, reply) = net.http("POST", "/devnet/v1/epoch", "{}").await;
    assert_eq!((status, reply["epoch"].as_u64()), (200, Some(1)));
    let request = pb::GetEpochRequest::new(0).with_read_mask(FieldMask::from_str("*"));
    let first = net.client.ledger_client().get_epoch(request).await.unwrap().into_inner();
    assert_eq!(first.epoch().last_checkpoint(), 1);
    assert_eq!(net.client.get_reference_gas_price().await.unwrap(), 1_000);
}

#[tokio::test]
async fn the_deployment_is_published_and_coins_are_described() {
    let net = Net::start().await;
    let (_, reply) = net.http("GET", "/devnet/v1/deployment", "").await;
    let published: atoma_types::onchain::Deployment = serde_json::from_value(reply).unwrap();
    assert_eq!(published, *net.devnet.deployment());
    let request = pb::GetCoinInfoRequest::default().with_coin_type(published.coin_type.clone());
    let info = net.client.clone().state_client().get_coin_info(request).await.unwrap().into_inner();
    assert_eq!(info.metadata().decimals(), 6);
    assert_eq!(info.metadata().symbol(), "USD");
}

#[tokio::test]
async fn a_drain_ends_open_streams() {
    let mut net = Net::start().await;
    let request = pb::SubscribeCheckpointsRequest::default();
    let mut stream =
        net.client.subscription_client().subscribe_checkpoints(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    net.devnet.shutdown().await;
    assert!(!matches!(stream.message().await, Ok(Some(_))));
}
