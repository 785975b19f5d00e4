use crate::support::{Market, chat};
use atoma_types::{Receipt, Transcript, Units};
use futures::stream::{self, StreamExt as _};
use std::collections::HashSet;
use std::sync::Mutex;

/// Fifty at a time on one channel: the node orders them, and every number agrees in the end.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_at_once_add_up() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user().await;
    // Each acknowledged record widens the window by one.
    let mut newest = None;
    for _ in 0..50 {
        let answer = user.ask(&node, &chat(false, "warm up"), newest.take()).await;
        assert_eq!(answer.status, 200);
        newest = Some(user.voucher_for(answer.receipt()));
    }
    user.acknowledge(&node, &newest.unwrap()).await;

    let receipts: Mutex<Vec<Receipt>> = Mutex::default();
    stream::iter(0..50)
        .for_each_concurrent(None, |i| {
            let (user, node, receipts) = (&user, &node, &receipts);
            async move {
                let answer = user.ask(node, &chat(i % 2 == 0, "all at once"), None).await;
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                receipts.lock().unwrap().push(answer.receipt().clone());
            }
        })
        .await;

    let mut receipts = receipts.into_inner().unwrap();
    receipts.sort_by_key(|receipt| receipt.count);
    assert_eq!(
        receipts.iter().map(|receipt| receipt.count).collect::<Vec<_>>(),
        (51..=100).collect::<Vec<_>>()
    );
    assert_eq!(receipts.iter().map(|receipt| receipt.request_hash).collect::<HashSet<_>>().len(), 50);
    let mut transcript = Transcript::new();
    let mut total = Units::ZERO;
    let mut all = user.receipts(&node, 1).await;
    all.extend(user.receipts(&node, 65).await);
    for signed in &all {
        let receipt = signed.verify(&user.node_key).unwrap();
        total = total.add(receipt.units).unwrap();
        assert_eq!((transcript.append(&receipt.record()), total), (receipt.root, receipt.total_units));
    }
    assert_eq!(all.len(), 100);
    let channel = user.channel(&node).await;
    assert_eq!((channel["total_units"].as_u64(), channel["in_flight"].as_u64()), (Some(total.0), Some(0)));
}
