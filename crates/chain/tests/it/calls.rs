//! Every call once, with what it changes.

use crate::support::{COIN, Market, PRICE, advance, end_epochs, funded, stack_of};
use atoma_chain::{Call, ChainError, OpenChannel};
use atoma_types::message::Message as _;
use atoma_types::onchain::{Abort, Event, Selection};
use atoma_types::{Amount, Grant, NodeId, Signature, TaskId, Units};

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_shows_what_was_registered() {
    let market = Market::open().await;
    let (chain, node) = (&market.chain, market.node);
    let row = chain.node(node).await.unwrap().unwrap();
    assert_eq!(row.owner, market.operator.address());
    assert_eq!(row.receipt_key, market.receipt_key.public_key());
    assert_eq!(row.collateral, Amount(1_000 * COIN));
    assert_eq!(chain.nodes().await.unwrap(), vec![row]);
    assert_eq!(chain.node(NodeId(99)).await.unwrap(), None);
    assert_eq!(chain.owned_nodes(market.operator.address()).await.unwrap(), vec![node]);
    assert!(chain.owned_nodes(market.creator.address()).await.unwrap().is_empty());
    let model = chain.model(market.model).await.unwrap().unwrap();
    assert_eq!((model.label.as_str(), model.creator), ("test", market.creator.address()));
    assert_eq!(chain.models().await.unwrap(), vec![model]);
    let task = chain.task(market.task).await.unwrap().unwrap();
    assert_eq!(task.model, market.model);
    assert_eq!(chain.tasks().await.unwrap(), vec![task]);
    assert_eq!(chain.task(TaskId(99)).await.unwrap(), None);
    let subscription = chain.subscription(market.task, node).await.unwrap().unwrap();
    assert_eq!((subscription.node, subscription.price), (node, PRICE));
    assert_eq!(chain.subscription(market.task, NodeId(99)).await.unwrap(), None);
    assert_eq!(chain.params().await.unwrap().registration_fee, Amount(COIN));
    assert_eq!(chain.treasury().await.unwrap(), Amount(COIN));
    assert!(chain.now_ms().await.unwrap() > 1_600_000_000_000);

    let endpoint = "http://127.0.0.1:2".to_owned();
    market.operator.execute(chain, Call::SetEndpoint { node, endpoint: endpoint.clone() }).await.unwrap();
    assert_eq!(chain.node(node).await.unwrap().unwrap().endpoint, endpoint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_bought_served_settled_and_refunded() {
    let market = Market::open().await;
    let (chain, node) = (&market.chain, market.node);
    let user = funded(chain).await;
    let key = user.request_key("stack");
    let before = chain.balances(user.address()).await.unwrap().coin;

    // One stack whose channel the chain opens, one that the node opens with the user's grant.
    let single = user.execute(chain, market.acquire(&key, Selection::Single)).await.unwrap();
    let single = stack_of(&single);
    let any = stack_of(&user.execute(chain, market.acquire(&key, Selection::Any)).await.unwrap());
    let stack = chain.stack(single).await.unwrap().unwrap();
    assert_eq!((stack.owner, stack.request_key), (user.address(), key.public_key()));
    assert_eq!(stack.channel(node).unwrap().granted, Units(10_000));

    let db = chain.deployment().db;
    let grant = Grant { db, stack: any, node, units: Units(5_000), max_price: PRICE, nonce: 1 }.sign(&key);
    let open = |signature| OpenChannel {
        stack: any,
        node,
        units: Units(5_000),
        max_price: PRICE,
        nonce: 1,
        signature,
    };
    let forged = Call::OpenChannel(open(Some(Signature([3; 64]))));
    let refused = market.operator.execute(chain, forged).await.unwrap_err();
    assert_eq!(refused.abort(), Some(Abort::BadSignature), "{refused}");
    let opened =
        market.operator.execute(chain, Call::OpenChannel(open(Some(grant.signature)))).await.unwrap();
    assert!(matches!(&opened.events[..], [Event::ChannelOpened(opened)] if opened.granted == Units(5_000)));
    let more = OpenChannel { units: Units(6_000), nonce: 2, ..open(None) };
    user.execute(chain, Call::OpenChannel(more)).await.unwrap();

    // Both channels settled in one transaction, by anyone.
    let vouchers = vec![market.voucher(single, &key, 1_000, 1), market.voucher(any, &key, 500, 2)];
    let settled = market.creator.execute(chain, Call::Settle(vouchers.clone())).await.unwrap();
    assert_eq!(settled.events.len(), 2);
    let again = market.operator.execute(chain, Call::Settle(vouchers)).await.unwrap();
    assert!(again.events.is_empty(), "stale vouchers change nothing");
    let greedy = market.voucher(single, &key, 10_001, 9);
    let refused = market.operator.execute(chain, Call::Settle(vec![greedy])).await.unwrap_err();
    assert_eq!(refused.abort(), Some(Abort::OverClaimed));

    // What is due is withdrawn; nothing is due twice.
    market.operator.execute(chain, Call::Withdraw { stack: single }).await.unwrap();
    let refused = market.operator.execute(chain, Call::Withdraw { stack: single }).await.unwrap_err();
    assert_eq!(refused.abort(), Some(Abort::NothingDue));
    market.creator.execute(chain, Call::Withdraw { stack: single }).await.unwrap();
    market.operator.execute(chain, Call::ReleaseChannel { stack: any, node }).await.unwrap();
    market.operator.execute(chain, Call::Withdraw { stack: any }).await.unwrap();
    market.creator.execute(chain, Call::Withdraw { stack: any }).await.unwrap();

    for stack in [single, any] {
        user.execute(chain, Call::RequestClose { stack }).await.unwrap();
        let early = user.execute(chain, Call::Refund { stack }).await.unwrap_err();
        assert_eq!(early.abort(), Some(Abort::TooEarly));
    }
    advance(chain, chain.params().await.unwrap().close_delay_ms + 1).await;
    let treasury = chain.treasury().await.unwrap();
    for stack in [single, any] {
        user.execute(chain, Call::Refund { stack }).await.unwrap();
        let left = chain.stack(stack).await.unwrap();
        if left.is_some_and(|stack| !stack.treasury_due.is_zero()) {
            market.creator.execute(chain, Call::Sweep { stack }).await.unwrap();
        }
        assert_eq!(chain.stack(stack).await.unwrap(), None, "deleted when nothing is left");
    }
    let spent = before.0 - chain.balances(user.address()).await.unwrap().coin.0;
    let swept = chain.treasury().await.unwrap().0 - treasury.0;
    let (earned, created) = {
        let started = 10_000 * COIN;
        let operator = chain.balances(market.operator.address()).await.unwrap().coin.0;
        let creator = chain.balances(market.creator.address()).await.unwrap().coin.0;
        (operator - (started - 1_001 * COIN), creator - started)
    };
    assert_eq!(spent, earned + created + swept, "what the user paid is what the others got");
    assert!(earned > 0 && created > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_leaves_with_its_collateral() {
    let market = Market::open().await;
    let (chain, node) = (&market.chain, market.node);
    let call = Call::ExitNode { node };
    market.operator.execute(chain, Call::DisableNode { node }).await.unwrap();
    let early = market.operator.execute(chain, call.clone()).await.unwrap_err();
    assert_eq!(early.abort(), Some(Abort::TooEarly));
    advance(chain, chain.params().await.unwrap().exit_ms + 1).await;
    let early = market.operator.execute(chain, call.clone()).await.unwrap_err();
    assert_eq!(early.abort(), Some(Abort::TooEarly), "two epochs are not over");
    end_epochs(chain, 2).await;
    market.operator.execute(chain, call).await.unwrap();
    let left = chain.balances(market.operator.address()).await.unwrap();
    assert_eq!(left.coin, Amount(9_999 * COIN), "all but the fee");

    let stranger = market.creator.execute(chain, Call::DisableNode { node }).await.unwrap_err();
    assert!(matches!(stranger, ChainError::InvalidCall { .. }), "{stranger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_arrive_to_the_base_unit() {
    let market = Market::open().await;
    let chain = &market.chain;
    let (payer, payee) = (funded(chain).await, funded(chain).await);
    let before = chain.balances(payer.address()).await.unwrap();
    let to = payee.address();
    let sent = payer.execute(chain, Call::TransferCoin { to, amount: Amount(7) }).await.unwrap();
    let gas = payer.execute(chain, Call::TransferGas { to, amount: 11 }).await.unwrap();
    let after = chain.balances(payer.address()).await.unwrap();
    assert_eq!(after.coin, Amount(before.coin.0 - 7));
    let fees = u64::try_from(sent.gas_used + gas.gas_used).unwrap();
    assert_eq!(after.gas, before.gas - 11 - fees);
    let received = chain.balances(to).await.unwrap();
    assert_eq!((received.coin, received.gas), (Amount(before.coin.0 + 7), before.gas + 11));
}
