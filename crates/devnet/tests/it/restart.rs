//! The state on disk: it survives without a goodbye, and bad files are named.

use crate::support::{Net, SUI, address, key, sui, transfer};
use atoma_devnet::{BlobCertificate, Config, spawn};
use atoma_types::onchain::Event;
use std::path::Path;
use std::time::Duration;
use sui_sdk_types::Address;

fn stored(path: &Path) -> Config {
    Config { store: Some(path.to_owned()), ..Config::test() }
}

#[tokio::test]
async fn everything_survives_a_stop_without_warning() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devnet.redb");
    let net = Net::with(stored(&file)).await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let bought = net.run(&alice, net.purchase(address(&alice), 1_000, 10_000).await).await;
    let stack = bought.events.iter().find_map(|event| match event {
        Event::StackAcquired(acquired) => Some(acquired.stack),
        _ => None,
    });
    net.devnet.advance_clock(Duration::from_secs(100_000)).await.unwrap();
    net.devnet.advance_epoch().await.unwrap();
    let blob = BlobCertificate {
        owner: address(&alice),
        blob_id: [3; 32],
        size: 5,
        epochs_ahead: 2,
        deletable: false,
    };
    let blob = net.devnet.certify_blob(blob).await.unwrap();
    net.run(&alice, net.beat()).await;
    let gas = net.coins(address(&alice), &sui()).await.remove(0);
    let transaction = transfer(&gas, address(&alice), Address::TWO, SUI);
    let first = net.sign_and_execute(&alice, &transaction).await.unwrap();
    let objects = [blob, net.devnet.deployment().beacon, net.devnet.deployment().db];
    let state = async |net: &Net| {
        let shown =
            [net.object(objects[0]).await, net.object(objects[1]).await, net.object(objects[2]).await];
        (net.stack(stack.unwrap()).await, net.coins(address(&alice), &sui()).await, shown)
    };
    let before = (info(&net).await, state(&net).await);
    let (deployment, now) = (net.devnet.deployment().clone(), net.devnet.now_ms());
    drop(net);

    let net = Net::with(stored(&file)).await;
    assert_eq!(before, (info(&net).await, state(&net).await));
    assert_eq!(deployment.treasury, net.devnet.deployment().treasury);
    assert!(net.devnet.now_ms() >= now);
    let again = net.sign_and_execute(&alice, &transaction).await.unwrap();
    assert_eq!(first.effects, again.effects);
    assert_eq!(info(&net).await, before.0, "the same bytes do not happen twice");
    // And it goes on.
    net.run(&alice, net.purchase(address(&alice), 1_000, 10_000).await).await;
    net.devnet.advance_clock(Duration::from_secs(1)).await.unwrap();
    let again = net.run(&alice, net.beat()).await;
    assert!(matches!(&again.events[..], [Event::BeaconRound(beat)] if beat.round == 2), "{:?}", again.events);
    net.devnet.audit().unwrap();
}

async fn info(net: &Net) -> (String, u64, u64) {
    let request = sui_rpc::proto::sui::rpc::v2::GetServiceInfoRequest::default();
    let info = net.client.clone().ledger_client().get_service_info(request).await.unwrap().into_inner();
    (info.chain_id().to_owned(), info.epoch(), info.checkpoint_height())
}

#[tokio::test]
async fn a_foreign_or_damaged_file_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "shopping list ".repeat(1_000)).unwrap();
    let error = spawn(stored(&text)).await.err().unwrap().to_string();
    assert!(error.contains("notes.txt") && error.contains("--reset"), "{error}");

    let file = dir.path().join("devnet.redb");
    let net = Net::with(stored(&file)).await;
    for _ in 0..20 {
        net.devnet.fund(address(&key(1)), 1, 1).await.unwrap();
    }
    drop(net);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[8..middle] {
        *byte ^= 0x5a;
    }
    std::fs::write(&file, &bytes).unwrap();
    let error = spawn(stored(&file)).await.err().unwrap().to_string();
    assert!(error.contains("devnet.redb") && error.contains("--reset"), "{error}");
}

#[tokio::test]
async fn two_devnets_do_not_share_a_file_or_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("devnet.redb");
    let net = Net::with(stored(&file)).await;
    let error = spawn(stored(&file)).await.err().unwrap().to_string();
    assert!(error.contains("in use by another devnet"), "{error}");
    let error =
        spawn(Config { listen: net.devnet.address(), ..Config::test() }).await.err().unwrap().to_string();
    assert!(error.contains("cannot listen on"), "{error}");
}
