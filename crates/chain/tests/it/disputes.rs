//! Disputes over delivery, over the chain, and what changes in a stack besides settling.

use crate::support::{COIN, Market, PRICE, advance, funded, stack_of};
use atoma_chain::{Call, Case, DisputeCall, Executed, OpenChannel, Shown, Wallet};
use atoma_devnet::BlobCertificate;
use atoma_types::message::Message as _;
use atoma_types::onchain::{Abort, DisputeState, Event, Selection};
use atoma_types::{
    Address, Amount, Hash32, Record, RequestAuth, SecretKey, Signed, Status, Transcript, Units, Voucher,
};

const MAX_UNITS: Units = Units(1_000);

/// A stack with a channel, and the user who holds its key.
struct Buyer {
    wallet: Wallet,
    key: SecretKey,
    stack: Address,
}

impl Buyer {
    async fn new(market: &Market) -> Self {
        let wallet = funded(&market.chain).await;
        let key = wallet.request_key("stack");
        let acquire = market.acquire(&key, Selection::Single);
        let stack = stack_of(&wallet.execute(&market.chain, acquire).await.unwrap());
        Self { wallet, key, stack }
    }

    async fn request(&self, market: &Market, nonce: u64) -> Signed<RequestAuth> {
        let (db, stack, node) = (market.chain.deployment().db, self.stack, market.node);
        let expires_ms = market.chain.now_ms().await.unwrap() + 60_000;
        let body_hash = Hash32::of(b"body");
        RequestAuth { db, stack, node, hops: 0, nonce, body_hash, max_units: MAX_UNITS, expires_ms }
            .sign(&self.key)
    }

    /// Opens a dispute about a request that nobody answered.
    async fn dispute(&self, market: &Market, nonce: u64) -> (Case, Signed<RequestAuth>) {
        let request = self.request(market, nonce).await;
        let blob = stored(market, self.wallet.address()).await;
        let open = DisputeCall::Open { request: request.clone(), blob, payment: Amount(COIN) };
        let opened = self.wallet.execute(&market.chain, Call::Dispute(open)).await.unwrap();
        let dispute = opened.opened_dispute().unwrap();
        (Case { stack: self.stack, dispute, node: market.node }, request)
    }
}

async fn stored(market: &Market, owner: Address) -> Address {
    let blob = BlobCertificate { owner, blob_id: [3; 32], size: 5, epochs_ahead: 2, deletable: false };
    market.devnet.certify_blob(blob).await.unwrap()
}

async fn run(market: &Market, by: &Wallet, call: DisputeCall) -> Result<Executed, Abort> {
    by.execute(&market.chain, Call::Dispute(call)).await.map_err(|error| error.abort().unwrap())
}

/// The one record of an answer to `request`.
fn record(request: &Signed<RequestAuth>) -> Record {
    Record {
        request_hash: request.message.signed_hash(),
        response_hash: Hash32::of(b"response"),
        input: 300,
        output: 700,
        units: MAX_UNITS,
        total_units: MAX_UNITS,
        count: 1,
        status: Status::Complete,
        work: Hash32::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_paid_and_the_bond_returns_but_for_the_fee() {
    let market = Market::open().await;
    let buyer = Buyer::new(&market).await;
    let (case, request) = buyer.dispute(&market, 1).await;
    let stack = market.chain.stack(buyer.stack).await.unwrap().unwrap();
    assert_eq!(stack.disputed.reserves[0].units, MAX_UNITS);

    let demanded = run(&market, &market.operator, DisputeCall::DemandBody { case }).await.unwrap();
    assert!(matches!(&demanded.events[..], [Event::BodyDemanded(_)]), "{demanded:?}");
    let post = |part: &[u8], is_last| DisputeCall::PostBody {
        dispute: case.dispute,
        offset: 0,
        part: part.to_vec(),
        is_last,
    };
    let other = run(&market, &buyer.wallet, post(b"another body", true)).await.unwrap_err();
    assert_eq!(other, Abort::BadBody);
    run(&market, &buyer.wallet, post(b"body", true)).await.unwrap();

    let blob = stored(&market, market.operator.address()).await;
    let answer = DisputeCall::AnswerServed { case, blob, record: record(&request) };
    let answered = run(&market, &market.operator, answer).await.unwrap();
    let paid = PRICE.cost(MAX_UNITS).unwrap();
    let is_answered = |event: &Event| matches!(event, Event::DisputeAnswered(event) if event.amount == paid);
    assert!(answered.events.iter().any(is_answered), "{answered:?}");
    let dispute = market.chain.dispute(case.dispute).await.unwrap().unwrap();
    assert_eq!((dispute.state, dispute.bond), (DisputeState::Ended, Amount::ZERO));
    for wallet in [&buyer.wallet, &market.operator] {
        run(&market, wallet, DisputeCall::Withdraw { dispute: case.dispute }).await.unwrap();
    }
    assert_eq!(market.chain.dispute(case.dispute).await.unwrap(), None, "deleted when nothing is left");
    market.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_costs_the_node_the_fee() {
    let market = Market::open().await;
    let buyer = Buyer::new(&market).await;
    let (case, _) = buyer.dispute(&market, 1).await;
    let params = market.chain.params().await.unwrap();
    let refuse = DisputeCall::AnswerRefused { case, reason: 2, payment: Amount(COIN) };
    run(&market, &market.operator, refuse.clone()).await.unwrap();
    assert_eq!(run(&market, &market.operator, refuse).await.unwrap_err(), Abort::WrongState);
    let before = market.chain.balances(buyer.wallet.address()).await.unwrap().coin;
    run(&market, &buyer.wallet, DisputeCall::Withdraw { dispute: case.dispute }).await.unwrap();
    let after = market.chain.balances(buyer.wallet.address()).await.unwrap().coin;
    assert_eq!(after.0 - before.0, params.bond.0, "the fee is the treasury's");
    market.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_shown() {
    let market = Market::open().await;
    let buyer = Buyer::new(&market).await;
    let (case, request) = buyer.dispute(&market, 1).await;
    let record = record(&request);
    let mut transcript = Transcript::new();
    transcript.append(&record);
    let (db, root) = (market.chain.deployment().db, transcript.root());
    let voucher = Voucher { db, stack: case.stack, node: case.node, units: MAX_UNITS, count: 1, root };
    let shown = Shown { record, index: 0, proof: vec![] };
    let show = DisputeCall::ShowAcknowledged { case, voucher: voucher.sign(&buyer.key), shown };
    let done = run(&market, &market.operator, show).await.unwrap();
    assert!(matches!(&done.events[..], [Event::DisputeAcknowledged(_), Event::DisputeEnded(_)]), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_slashed_and_compensated() {
    let market = Market::open().await;
    let buyer = Buyer::new(&market).await;
    let (case, _) = buyer.dispute(&market, 1).await;
    let chain = &market.chain;
    let late = DisputeCall::MarkLate { dispute: case.dispute };
    assert_eq!(run(&market, &buyer.wallet, late.clone()).await.unwrap_err(), Abort::NotLate);
    let params = chain.params().await.unwrap();
    advance(chain, params.queue_max_ms + params.answer_window_ms).await;
    run(&market, &buyer.wallet, late).await.unwrap();
    advance(chain, params.grace_ms).await;
    run(&market, &buyer.wallet, DisputeCall::Expire { case }).await.unwrap();
    let row = chain.node(market.node).await.unwrap().unwrap();
    assert_eq!(row.collateral, Amount(900 * COIN));
    let before = chain.balances(buyer.wallet.address()).await.unwrap().coin;
    buyer.wallet.execute(chain, Call::WithdrawDue).await.unwrap();
    let after = chain.balances(buyer.wallet.address()).await.unwrap().coin;
    let cost = PRICE.cost(MAX_UNITS).unwrap();
    assert_eq!(after.0 - before.0, params.compensation_times * cost.0);
    // The pot for further timeouts is the treasury's once its window is over.
    advance(chain, params.answer_window_ms + 1).await;
    market.creator.execute(chain, Call::SettleBookings { node: market.node }).await.unwrap();
    market.creator.execute(chain, Call::Collect).await.unwrap();
    market.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn units_of_an_ended_channel_come_back_after_the_delay() {
    let market = Market::open().await;
    let buyer = Buyer::new(&market).await;
    let (chain, node, stack) = (&market.chain, market.node, buyer.stack);
    let voucher = market.voucher(stack, &buyer.key, 1_000, 1);
    buyer.wallet.execute(chain, Call::RevokeChannel { stack, node }).await.unwrap();
    let reclaim = Call::Reclaim { stack, node };
    let early = market.creator.execute(chain, reclaim.clone()).await.unwrap_err();
    assert_eq!(early.abort(), Some(Abort::TooEarly));
    // What the node holds it settles all the same.
    market.operator.execute(chain, Call::Settle(vec![voucher])).await.unwrap();
    advance(chain, chain.params().await.unwrap().close_delay_ms + 1).await;
    market.creator.execute(chain, reclaim).await.unwrap();
    let found = chain.stack(stack).await.unwrap().unwrap();
    assert_eq!((found.granted_units, found.channels[0].granted), (Units(1_000), Units(1_000)));

    let other = Buyer::new(&market).await;
    let stack = other.stack;
    let top_up = Call::TopUp { stack, units: Units(500), payment: Amount(COIN) };
    other.wallet.execute(chain, top_up).await.unwrap();
    let more = OpenChannel { stack, node, units: Units(10_500), max_price: PRICE, nonce: 1, signature: None };
    other.wallet.execute(chain, Call::OpenChannel(more)).await.unwrap();
    assert_eq!(chain.stack(stack).await.unwrap().unwrap().granted_units, Units(10_500));
    market.devnet.audit().unwrap();
}
