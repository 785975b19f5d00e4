//! Channels that were written off, or cannot be seen for a while, and come back.

use crate::interposed::{Interposed, Reads};
use crate::support::{Answer, Market, User, chat, journal_of};
use atoma_chain::Call;
use atoma_node::{NodeConfig, Settle};
use atoma_sqlite::rusqlite::Connection;
use atoma_types::onchain::{Event, Selection};
use atoma_types::{Transcript, Units};

/// What a user remembers of its channel.
struct Books {
    transcript: Transcript,
    total: Units,
    newest: Option<Answer>,
}

impl Books {
    fn new() -> Self {
        Self { transcript: Transcript::new(), total: Units::ZERO, newest: None }
    }

    /// Asks once more, acknowledging what came before, and checks that the transcript goes on.
    async fn ask(&mut self, user: &User, node: &str) {
        let voucher = self.newest.as_ref().map(|answer| user.voucher_for(answer.receipt()));
        let answer = user.ask(node, &chat(false, "and then?"), voucher).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        user.verify(&answer, &mut self.transcript, &mut self.total);
        self.newest = Some(answer);
    }
}

fn config(market: &Market, settle: Settle) -> NodeConfig {
    NodeConfig { settle, ..market.config() }
}

fn eager() -> Settle {
    Settle { every_ms: 5, units: 1, min_amount: 0, ..Settle::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_hidden_at_the_start_keeps_its_books() {
    let market = Market::open().await;
    let user = market.user().await;
    let handle = market.start().await;
    let mut books = Books::new();
    let body = chat(false, "once").to_string().into_bytes();
    let authorization = user.authorize(user.auth(&body, 60), None);
    let first = user.post(&handle.url(), &body, &authorization).await;
    user.verify(&first, &mut books.transcript, &mut books.total);
    books.newest = Some(first);
    books.ask(&user, &handle.url()).await;
    handle.drain().await.unwrap();

    let lagging = Interposed::over(&market, Reads::Hidden);
    let handle = lagging.spawn(config(&market, Settle { min_amount: 0, ..Settle::default() })).await;
    lagging.set(Reads::Shown);
    let replayed = user.post(&handle.url(), &body, &authorization).await;
    assert_eq!(replayed.code(), (401, "auth_replayed".to_owned()));
    books.ask(&user, &handle.url()).await;
    let (settled, count) = (books.newest.as_ref().unwrap().receipt(), 2);
    assert_eq!(settled.count, 3);
    handle.drain().await.unwrap();
    assert_eq!(user.on_chain().await.channel(market.node).unwrap().settled_count, count);

    // What was not written off is there without anybody asking.
    let handle = market.start().await;
    assert_eq!(user.channel(&handle.url()).await["count"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_written_off_goes_on_with_its_history() {
    let market = Market::open().await;
    let user = market.user().await;
    let mut books = Books::new();
    for _ in 0..3 {
        let handle = market.start().await;
        books.ask(&user, &handle.url()).await;
        books.ask(&user, &handle.url()).await;
        handle.drain().await.unwrap();
        let journal = Connection::open(journal_of(market.dir.path())).unwrap();
        assert_eq!(journal.execute("UPDATE channels SET closed = 1", []).unwrap(), 1);
    }
    let handle = market.start().await;
    books.ask(&user, &handle.url()).await;
    assert_eq!(user.channel(&handle.url()).await["count"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_outlives_a_moment_without_its_stack() {
    let market = Market::open().await;
    let lagging = Interposed::over(&market, Reads::Shown);
    let handle =
        lagging.spawn(config(&market, Settle { every_ms: 5, min_amount: 0, ..Settle::default() })).await;
    let user = market.user_with(Selection::Any).await;
    user.open_channel(1_000, 1).await;
    let mut books = Books::new();
    books.ask(&user, &handle.url()).await;
    let receipt = books.newest.as_ref().unwrap().receipt().clone();
    user.acknowledge(&handle.url(), &user.voucher_for(&receipt)).await;

    lagging.set(Reads::Hidden);
    // Its event makes the node read the stack, which is not there.
    user.open_channel(2_000, 2).await;
    let settled = |event: &Event| matches!(event, Event::Settled(settled) if settled.stack == user.stack && settled.units == receipt.total_units);
    market.event(settled).await;
    lagging.set(Reads::Shown);
    user.until(&handle.url(), |channel| channel["closed"] == false && channel["granted"] == 2_000).await;
    books.ask(&user, &handle.url()).await;
    assert_eq!(user.channel(&handle.url()).await["count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_revoked_waits_for_the_vouchers_of_its_receipts() {
    let market = Market::open().await;
    let handle = Interposed::over(&market, Reads::Shown).spawn(config(&market, eager())).await;
    let node = handle.url();
    let (user, other) = (market.user().await, market.user().await);
    let mut books = Books::new();
    books.ask(&user, &node).await;
    let revoke = Call::RevokeChannel { stack: user.stack, node: market.node };
    user.wallet.execute(&user.chain, revoke).await.unwrap();
    user.until(&node, |channel| channel["closed"] == true).await;

    // Two settlements are two rounds: one at least looked at every channel in between.
    let mut others = Books::new();
    let mut two_rounds = async || {
        for _ in 0..2 {
            others.ask(&other, &node).await;
            let receipt = others.newest.as_ref().unwrap().receipt().clone();
            other.acknowledge(&node, &other.voucher_for(&receipt)).await;
            other.until(&node, |channel| channel["settled_count"] == receipt.count).await;
        }
    };
    two_rounds().await;
    let receipt = books.newest.as_ref().unwrap().receipt().clone();
    let taken = user.acknowledge(&node, &user.voucher_for(&receipt)).await;
    assert_eq!((taken.status, taken.json()["count"].as_u64()), (200, Some(1)));
    let refused = user.ask(&node, &chat(false, "more"), None).await;
    assert_eq!(refused.status, 402, "{}", refused.json());

    two_rounds().await;
    assert_eq!(user.on_chain().await.settled_units, receipt.total_units);
    let metrics = user.http.get(format!("{node}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\natoma_node_settlement_failures_total 0\n"), "{metrics}");
}
