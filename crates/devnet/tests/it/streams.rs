//! Streams of events and checkpoints, and picking them up again.

use crate::support::{Net, SUI, address, decode, sui, transfer};
use atoma_devnet::PACKAGE;
use atoma_types::onchain::Event;
use futures::StreamExt;
use sui_rpc::client::{EventStreamRequest, EventStreamStart};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_rpc::proto::sui::rpc::v2::filter::event;
use sui_sdk_types::{Address, Digest};

fn mask() -> FieldMask {
    FieldMask::from_paths([
        "checkpoint",
        "transaction_index",
        "event_index",
        "event_type",
        "contents",
        "transaction_digest",
    ])
}

#[tokio::test]
async fn an_event_stream_follows_and_resumes_where_it_was() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let mut live = Box::pin(net.client.stream_events(EventStreamRequest::new().with_read_mask(mask())));
    assert!(live.next().await.unwrap().unwrap().event.is_none(), "the first frame only says where it starts");
    net.open_market(&alice).await;
    let mut seen = Vec::new();
    let mut cursor = None;
    while seen.len() < 2 {
        let frame = live.next().await.unwrap().unwrap();
        seen.extend(frame.event.as_ref().map(decode));
        cursor = Some(frame.cursor);
    }
    assert!(matches!(seen[..], [Event::NodeRegistered(_), Event::ModelAdded(_)]));
    drop(live);

    // Two more happened unseen, then one happens live.
    let start = EventStreamStart::Resume(cursor.unwrap());
    let mut resumed = Box::pin(
        net.client.stream_events(EventStreamRequest::new().with_read_mask(mask()).with_start(start)),
    );
    let mut rest = Vec::new();
    while rest.len() < 2 {
        rest.extend(resumed.next().await.unwrap().unwrap().event.as_ref().map(decode));
    }
    assert!(matches!(rest[..], [Event::TaskCreated(_), Event::Subscribed(_)]));
    let bought = net.run(&alice, net.purchase(address(&alice), 1_000, 10_000).await).await;
    let digest = loop {
        if let Some(event) = resumed.next().await.unwrap().unwrap().event {
            break event.transaction_digest.unwrap();
        }
    };
    assert_eq!(digest, bought.digest.to_string());
}

#[tokio::test]
async fn filters_choose_by_type_module_and_sender() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let count = async |filter: pb::EventFilter| {
        let mut request = pb::ListEventsRequest::default();
        request.filter = Some(filter);
        request.read_mask = Some(mask());
        let mut frames = net.client.clone().ledger_client().list_events(request).await.unwrap().into_inner();
        let mut found = 0;
        while let Some(frame) = frames.message().await.unwrap() {
            found += usize::from(frame.event.is_some());
        }
        found
    };
    let of_type = |name: &str| event::event_type(format!("{PACKAGE}::events::{name}"));
    assert_eq!(count(pb::EventFilter::all([of_type("TaskCreated")])).await, 1);
    assert_eq!(count(pb::EventFilter::all([event::event_type(format!("{PACKAGE}"))])).await, 4);
    assert_eq!(count(pb::EventFilter::all([event::emit_module(format!("{PACKAGE}::offer"))])).await, 1);
    assert_eq!(count(pb::EventFilter::all([event::sender(address(&alice))])).await, 4);
    assert_eq!(count(pb::EventFilter::all([event::sender(Address::TWO)])).await, 0);
    assert_eq!(
        count(pb::EventFilter::all([event::sender(address(&alice)), of_type("TaskCreated").negate()])).await,
        3
    );
}

#[tokio::test]
async fn pages_join_in_both_directions() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    for descending in [false, true] {
        let mut names = Vec::new();
        let mut options = pb::QueryOptions::default();
        options.limit = Some(1);
        if descending {
            options.set_ordering(pb::Ordering::Descending);
        }
        loop {
            let mut request = pb::ListEventsRequest::default();
            request.read_mask = Some(mask());
            request.options = Some(options.clone());
            let mut frames =
                net.client.clone().ledger_client().list_events(request).await.unwrap().into_inner();
            let mut reason = pb::QueryEndReason::Unknown;
            while let Some(frame) = frames.message().await.unwrap() {
                let cursor = frame.watermark.as_ref().unwrap().cursor.clone();
                if descending {
                    options.before = cursor
                } else {
                    options.after = cursor
                }
                names.extend(
                    frame
                        .event
                        .as_ref()
                        .map(|event| event.event_type().rsplit("::").next().unwrap().to_owned()),
                );
                reason = frame.end.map_or(reason, |end| end.reason());
            }
            if reason != pb::QueryEndReason::ItemLimit {
                break;
            }
        }
        let mut expected = ["NodeRegistered", "ModelAdded", "TaskCreated", "Subscribed"];
        if descending {
            expected.reverse();
        }
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn every_checkpoint_comes_in_order_to_a_slow_reader_too() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let request = pb::SubscribeCheckpointsRequest::default().with_read_mask(FieldMask::from_str("*"));
    let mut stream =
        net.client.subscription_client().subscribe_checkpoints(request).await.unwrap().into_inner();
    let mut previous = stream.message().await.unwrap().unwrap();
    for _ in 0..40 {
        let gas =
            net.coins(address(&alice), &sui()).await.into_iter().max_by_key(|coin| coin.version()).unwrap();
        net.sign_and_execute(&alice, &transfer(&gas, address(&alice), Address::TWO, SUI / 1_000))
            .await
            .unwrap();
    }
    for _ in 0..40 {
        let next = stream.message().await.unwrap().unwrap();
        assert_eq!(next.cursor(), previous.cursor() + 1);
        let summary: sui_sdk_types::CheckpointSummary =
            next.checkpoint().summary().bcs().deserialize().unwrap();
        let before: Digest = previous.checkpoint().digest().parse().unwrap();
        assert_eq!(summary.previous_digest, Some(before));
        previous = next;
    }
}

#[tokio::test]
async fn transactions_can_be_listed_by_what_they_call() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let mut request = pb::ListTransactionsRequest::default();
    request.filter = Some(pb::TransactionFilter::matching(pb::filter::transaction::move_call(format!(
        "{PACKAGE}::task::create"
    ))));
    request.read_mask = Some(FieldMask::from_str("digest,effects.status,checkpoint"));
    let mut frames =
        net.client.clone().ledger_client().list_transactions(request).await.unwrap().into_inner();
    let mut found = 0;
    let mut ended = false;
    while let Some(frame) = frames.message().await.unwrap() {
        assert!(frame.watermark.is_some() && !ended);
        ended = frame.end.is_some();
        found += usize::from(frame.transaction.is_some());
    }
    assert!(ended);
    assert_eq!(found, 1);
}
