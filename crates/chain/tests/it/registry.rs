//! What nodes, task owners and the administrator change, and when it holds.

use crate::support::{COIN, MAX_PRICE, Market, PRICE, advance, devnet, end_epochs, funded};
use atoma_chain::{AdminCall, Call, ChainClient, ChainError, Wallet};
use atoma_devnet::Config;
use atoma_types::onchain::{Abort, Event, Selection};
use atoma_types::{Address, Amount, Price, TaskId, Units};

#[tokio::test(flavor = "multi_thread")]
async fn the_administrator_sets_parameters_for_the_next_epoch_and_stops_purchases() {
    let admin = Wallet::generate().unwrap();
    let config = Config { admin: Some(admin.address()), ..Config::test() };
    let devnet = atoma_devnet::spawn(config).await.unwrap();
    let chain = ChainClient::connect(devnet.deployment().clone()).await.unwrap();
    devnet.fund(admin.address(), 1_000_000_000, 0).await.unwrap();
    let market = Market::on(devnet, chain.clone()).await;
    let user = funded(&chain).await;
    let buy = market.acquire(&user.request_key("stack"), Selection::Any);
    let set = |paused| Call::Admin(AdminCall::SetPaused(paused));
    let stranger = user.execute(&chain, set(true)).await.unwrap_err();
    assert!(matches!(stranger, ChainError::InvalidCall { .. }), "{stranger}");
    admin.execute(&chain, set(true)).await.unwrap();
    assert_eq!(user.execute(&chain, buy.clone()).await.unwrap_err().abort(), Some(Abort::Paused));
    admin.execute(&chain, set(false)).await.unwrap();
    user.execute(&chain, buy.clone()).await.unwrap();

    let mut params = chain.params().await.unwrap();
    params.open_fee = Amount(COIN);
    let before = chain.params().await.unwrap();
    admin.execute(&chain, Call::Admin(AdminCall::SetParams(Box::new(params.clone())))).await.unwrap();
    assert_eq!(chain.params().await.unwrap(), before);
    end_epochs(&chain, 1).await;
    assert_eq!(chain.params().await.unwrap(), params);
    params.unit_ms += 1;
    let refused = admin.execute(&chain, Call::Admin(AdminCall::SetParams(Box::new(params)))).await;
    assert_eq!(refused.unwrap_err().abort(), Some(Abort::BadParams));

    let to = Address::new([8; 32]);
    let pay = Call::Admin(AdminCall::PayFromTreasury { to, amount: Amount(7) });
    admin.execute(&chain, pay).await.unwrap();
    assert_eq!(chain.balances(to).await.unwrap().coin, Amount(7));
    admin.execute(&chain, Call::Admin(AdminCall::DisableModel(market.model))).await.unwrap();
    assert_eq!(user.execute(&chain, buy).await.unwrap_err().abort(), Some(Abort::ModelDisabled));
    market.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_changes_with_the_epoch() {
    let market = Market::open().await;
    let (chain, operator) = (&market.chain, &market.operator);
    let (node, task) = (market.node, market.task);
    let prices = || async {
        let offers = chain.offers(task).await.unwrap();
        offers.iter().map(|slot| slot.price).collect::<Vec<Price>>()
    };
    let reprice = Call::Reprice { node, task, price: MAX_PRICE, max_units: Units(COIN) };
    operator.execute(chain, reprice).await.unwrap();
    assert_eq!(prices().await, [PRICE]);
    end_epochs(chain, 1).await;
    assert_eq!(prices().await, [MAX_PRICE]);
    operator.execute(chain, Call::Unsubscribe { node, task }).await.unwrap();
    assert_eq!(prices().await, [MAX_PRICE]);
    end_epochs(chain, 1).await;
    assert!(prices().await.is_empty());
    let user = funded(chain).await;
    let buy = market.acquire(&user.request_key("stack"), Selection::Single);
    assert_eq!(user.execute(chain, buy).await.unwrap_err().abort(), Some(Abort::NoEligible));
    let at_level_0 = Call::SetVerifier { node, task, verifier: true };
    assert_eq!(operator.execute(chain, at_level_0).await.unwrap_err().abort(), Some(Abort::NotSubscribed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_changes_what_it_registered() {
    let market = Market::open().await;
    let (chain, operator, node) = (&market.chain, &market.operator, market.node);
    let payout = Address::new([8; 32]);
    let receipt_key = operator.request_key("other").public_key();
    let calls = [
        Call::SetPayout { node, payout },
        Call::SetAnswerInterval { node, interval_ms: 500 },
        Call::RotateReceiptKey { node, receipt_key },
        Call::AddCollateral { node, amount: Amount(5) },
    ];
    for call in calls {
        operator.execute(chain, call).await.unwrap();
    }
    let row = chain.node(node).await.unwrap().unwrap();
    assert_eq!((row.payout, row.answer_interval_ms), (payout, 500));
    assert_eq!((row.receipt_key, row.collateral), (receipt_key, Amount(1_000 * COIN + 5)));
    let nothing = [Call::SettleBookings { node }, Call::WithdrawDue, Call::Collect];
    for call in nothing {
        assert_eq!(operator.execute(chain, call).await.unwrap_err().abort(), Some(Abort::NothingDue));
    }
    market.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_narrowed_and_retired_by_its_badge() {
    let market = Market::open().await;
    let (chain, creator, task) = (&market.chain, &market.creator, market.task);
    creator.execute(chain, Call::SetWhitelist { task, nodes: vec![] }).await.unwrap();
    creator.execute(chain, Call::DeprecateTask { task }).await.unwrap();
    assert!(chain.task(task).await.unwrap().unwrap().deprecated);
    let other = creator.execute(chain, Call::DeprecateTask { task: TaskId(9) }).await.unwrap_err();
    assert!(matches!(other, ChainError::InvalidCall { .. }), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beacon_beats_at_its_own_pace() {
    let (_devnet, chain) = devnet().await;
    let anyone = funded(&chain).await;
    assert_eq!(chain.beacon().await.unwrap().round, 0);
    let first = anyone.execute(&chain, Call::Beat).await.unwrap();
    let [Event::BeaconRound(first)] = &first.events[..] else { panic!("{first:?}") };
    advance(&chain, chain.params().await.unwrap().beat_min_ms).await;
    let second = anyone.execute(&chain, Call::Beat).await.unwrap();
    let [Event::BeaconRound(second)] = &second.events[..] else { panic!("{second:?}") };
    assert_ne!(first.seed, second.seed);
    let shown = chain.beacon().await.unwrap();
    assert_eq!((shown.round, shown.at_ms), (2, second.at_ms));
}
