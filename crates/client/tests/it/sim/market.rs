//! The simulated chain as a session sees it.

use super::{MODEL, PRICE, WEIGHTS, World, wall_ms};
use atoma_chain::{AcquireStack, Balances, Call, Grow};
use atoma_client::catalog::Catalog;
use atoma_client::market::{Done, Market, MarketError, Prepared};
use atoma_types::onchain::{AuditTerms, Channel, Disputed, Model, Selection, Slot, Stack, Surcharge, Task};
use atoma_types::{Address, Amount, Hash32, ModelId, NodeId, Price, SecretKey, TaskId, Units};
use futures::future::BoxFuture;
use std::collections::HashMap;

/// A wallet in the market; its purchases draw the nodes in turn.
#[derive(Clone)]
pub(crate) struct SimMarket(pub(crate) World);

/// Most units that a node takes on in one stack.
const UNITS_MAX: Units = Units(1_000_000_000);

impl SimMarket {
    fn execute(&self, call: Call, bytes: &[u8]) -> Done {
        match call {
            Call::AcquireStack(purchase) => self.acquire(&purchase, bytes),
            Call::Grow(grow) => self.grow(&grow),
            Call::RequestClose { stack } => {
                let mut chain = self.0.chain();
                let now = chain.clock_ms.unwrap_or_else(wall_ms);
                chain.stacks.get_mut(&stack).unwrap().close_requested_ms = now;
                chain.closed.push(stack);
                Done::default()
            }
            Call::Refund { stack } => {
                let mut chain = self.0.chain();
                chain.refunded.push(stack);
                Done { returned: chain.stacks.remove(&stack).unwrap().balance, ..Done::default() }
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn channel(price: Price, node: NodeId, granted: Units, grant_nonce: u64) -> Channel {
        Channel {
            node,
            payout: Address::ZERO,
            price,
            echelon: 0,
            granted,
            grant_nonce,
            settled_units: Units::ZERO,
            settled_count: 0,
            root: Hash32::of(&[]),
            paid: Amount::ZERO,
            voided: Amount::ZERO,
            disputed_units: Units::ZERO,
            disputed_paid: Amount::ZERO,
            closed_ms: 0,
            released: false,
            claim: None,
            queued: None,
        }
    }

    fn acquire(&self, purchase: &AcquireStack, bytes: &[u8]) -> Done {
        let mut chain = self.0.chain();
        let id = Address::new(Hash32::of(bytes).0);
        let (units, price) = (purchase.units, chain.price.unwrap_or(PRICE));
        let (mut drawn, mut channels) = (vec![], vec![]);
        if purchase.selection == Selection::Single {
            let node = chain.nodes[chain.draws % chain.nodes.len()].id;
            chain.draws += 1;
            (drawn, channels) = (vec![node], vec![Self::channel(price, node, units, 0)]);
        }
        let now = chain.clock_ms.unwrap_or_else(wall_ms);
        let paid = purchase.max_price.cost(units).unwrap();
        let stack = Stack {
            id,
            version: 1,
            db: Address::TWO,
            owner: Address::THREE,
            request_key: purchase.request_key,
            task: TaskId(1),
            level: 0,
            exact: false,
            weights: WEIGHTS,
            max_price: purchase.max_price,
            total_units: units,
            granted_units: Units(channels.iter().map(|channel| channel.granted.0).sum()),
            settled_units: Units::ZERO,
            claimed_units: Units::ZERO,
            selection: purchase.selection,
            drawn,
            echelons: vec![0],
            creator: Address::TWO,
            creator_fee_permille: 0,
            surcharge: Surcharge { permille: 0, escrowed: Amount::ZERO, used: Amount::ZERO },
            opens_left: 0,
            created_ms: now,
            expires_ms: now + 3_600_000,
            close_requested_ms: 0,
            params: atoma_contract::params::devnet(),
            channels,
            disputed: Disputed::default(),
            dues: vec![],
            treasury_due: Amount::ZERO,
            balance: paid,
        };
        chain.stacks.insert(id, stack);
        chain.purchases += 1;
        Done { bought: Some(id), paid, ..Done::default() }
    }

    fn grow(&self, grow: &Grow) -> Done {
        let mut chain = self.0.chain();
        let price = chain.price.unwrap_or(PRICE);
        chain.growths += 1;
        let stack = chain.stacks.get_mut(&grow.stack).unwrap();
        let before = stack.max_price.cost(stack.total_units).unwrap();
        stack.total_units.0 += grow.units.0;
        let paid = stack.max_price.cost(stack.total_units).unwrap().sub(before).unwrap();
        assert!(paid <= grow.payment);
        stack.balance = stack.balance.add(paid).unwrap();
        for open in &grow.opens {
            match stack.channels.iter_mut().find(|channel| channel.node == open.node) {
                Some(channel) => {
                    assert!(open.nonce > channel.grant_nonce && open.units >= channel.granted);
                    (channel.granted, channel.grant_nonce) = (open.units, open.nonce);
                }
                None => stack.channels.push(Self::channel(price, open.node, open.units, open.nonce)),
            }
            assert!(open.units <= UNITS_MAX);
        }
        stack.granted_units = Units(stack.channels.iter().map(|channel| channel.granted.0).sum());
        assert!(stack.granted_units <= stack.total_units);
        Done { paid, ..Done::default() }
    }
}

impl Market for SimMarket {
    fn db(&self) -> Address {
        Address::TWO
    }

    fn request_key(&self, label: &str) -> SecretKey {
        SecretKey::from_seed(Hash32::of(label.as_bytes()).0)
    }

    fn catalog(&self) -> BoxFuture<'_, Result<Catalog, MarketError>> {
        let nodes = self.0.chain().nodes.clone();
        let model = Model {
            id: ModelId(1),
            label: MODEL.into(),
            creator: Address::TWO,
            modality: 0,
            weights_root: Hash32::ZERO,
            creator_fee_permille: 0,
            disabled: false,
        };
        let task = Task {
            id: TaskId(1),
            owner: Address::TWO,
            role: 0,
            model: ModelId(1),
            level: 0,
            exact: false,
            price_ceiling: Price(1_000_000),
            weights: WEIGHTS,
            surcharge_permille: 5,
            min_collateral: Amount::ZERO,
            min_reputation: 0,
            whitelist: vec![],
            echelons: vec![0],
            deprecated: false,
            audit: AuditTerms::default(),
        };
        let offers = nodes.iter().map(|node| Slot {
            node: node.id,
            weight: Amount(1),
            price: PRICE,
            max_units: UNITS_MAX,
            since_ms: 0,
            from_epoch: 0,
            until_epoch: u64::MAX,
            until_ms: u64::MAX,
        });
        let offers = HashMap::from([(TaskId(1), offers.collect())]);
        let params = atoma_contract::params::devnet();
        let catalog = Catalog::new(vec![model], vec![task], nodes, offers, params);
        Box::pin(async move { Ok(catalog) })
    }

    fn stack(&self, id: Address) -> BoxFuture<'_, Result<Option<Stack>, MarketError>> {
        let chain = self.0.chain();
        let stack = if chain.hidden {
            Err(MarketError::Unknown("hidden".into()))
        } else {
            Ok(chain.stacks.get(&id).cloned())
        };
        Box::pin(async move { stack })
    }

    fn now_ms(&self) -> BoxFuture<'_, Result<u64, MarketError>> {
        let now = self.0.chain().clock_ms.unwrap_or_else(wall_ms);
        Box::pin(async move { Ok(now) })
    }

    fn balances(&self) -> BoxFuture<'_, Result<Balances, MarketError>> {
        Box::pin(async { Ok(Balances { gas: 1_000, coin: Amount(1_000) }) })
    }

    fn prepare(&self, call: Call) -> BoxFuture<'_, Result<Prepared, MarketError>> {
        let mut chain = self.0.chain();
        let prepared = if chain.poor {
            Err(MarketError::Funds("not enough coins".into()))
        } else {
            let bytes = chain.calls.len().to_le_bytes().to_vec();
            chain.calls.insert(bytes.clone(), call);
            Ok(Prepared::from_bytes(bytes))
        };
        Box::pin(async move { prepared })
    }

    fn submit(&self, prepared: Prepared) -> BoxFuture<'_, Result<Done, MarketError>> {
        let bytes = prepared.bytes;
        if self.0.chain().unreachable {
            return Box::pin(async { Err(MarketError::Unknown("unreachable".into())) });
        }
        let known = self.0.chain().done.get(&bytes).copied();
        let done = known.unwrap_or_else(|| {
            let call = self.0.chain().calls[&bytes].clone();
            self.execute(call, &bytes)
        });
        let mut chain = self.0.chain();
        chain.done.insert(bytes, done);
        let lost = chain.lost_answers > 0;
        chain.lost_answers = chain.lost_answers.saturating_sub(1);
        Box::pin(async move { if lost { Err(MarketError::Unknown("lost".into())) } else { Ok(done) } })
    }
}
