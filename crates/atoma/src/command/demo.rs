//! `atoma demo`: the whole story once, unattended, with an account of who paid whom.

mod books;

use crate::cli::Demo as Arguments;
use crate::home::Home;
use crate::market::{self, Market, MarketConfig, Ware};
use crate::output::{self, Step, say};
use anyhow::{Context, Result, bail, ensure};
use atoma_chain::{Call, Wallet};
use atoma_client::channel::Completion;
use atoma_client::market::ChainMarket;
use atoma_client::request::Endpoint;
use atoma_client::session::AnswerBody;
use atoma_client::{Policy, Session, SessionConfig};
use atoma_types::message::{AUTH_LIFE_MS, Message};
use atoma_types::onchain::Stack;
use atoma_types::wire::{self, Authorization, RECEIPT_COMMENT};
use atoma_types::{Address, Amount, Hash32, NodeId, Price, Receipt, RequestAuth, SecretKey, Signed, Units};
use books::Books;
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const EMPTY_BODY: &str = "{}";
const UNITS: Units = Units(100_000);
/// Far above the market's price, so that a few answers move amounts one can see, fees included.
const PRICE: Price = Price(40_000_000);
/// How often, and how many times, to look whether a node has settled.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 300;

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// What the demo reports with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
    /// Base units by party.
    before: Books,
    after: Books,
    answers: Vec<String>,
    receipts: Vec<Receipt>,
}

pub(crate) async fn run(home: &Home, arguments: &Arguments) -> Result<ExitCode> {
    let engine = super::model::reference_engine(home, super::model::DEFAULT).await?;
    let folder = home.folder(&format!("demo-{}", std::process::id()))?;
    let told = tell(engine, &folder, arguments.json).await;
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    let report = told?;
    if arguments.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tell(engine: Arc<dyn atoma_inference::Engine>, folder: &Path, quiet: bool) -> Result<Report> {
    let step = Step::start("starting a chain and three nodes");
    let devnet =
        atoma_devnet::Config { listen: ([127, 0, 0, 1], 0).into(), ..atoma_devnet::Config::default() };
    let settle = atoma_node::Settle { every_ms: 200, min_amount: 0, ..atoma_node::Settle::default() };
    let admission = atoma_node::Admission::default();
    let model = engine.model().to_owned();
    let config = MarketConfig {
        nodes: 3,
        wares: vec![Ware::chat(engine)],
        devnet,
        folder: folder.to_owned(),
        price: PRICE,
        settle,
        admission,
    };
    let market = Market::start(config).await?;
    let user = market::funded_wallet(market.chain.deployment(), &market.chain, &folder.join("user")).await?;
    drop(step);
    let mut story = Story { market, user, model, folder: folder.to_owned(), quiet, checks: Vec::new() };
    let report = Box::pin(story.play()).await?;
    story.market.drain().await?;
    Ok(report)
}

struct Story {
    market: Market,
    user: Wallet,
    model: String,
    folder: std::path::PathBuf,
    quiet: bool,
    checks: Vec<Check>,
}

/// An answer as it came.
struct Answered {
    text: String,
    receipt: Signed<Receipt>,
    cost: Amount,
}

impl Story {
    async fn play(&mut self) -> Result<Report> {
        let before = Books::read(&self.market, self.user.address(), None).await?;
        let session = self.open_session().await?;
        let stack = session.buy(&self.model).await?;
        let bought = self.stack(stack).await?.context("the stack that was bought is not on chain")?;
        let node = *bought.drawn.first().context("no node was drawn")?;
        let channel = bought.channel(node).context("the drawn node has no channel")?.clone();
        self.say(format!(
            "The user bought {} units of {} for at most {}; the chain drew node {node}, which asks {} per million.",
            bought.total_units, self.model, bought.balance.display_coins(), channel.price
        ));

        let whole = self.ask(&session, false).await?;
        let streamed = self.ask(&session, true).await?;
        self.say(format!("Node {node} answered: {}", whole.text.trim()));
        self.check("the answer names Paris", whole.text.contains("Paris"), &whole.text);
        self.check("the stream says the same", whole.text == streamed.text, &streamed.text);
        self.check_receipts(&[&whole, &streamed]).await?;
        self.check_refusals(stack, node).await?;

        let total = streamed.receipt.message.total_units;
        let until = session.close(stack).await?;
        self.say("The user acknowledged what it got and asked to close; the node settles.");
        let settled = self.settled(stack, total).await?;
        self.check("settled what was receipted", settled == total, &format!("{settled} of {total}"));
        self.advance_past(until).await?;
        let coins_before = self.coins().await?;
        session.refund(stack).await?;
        let refunded = self.coins().await?.sub(coins_before)?;
        session.drain().await?;
        self.pay_out(stack).await?;

        let after = Books::read(&self.market, self.user.address(), Some(stack)).await?;
        let paid = channel.price.cost(total)?;
        self.check_money(&before, &after, &bought, paid)?;
        let earned = bought.surcharge.escrowed.pro_rata(total, bought.total_units)?;
        let rest = bought.balance.sub(paid)?.sub(earned)?;
        self.check("the rest was refunded", refunded == rest, &format!("{refunded}, expected {rest}"));
        let priced = whole.cost.add(streamed.cost)?;
        self.check(
            "the user's own count of the cost agrees",
            priced == paid,
            &format!("{priced} and {paid}"),
        );
        Ok(Report {
            ok: self.checks.iter().all(|check| check.ok),
            checks: std::mem::take(&mut self.checks),
            before,
            after,
            answers: vec![whole.text, streamed.text],
            receipts: vec![whole.receipt.message, streamed.receipt.message],
        })
    }

    async fn open_session(&self) -> Result<Session> {
        let policy = Policy { units: UNITS, ..Policy::default() };
        let config = SessionConfig { journal: self.folder.join("user/journal.sqlite"), policy };
        let market = Arc::new(ChainMarket::new(self.market.chain.clone(), self.user.clone()));
        Ok(Session::open(config, market).await?)
    }

    async fn ask(&self, session: &Session, stream: bool) -> Result<Answered> {
        let question = json!({
            "model": self.model, "stream": stream, "temperature": 0, "seed": 7, "max_tokens": 48,
            "messages": [{ "role": "user", "content": "What is the capital of France? Answer in one sentence." }],
        });
        let body = Bytes::from(serde_json::to_vec(&question)?);
        let quote = session.quote(Endpoint::ChatCompletions, &body).await?;
        let answer = session.ask(&quote, body).await?;
        ensure!(answer.status.is_success(), "the node answered {}", answer.status);
        let header =
            answer.headers.get(wire::RECEIPT_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let completion = answer.completion.context("the answer is not accounted for")?;
        let bytes = match answer.body {
            AnswerBody::Whole(bytes) => bytes.to_vec(),
            AnswerBody::Stream(stream) => {
                stream
                    .fold(Vec::new(), |mut all, chunk| async move {
                        let Ok(chunk) = chunk;
                        all.extend_from_slice(&chunk);
                        all
                    })
                    .await
            }
        };
        let body = String::from_utf8(bytes)?;
        let (text, encoded) = if stream { read_stream(&body)? } else { (read_whole(&body)?, header) };
        let receipt = wire::decode(&encoded.context("the answer carries no receipt")?)?;
        match completion.await? {
            Completion::Settled { cost, .. } => Ok(Answered { text, receipt, cost }),
            Completion::Unpaid { reason } => bail!("the answer was not paid: {reason}"),
        }
    }

    /// Receipts hold under the key on chain, and with any one byte flipped they do not.
    async fn check_receipts(&mut self, answers: &[&Answered]) -> Result<()> {
        let node = answers.first().context("no answer")?.receipt.message.node;
        let key = self.market.chain.node(node).await?.context("the node is not on chain")?.receipt_key;
        let verify = |signed: &Signed<Receipt>| signed.verify(&key).is_ok();
        let all_hold = answers.iter().all(|answer| verify(&answer.receipt));
        self.check("receipts verify against the key on chain", all_hold, &key.to_string());
        let mut survived = 0_usize;
        for answer in answers {
            let bytes = bcs::to_bytes(&answer.receipt)?;
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                survived += usize::from(bcs::from_bytes(&flipped).is_ok_and(|signed| verify(&signed)));
            }
        }
        self.check(
            "a receipt with one flipped byte does not",
            survived == 0,
            &format!("{survived} survived"),
        );
        Ok(())
    }

    /// What the stack's own key did not sign is refused with its precise code, and moves nothing.
    async fn check_refusals(&mut self, stack: Address, node: NodeId) -> Result<()> {
        let running = self.market.nodes.iter().find(|running| running.handle.node() == node);
        let url = running.context("the drawn node is not one of ours")?.handle.url();
        let before = owed(&url, stack).await?;
        let unsigned = refusal(&url, None).await?;
        self.check("an unsigned request is refused", unsigned == "missing_authorization", &unsigned);
        let auth = RequestAuth {
            db: self.market.chain.deployment().db,
            stack,
            node,
            hops: 0,
            nonce: u64::MAX,
            body_hash: Hash32::of(EMPTY_BODY.as_bytes()),
            max_units: Units(1_000),
            expires_ms: self.market.chain.now_ms().await?.saturating_add(AUTH_LIFE_MS),
        };
        let foreign = Authorization {
            auth: auth.sign(&SecretKey::from_seed([1; 32])),
            voucher: None,
            grants: Vec::new(),
        };
        let forged = refusal(&url, Some(wire::encode(&foreign))).await?;
        self.check("a request signed by another key is refused", forged == "invalid_signature", &forged);
        let after = owed(&url, stack).await?;
        self.check("refused requests move nothing", before == after, &after.to_string());
        Ok(())
    }

    /// Waits until the chain shows `wanted` units settled.
    async fn settled(&self, stack: Address, wanted: Units) -> Result<Units> {
        let _step = Step::start("waiting for the node to settle");
        let mut settled = Units::ZERO;
        for _ in 0..LOOKS_MAX {
            settled = self.stack(stack).await?.map_or(Units::ZERO, |stack| stack.settled_units);
            if settled >= wanted {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(settled)
    }

    /// Moves the devnet's clock past `until_ms`.
    async fn advance_past(&self, until_ms: u64) -> Result<()> {
        let now = self.market.chain.now_ms().await?;
        let milliseconds = until_ms.saturating_sub(now).saturating_add(1_000);
        super::devnet::advance(&self.market.chain.deployment().rpc_url, milliseconds).await?;
        self.say(format!(
            "The close delay passed (the clock was moved {} s); the rest went back.",
            milliseconds / 1_000
        ));
        Ok(())
    }

    /// Everybody withdraws what they are due, and the treasury's part is swept.
    async fn pay_out(&self, id: Address) -> Result<()> {
        let Some(stack) = self.stack(id).await? else { return Ok(()) };
        if !stack.treasury_due.is_zero() {
            self.market.creator.execute(&self.market.chain, Call::Sweep { stack: id }).await?;
        }
        let wallets =
            self.market.nodes.iter().map(|node| &node.wallet).chain([&self.market.creator, &self.user]);
        for wallet in wallets {
            // Nodes withdraw by themselves, too; whoever comes second finds nothing due.
            let Some(stack) = self.stack(id).await? else { return Ok(()) };
            if stack.dues.iter().any(|due| due.to == wallet.address()) {
                match wallet.execute(&self.market.chain, Call::Withdraw { stack: id }).await {
                    Ok(_) => {}
                    Err(error) if self.is_paid(id, wallet.address()).await? => {
                        tracing::debug!(%error, "already withdrawn");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn is_paid(&self, id: Address, owner: Address) -> Result<bool> {
        Ok(self.stack(id).await?.is_none_or(|stack| stack.dues.iter().all(|due| due.to != owner)))
    }

    fn check_money(&mut self, before: &Books, after: &Books, bought: &Stack, paid: Amount) -> Result<()> {
        let (total_before, total_after) = (before.total()?, after.total()?);
        self.check(
            "money in equals money out",
            total_before == total_after,
            &format!("{total_before} and {total_after}"),
        );
        self.check("nothing is left in the stack", after.escrow.is_zero(), &after.escrow.to_string());
        let creator_fee = paid.share(bought.creator_fee_permille)?;
        let surcharge = after.treasury.sub(before.treasury)?;
        let earned = after.nodes_total()?.sub(before.nodes_total()?)?;
        let to_creator = after.creator.sub(before.creator)?;
        let spent = before.user.sub(after.user)?;
        let says = |what: Amount, wanted: Amount| format!("{what}, expected {wanted}");
        self.check(
            "the node earned its price for what was signed",
            earned == paid.sub(creator_fee)?,
            &says(earned, paid.sub(creator_fee)?),
        );
        self.check(
            "the model's creator got its share",
            to_creator == creator_fee,
            &says(to_creator, creator_fee),
        );
        self.check(
            "the user paid that, the surcharge, and no more",
            spent == paid.add(surcharge)?,
            &says(spent, paid.add(surcharge)?),
        );
        Ok(())
    }

    /// The user's coins.
    async fn coins(&self) -> Result<Amount> {
        Ok(self.market.chain.balances(self.user.address()).await?.coin)
    }

    async fn stack(&self, id: Address) -> Result<Option<Stack>> {
        Ok(self.market.chain.stack(id).await?)
    }

    fn check(&mut self, name: &'static str, ok: bool, detail: &str) {
        self.checks.push(Check { name, ok, detail: detail.trim().to_owned() });
    }

    fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            say!("{}", text.as_ref());
        }
    }
}

/// What the node holds the user to. What is settled of it may move at any time.
async fn owed(url: &str, stack: Address) -> Result<Value> {
    let books: Value = reqwest::get(format!("{url}/v1/channels?stack={stack}")).await?.json().await?;
    let fields = ["granted", "available", "total_units", "count", "root", "voucher", "in_flight"];
    Ok(fields.into_iter().map(|field| (field.to_owned(), books[field].clone())).collect())
}

/// Sends a request to a node and returns the code of its refusal.
async fn refusal(url: &str, authorization: Option<String>) -> Result<String> {
    let mut request = reqwest::Client::new().post(format!("{url}/v1/chat/completions")).body(EMPTY_BODY);
    if let Some(authorization) = authorization {
        request = request.header(wire::AUTH_HEADER, authorization);
    }
    let response = request.send().await?;
    ensure!(response.status().is_client_error(), "the node answered {}", response.status());
    let error: Value = response.json().await?;
    Ok(error["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn read_whole(body: &str) -> Result<String> {
    let completion: Value = serde_json::from_str(body)?;
    let text = completion["choices"][0]["message"]["content"].as_str();
    Ok(text.context("the answer has no content")?.to_owned())
}

/// Text and receipt of a stream.
fn read_stream(body: &str) -> Result<(String, Option<String>)> {
    let (mut text, mut receipt) = (String::new(), None);
    for line in body.lines() {
        if let Some(encoded) = line.strip_prefix(RECEIPT_COMMENT) {
            receipt = Some(encoded.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") {
            let event: Value = serde_json::from_str(data)?;
            text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
    }
    Ok((text, receipt))
}

fn print(report: &Report) {
    say!("\n{:<12}{:>20}{:>20}{:>16}", "", "before", "after", "change");
    for ((party, before), (_, after)) in report.before.rows().into_iter().zip(report.after.rows()) {
        let change = if after >= before {
            format!("+{}", after.saturating_sub(before).display_coins())
        } else {
            format!("-{}", before.saturating_sub(after).display_coins())
        };
        say!("{party:<12}{:>20}{:>20}{change:>16}", before.display_coins(), after.display_coins());
    }
    say!();
    for check in &report.checks {
        let mark = if check.ok { output::green("ok") } else { output::red("FAILED") };
        let detail = if check.ok { String::new() } else { format!(": {}", check.detail) };
        say!("{mark} {}{detail}", check.name);
    }
}
