//! The Move packages of the devnet: what can be called, with which arguments, and the step from a call's
//! BCS arguments to the contract's functions and back.

mod functions;
mod signature;
mod walrus;

pub(crate) use functions::functions;
pub(crate) use signature::{Brittle, By, Function, ObjectKind, Param, is_valid, length_prefix};
pub(crate) use walrus::System;

use crate::ledger::object::{Body, tag};
use atoma_contract::{AtomaDb, Beacon, Genesis, Owned, TxContext};
use atoma_types::Address;
use atoma_types::onchain::{Abort, Dispute, Stack};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use sui_sdk_types::{Digest, StructTag, TypeTag};

/// Where the devnet has the market's package.
pub const PACKAGE: Address =
    Address::from_static("0xa70a000000000000000000000000000000000000000000000000000000000001");
/// Where it has the package of plain values that the market's is built on.
pub const BASE_PACKAGE: Address =
    Address::from_static("0xa70a000000000000000000000000000000000000000000000000000000000002");
/// Where the devnet has its test coin.
pub const USD_PACKAGE: Address =
    Address::from_static("0xa70a0000000000000000000000000000000000000000000000000000000000c0");
/// Where the devnet has what it knows of Walrus.
pub const WALRUS_PACKAGE: Address =
    Address::from_static("0xa70a000000000000000000000000000000000000000000000000000000000b10");
/// Walrus's `System`.
pub(crate) const WALRUS_SYSTEM: Address =
    Address::from_static("0xa70a000000000000000000000000000000000000000000000000000000000b11");

/// The coin the market trades in: `usd::USD`, six decimals.
pub(crate) fn usd() -> TypeTag {
    tag(USD_PACKAGE, "usd", "USD", Vec::new()).into()
}

/// What the contract stores and the objects' bytes do not show: the rows of their tables.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Every version of the market's package and of the one under it, each as often as it was published.
    pub(crate) packages: BTreeMap<Address, Published>,
    pub(crate) dbs: BTreeMap<Address, Arc<AtomaDb>>,
    pub(crate) beacons: BTreeMap<Address, Arc<Beacon>>,
}

/// A package that the devnet has code for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    /// Where its functions are in the table: [`PACKAGE`], or [`BASE_PACKAGE`].
    pub(crate) code: Address,
    /// Its first version, which declares its types.
    pub(crate) origin: Address,
    /// The first version of the package of plain values that it uses, or is.
    pub(crate) base: Address,
}

impl World {
    /// Whether there is a package with this id, code or not.
    pub(crate) fn has_package(&self, id: Address) -> bool {
        let fixed = [USD_PACKAGE, WALRUS_PACKAGE, Address::TWO, Address::from_static("0x1")];
        fixed.contains(&id) || self.packages.contains_key(&id)
    }

    /// Where the functions of a package are in the table: every package of the market's has the same.
    pub(crate) fn code(&self, id: Address) -> Address {
        self.packages.get(&id).map_or(id, |package| package.code)
    }

    /// Where the types of a package are declared.
    pub(crate) fn origin(&self, id: Address) -> Address {
        self.packages.get(&id).map_or(id, |package| package.origin)
    }

    /// Position in its module and signature of a function.
    pub(crate) fn find(
        &self,
        package: Address,
        module: &str,
        name: &str,
    ) -> Option<(u16, &'static Function)> {
        let code = self.code(package);
        let of_module = functions().filter(|function| function.package == code && function.module == module);
        (0u16..).zip(of_module).find(|(_, function)| function.name == name)
    }
}

/// One checked argument.
pub(crate) enum Operand {
    Pure(Vec<u8>),
    Object { id: Address, contents: Vec<u8> },
}

/// One `MoveCall` with its surroundings.
pub(crate) struct Call<'a> {
    pub(crate) function: &'static Function,
    /// Where the types of the function's package are declared.
    pub(crate) package: Address,
    pub(crate) operands: Vec<Operand>,
    pub(crate) type_arguments: &'a [TypeTag],
    pub(crate) world: &'a World,
    pub(crate) sender: Address,
    pub(crate) digest: Digest,
    pub(crate) epoch: u64,
    pub(crate) now_ms: u64,
    pub(crate) random: [u8; 32],
    /// How many ids the transaction has derived so far.
    pub(crate) next_id: u64,
}

/// What a call did.
pub(crate) struct Outcome {
    pub(crate) updated: Vec<(Address, Vec<u8>)>,
    pub(crate) deleted: Vec<Address>,
    /// New objects, shared if there is no owner.
    pub(crate) created: Vec<(Body, Option<Address>)>,
    pub(crate) events: Vec<(StructTag, Vec<u8>)>,
    pub(crate) returns: Vec<(TypeTag, Vec<u8>)>,
    /// The tables' rows, if the call wrote any.
    pub(crate) world: Option<World>,
    pub(crate) next_id: u64,
}

/// Modules of the package at `id`.
pub(crate) fn modules(id: Address) -> Vec<&'static str> {
    let called = functions().filter(|function| function.package == id).map(|function| function.module);
    let others: &[&str] = match id {
        PACKAGE => &["db", "events"],
        BASE_PACKAGE => &[
            "disputed",
            "dues",
            "errors",
            "limits",
            "math",
            "message",
            "params",
            "rows",
            "slots",
            "stored_blob",
        ],
        WALRUS_PACKAGE => &["blob", "system"],
        USD_PACKAGE => &["usd"],
        _ => &[],
    };
    let mut names: Vec<&str> = called.chain(others.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Runs a call whose operands fit the function's parameters. The error is the abort code.
pub(crate) fn call(call: Call<'_>) -> Result<Outcome, u64> {
    let coin = call.type_arguments.first().cloned().unwrap_or_else(usd);
    let mut machine = Machine {
        function: call.function,
        package: call.package,
        coin,
        operands: call.operands.into_iter(),
        world: call.world.clone(),
        world_changed: false,
        now_ms: call.now_ms,
        random: call.random,
        ctx: TxContext::new(call.sender, call.epoch, call.digest, call.next_id),
        updated: Vec::new(),
        created: Vec::new(),
        returns: Vec::new(),
    };
    (call.function.run)(&mut machine).map_err(Abort::code)?;
    machine.finish().map_err(Abort::code)
}

/// A running call, as the contract's adapters in [`functions`] see it: arguments in order, objects in and out.
pub(crate) struct Machine {
    function: &'static Function,
    package: Address,
    coin: TypeTag,
    operands: std::vec::IntoIter<Operand>,
    world: World,
    world_changed: bool,
    now_ms: u64,
    random: [u8; 32],
    ctx: TxContext,
    updated: Vec<(Address, Vec<u8>)>,
    created: Vec<(Body, Option<Address>)>,
    returns: Vec<(TypeTag, Vec<u8>)>,
}

type Step<T = ()> = Result<T, Abort>;

impl Machine {
    /// The next argument, a plain value.
    fn pure<T: DeserializeOwned>(&mut self) -> Step<T> {
        match self.operands.next() {
            Some(Operand::Pure(bytes)) => decode(&bytes),
            _ => Err(Abort::BadArgument),
        }
    }

    /// The next argument, an object.
    fn object<T: DeserializeOwned>(&mut self) -> Step<T> {
        match self.operands.next() {
            Some(Operand::Object { contents, .. }) => decode(&contents),
            _ => Err(Abort::BadArgument),
        }
    }

    /// Passes over an argument that stands for something else: the database, the clock, the randomness.
    fn skip(&mut self) -> Step<Address> {
        match self.operands.next() {
            Some(Operand::Object { id, .. }) => Ok(id),
            _ => Err(Abort::BadArgument),
        }
    }

    fn db(&mut self) -> Step<Arc<AtomaDb>> {
        let id = self.skip()?;
        self.world.dbs.get(&id).cloned().ok_or(Abort::WrongDb)
    }

    /// A private copy of the database, to be handed back with [`Self::put_db`].
    fn db_mut(&mut self) -> Step<AtomaDb> {
        self.db().map(Arc::unwrap_or_clone)
    }

    fn put_db(&mut self, db: AtomaDb) -> Step {
        let header = db.header_bytes().map_err(|_| Abort::Arithmetic)?;
        self.updated.push((db.id, header));
        self.world.dbs.insert(db.id, Arc::new(db));
        self.world_changed = true;
        Ok(())
    }

    fn beacon(&mut self) -> Step<Arc<Beacon>> {
        let id = self.skip()?;
        self.world.beacons.get(&id).cloned().ok_or(Abort::WrongDb)
    }

    /// A private copy of the beacon, to be handed back with [`Self::put_beacon`].
    fn beacon_mut(&mut self) -> Step<Beacon> {
        self.beacon().map(Arc::unwrap_or_clone)
    }

    fn put_beacon(&mut self, beacon: Beacon) -> Step {
        let header = beacon.header_bytes().map_err(|_| Abort::Arithmetic)?;
        self.updated.push((beacon.id, header));
        self.world.beacons.insert(beacon.id, Arc::new(beacon));
        self.world_changed = true;
        Ok(())
    }

    fn clock(&mut self) -> Step<u64> {
        self.skip()?;
        Ok(self.now_ms)
    }

    fn random(&mut self) -> Step<[u8; 32]> {
        self.skip()?;
        Ok(self.random)
    }

    fn put<T: Serialize>(&mut self, id: Address, value: &T) -> Step {
        self.updated.push((id, encode(value)?));
        Ok(())
    }

    /// Shares a stack that was taken by value again, unless the call deleted it.
    fn share_stack(&mut self, stack: Stack) {
        if !self.ctx.deleted.contains(&stack.id) {
            self.ctx.shared.push(stack);
        }
    }

    fn share_dispute(&mut self, dispute: Dispute) {
        if !self.ctx.deleted.contains(&dispute.id) {
            self.ctx.disputes.push(dispute);
        }
    }

    /// Makes an object; shared without an owner.
    fn create<T: Serialize>(&mut self, kind: ObjectKind, value: &T, owner: Option<Address>) -> Step {
        let body = self.body(kind, encode(value)?);
        self.created.push((body, owner));
        Ok(())
    }

    fn body(&self, kind: ObjectKind, contents: Vec<u8>) -> Body {
        Body { tag: kind.tag(self.package, &self.coin), contents }
    }

    /// The packages that define the market, as Move's types name them: its own, and the one under it.
    fn own_packages(&self) -> Vec<Address> {
        let base = self.world.packages.get(&self.package).map(|package| package.base);
        [self.package].into_iter().chain(base).collect()
    }

    /// Shares the objects of a new market.
    fn open_market(&mut self, made: Genesis) -> Step {
        let Genesis { db, treasury, beacon } = made;
        let header = |bytes: Result<Vec<u8>, bcs::Error>| bytes.map_err(|_| Abort::Arithmetic);
        let db_body = self.body(ObjectKind::Db, header(db.header_bytes())?);
        let beacon_body = self.body(ObjectKind::Beacon, header(beacon.header_bytes())?);
        self.created.extend([(db_body, None), (beacon_body, None)]);
        self.create(ObjectKind::Treasury, &treasury, None)?;
        self.world.dbs.insert(db.id, Arc::new(db));
        self.world.beacons.insert(beacon.id, Arc::new(beacon));
        self.world_changed = true;
        Ok(())
    }

    fn give_back<T: Serialize>(&mut self, value: &T) -> Step {
        let tag = self.function.returns.tag().ok_or(Abort::BadArgument)?;
        self.returns.push((tag, encode(value)?));
        Ok(())
    }

    fn finish(self) -> Step<Outcome> {
        let (package, coin, ctx) = (self.package, &self.coin, self.ctx);
        let next_id = ctx.ids_created();
        let mut created = self.created;
        for transfer in ctx.transfers {
            created.push((owned_body(transfer.object, package, coin)?, Some(transfer.to)));
        }
        for stack in ctx.shared {
            let contents = encode(&stack)?;
            created.push((Body { tag: ObjectKind::Stack.tag(package, coin), contents }, None));
        }
        for dispute in ctx.disputes {
            let contents = encode(&dispute)?;
            created.push((Body { tag: ObjectKind::Dispute.tag(package, coin), contents }, None));
        }
        let mut events = Vec::new();
        for event in ctx.events {
            let contents = event.contents().map_err(|_| Abort::Arithmetic)?;
            let name = sui_sdk_types::Identifier::new(event.name()).map_err(|_| Abort::BadArgument)?;
            let module = sui_sdk_types::Identifier::from_static(atoma_types::onchain::event::EVENT_MODULE);
            events.push((StructTag::new(package, module, name, Vec::new()), contents));
        }
        Ok(Outcome {
            updated: self.updated,
            deleted: ctx.deleted,
            created,
            events,
            returns: self.returns,
            world: self.world_changed.then_some(self.world),
            next_id,
        })
    }
}

pub(crate) fn owned_body(object: Owned, package: Address, coin: &TypeTag) -> Step<Body> {
    let body = |kind: ObjectKind, contents| Body { tag: kind.tag(package, coin), contents };
    Ok(match object {
        Owned::Coin(held) => Body::coin(held.id, coin.clone(), held.balance.0),
        Owned::NodeBadge(badge) => body(ObjectKind::NodeBadge, encode(&badge)?),
        Owned::TaskBadge(badge) => body(ObjectKind::TaskBadge, encode(&badge)?),
        Owned::AdminCap(cap) => body(ObjectKind::AdminCap, encode(&cap)?),
    })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Step<T> {
    bcs::from_bytes(bytes).map_err(|_| Abort::BadArgument)
}

fn encode<T: Serialize>(value: &T) -> Step<Vec<u8>> {
    bcs::to_bytes(value).map_err(|_| Abort::Arithmetic)
}

/// A readable form of an object or event of the package, for the `json` fields of the RPC.
pub(crate) fn render(tag: &StructTag, contents: &[u8]) -> Option<serde_json::Value> {
    if tag.module().as_str() == atoma_types::onchain::event::EVENT_MODULE {
        let event = atoma_types::onchain::Event::decode(tag.name().as_str(), contents)?.ok()?;
        let mut value = serde_json::to_value(event).ok()?;
        value.as_object_mut()?.remove("event");
        return Some(value);
    }
    match tag.name().as_str() {
        "Stack" => json::<Stack>(contents),
        "Dispute" => json::<Dispute>(contents),
        "NodeBadge" => json::<atoma_contract::NodeBadge>(contents),
        "TaskBadge" => json::<atoma_contract::TaskBadge>(contents),
        "AdminCap" => json::<atoma_contract::AdminCap>(contents),
        "UpgradeLock" => json::<atoma_contract::upgrade::UpgradeLock>(contents),
        "Treasury" => json::<atoma_contract::Treasury>(contents),
        _ => None,
    }
}

fn json<T: DeserializeOwned + Serialize>(contents: &[u8]) -> Option<serde_json::Value> {
    serde_json::to_value(bcs::from_bytes::<T>(contents).ok()?).ok()
}
