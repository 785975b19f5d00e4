//! The first state: the shared objects of Sui and of the market, the test coin, and the faucet's funds.

use super::object::{self, Body, CLOCK, RANDOM, tag};
use crate::package::{
    BASE_PACKAGE, ObjectKind, PACKAGE, Published, System, USD_PACKAGE, WALRUS_PACKAGE, World, usd,
};
use atoma_contract::upgrade::UpgradeCap;
use atoma_contract::{AdminCap, TxContext, admin};
use atoma_types::onchain::{Abort, Params};
use atoma_types::{Address, Hash32};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::{
    Digest, Identifier, MovePackage, Object, ObjectData, Owner, StructTag, TypeTag, Version,
};

/// All SUI there is, in MIST: ten thousand million.
pub(crate) const SUI_SUPPLY: u64 = 10_000_000_000_000_000_000;
/// All test USD there is, in base units of six decimals: a million million.
pub(crate) const USD_SUPPLY: u64 = 1_000_000_000_000_000_000;

/// Decimals of the test USD.
pub(crate) const USD_DECIMALS: u8 = 6;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GenesisError {
    #[error("the first objects cannot be built: {0}")]
    Encode(#[from] bcs::Error),
    #[error("the first objects cannot be built: an object without an id")]
    NoId,
    #[error("the market cannot be made with these parameters: {0}")]
    Market(#[from] Abort),
}

/// What fixes a network from its first moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Genesis {
    /// Everything random on this network follows from it.
    pub(crate) seed: [u8; 32],
    pub(crate) timestamp_ms: u64,
    pub(crate) params: Params,
    /// Holds the market's `AdminCap`; the faucet's account if nobody else does.
    pub(crate) admin: Option<Address>,
}

/// What publishing the package and creating its market make.
struct Market {
    cap: AdminCap,
    made: admin::Genesis,
    /// For further ids.
    ctx: TxContext,
}

impl Genesis {
    /// Digest that stands for the transaction that made the first objects.
    fn digest() -> Digest {
        Digest::new(Hash32::of(b"atoma devnet genesis").0)
    }

    /// What the chain id depends on; says nothing about the seed.
    pub(super) fn fingerprint(&self) -> Vec<u8> {
        Hash32::of_parts(&[b"atoma devnet chain", &self.seed]).0.to_vec()
    }

    /// The faucet's key. Its funds are worth nothing, but a run on one network must not fit another.
    pub(crate) fn faucet_key(&self) -> Ed25519PrivateKey {
        Ed25519PrivateKey::new(Hash32::of_parts(&[b"atoma devnet faucet", &self.seed]).0)
    }

    pub(crate) fn faucet_address(&self) -> Address {
        self.faucet_key().public_key().derive_address()
    }

    fn admin(&self) -> Address {
        self.admin.unwrap_or_else(|| self.faucet_address())
    }

    fn market(&self) -> Result<Market, GenesisError> {
        let mut ctx = TxContext::new(self.admin(), 0, Self::digest(), 0);
        let mut cap = AdminCap { id: ctx.fresh_id(), db: Address::ZERO };
        let made = admin::create(&mut cap, &self.params.values(), &mut ctx)?;
        Ok(Market { cap, made, ctx })
    }

    /// The first market's database, treasury and beacon.
    pub(crate) fn market_ids(&self) -> Result<[Address; 3], GenesisError> {
        let made = self.market()?.made;
        Ok([made.db.id, made.treasury.id, made.beacon.id])
    }

    pub(super) fn objects(&self) -> Result<(Vec<Object>, World), GenesisError> {
        let Market { cap, made: admin::Genesis { db, treasury, beacon }, mut ctx } = self.market()?;
        let (coin, faucet, admin) =
            (usd(), Owner::Address(self.faucet_address()), Owner::Address(self.admin()));
        let shared = Owner::Shared(1);
        let body = |kind: ObjectKind, contents| Body { tag: kind.tag(PACKAGE, &coin), contents };
        let db_body = body(ObjectKind::Db, db.header_bytes()?);
        let treasury_body = body(ObjectKind::Treasury, bcs::to_bytes(&treasury)?);
        let beacon_body = body(ObjectKind::Beacon, beacon.header_bytes()?);
        let cap_body = body(ObjectKind::AdminCap, bcs::to_bytes(&cap)?);
        let upgrade = UpgradeCap { id: ctx.fresh_id(), package: PACKAGE, version: 1, policy: 0 };
        let upgrade_body = body(ObjectKind::UpgradeCap, bcs::to_bytes(&upgrade)?);
        let system_body = body(ObjectKind::System, bcs::to_bytes(&System::first())?);
        let random = Body {
            tag: ObjectKind::Random.tag(PACKAGE, &coin),
            contents: bcs::to_bytes(&(RANDOM, Address::derive_id(Self::digest(), 1_000), 1u64))?,
        };
        let gas = Body::coin(ctx.fresh_id(), object::sui(), SUI_SUPPLY);
        let money = Body::coin(ctx.fresh_id(), coin.clone(), USD_SUPPLY);
        let sui_info = metadata(ctx.fresh_id(), object::sui(), &CoinInfo::SUI)?;
        let usd_info = metadata(ctx.fresh_id(), usd(), &CoinInfo::USD)?;
        let bodies = [
            (db_body, shared),
            (treasury_body, shared),
            (beacon_body, shared),
            (system_body, shared),
            (random, shared),
            (cap_body, admin),
            (upgrade_body, admin),
            (gas, faucet),
            (money, faucet),
            (sui_info, Owner::Immutable),
            (usd_info, Owner::Immutable),
        ];
        let mut objects = vec![clock(self.timestamp_ms, 1).ok_or(GenesisError::NoId)?];
        for (body, owner) in bodies {
            objects.push(first(body, owner).ok_or(GenesisError::NoId)?);
        }
        for id in
            [Address::from_static("0x1"), Address::TWO, BASE_PACKAGE, PACKAGE, USD_PACKAGE, WALRUS_PACKAGE]
        {
            objects.push(package(id));
        }
        let world = World {
            packages: [PACKAGE, BASE_PACKAGE]
                .map(|id| (id, Published { code: id, origin: id, base: BASE_PACKAGE }))
                .into(),
            dbs: BTreeMap::from([(db.id, Arc::new(db))]),
            beacons: BTreeMap::from([(beacon.id, Arc::new(beacon))]),
        };
        Ok((objects, world))
    }
}

/// What wallets show of a coin.
pub(crate) struct CoinInfo {
    pub(crate) decimals: u8,
    pub(crate) name: &'static str,
    pub(crate) symbol: &'static str,
    pub(crate) description: &'static str,
    pub(crate) supply: u64,
}

impl CoinInfo {
    pub(crate) const SUI: Self =
        Self { decimals: 9, name: "Sui", symbol: "SUI", description: "Pays for gas", supply: SUI_SUPPLY };
    pub(crate) const USD: Self = Self {
        decimals: USD_DECIMALS,
        name: "Test USD",
        symbol: "USD",
        description: "Test money of the devnet, worth nothing",
        supply: USD_SUPPLY,
    };

    pub(crate) fn of(coin: &TypeTag) -> Option<&'static Self> {
        if *coin == object::sui() {
            Some(&Self::SUI)
        } else if *coin == usd() {
            Some(&Self::USD)
        } else {
            None
        }
    }
}

/// `0x2::coin::CoinMetadata<T>`.
pub(crate) fn metadata_tag(coin: TypeTag) -> StructTag {
    tag(Address::TWO, "coin", "CoinMetadata", vec![coin])
}

fn metadata(id: Address, coin: TypeTag, info: &CoinInfo) -> Result<Body, bcs::Error> {
    let icon: Option<String> = None;
    let contents = bcs::to_bytes(&(id, info.decimals, info.name, info.symbol, info.description, icon))?;
    Ok(Body { tag: metadata_tag(coin), contents })
}

/// The clock as of one checkpoint.
pub(crate) fn clock(timestamp_ms: u64, version: Version) -> Option<Object> {
    let mut contents = CLOCK.into_inner().to_vec();
    contents.extend(timestamp_ms.to_le_bytes());
    let body = Body { tag: tag(Address::TWO, "clock", "Clock", Vec::new()), contents };
    free(body, version, Owner::Shared(1), Digest::ZERO)
}

/// An object of the first checkpoint. Nobody paid for its storage, so nobody gets it back.
fn first(body: Body, owner: Owner) -> Option<Object> {
    free(body, 1, owner, Genesis::digest())
}

fn free(body: Body, version: Version, owner: Owner, previous: Digest) -> Option<Object> {
    let priced = body.seal(version, owner, previous)?;
    Some(Object::new(priced.data().clone(), owner, previous, 0))
}

/// A package without bytecode: its functions run as Rust.
fn package(id: Address) -> Object {
    let modules = crate::package::modules(id)
        .into_iter()
        .filter_map(|name| Some((Identifier::new(name).ok()?, Vec::new())))
        .collect();
    let package = MovePackage {
        id,
        version: 1,
        modules,
        type_origin_table: Vec::new(),
        linkage_table: BTreeMap::new(),
    };
    Object::new(ObjectData::Package(package), Owner::Immutable, Genesis::digest(), 0)
}
