//! The connection to one deployment: typed reads of objects, and what every transaction needs to know of
//! the chain (gas price, epoch, initial versions of shared objects).

use crate::build::Held;
use crate::profile::shown_url;
use crate::{ChainError, Deployment};
use atoma_types::onchain::{Dispute, Stack};
use atoma_types::{Address, Amount, NodeId, TaskId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{Identifier, Object, ObjectReference, Owner, StructTag, TypeTag};
use tonic::{Code, Status};

/// Longest wait for the answer of one call.
pub(crate) const RPC_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Reads are tried this often while the full node is unreachable, with doubling pauses.
const READ_ATTEMPTS: u32 = 4;
const READ_BACKOFF: Duration = Duration::from_millis(100);
/// How long a gas price and epoch are believed.
const PRICE_LIFE: Duration = Duration::from_secs(30);
/// Initial versions of shared objects kept.
const SHARED_MAX: usize = 16_384;
/// Objects asked for per page, and pages read at most.
const PAGE_OBJECTS: u32 = 200;
const PAGES_MAX: usize = 50;

pub(crate) const CLOCK: Address = Address::from_static("0x6");
pub(crate) const RANDOM: Address = Address::from_static("0x8");

/// What an address owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    /// SUI, in MIST.
    pub gas: u64,
    /// The market's coin.
    pub coin: Amount,
}

/// A connection to one deployment. Clones are cheap and share it.
#[derive(Clone)]
pub struct ChainClient {
    inner: Arc<Inner>,
}

struct Inner {
    deployment: Deployment,
    types: Types,
    rpc: sui_rpc::Client,
    chain_id: String,
    shared: Mutex<HashMap<Address, u64>>,
    price: Mutex<Option<(Instant, GasPrice)>>,
}

impl std::fmt::Debug for ChainClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ChainClient({} at {})",
            self.inner.deployment.network,
            shown_url(&self.inner.deployment.rpc_url)
        )
    }
}

/// The Move types of one deployment.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    pub(crate) coin: TypeTag,
    pub(crate) db: StructTag,
    pub(crate) beacon: StructTag,
    pub(crate) stack: StructTag,
    pub(crate) dispute: StructTag,
    pub(crate) node_badge: StructTag,
    pub(crate) task_badge: StructTag,
    pub(crate) admin_cap: StructTag,
}

/// What the network charges now, and until when a transaction built now may be executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GasPrice {
    pub(crate) mist: u64,
    pub(crate) epoch: u64,
}

/// `NodeBadge` and `TaskBadge`.
#[derive(Clone, Debug, Deserialize)]
struct Badge {
    _id: Address,
    db: Address,
    row: u64,
}

/// `AdminCap`.
#[derive(Clone, Debug, Deserialize)]
struct AdminCap {
    _id: Address,
    db: Address,
}

/// The beacon's newest round; 0 and 0 before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeaconRound {
    pub round: u64,
    pub at_ms: u64,
}

impl Types {
    pub(crate) fn new(deployment: &Deployment) -> Result<Self, ChainError> {
        let invalid = |reason: String| ChainError::Deployment { reason };
        let coin: TypeTag = deployment.coin_type.parse().map_err(|error| {
            invalid(format!("coin type {:?} is not a type tag: {error}", deployment.coin_type))
        })?;
        let of = |module, name, parameters| {
            let (module, name) = (Identifier::from_static(module), Identifier::from_static(name));
            StructTag::new(deployment.package, module, name, parameters)
        };
        Ok(Self {
            db: of("db", "AtomaDb", vec![coin.clone()]),
            beacon: of("beacon", "Beacon", vec![]),
            stack: of("stack", "Stack", vec![coin.clone()]),
            dispute: of("dispute", "Dispute", vec![coin.clone()]),
            node_badge: of("node", "NodeBadge", vec![]),
            task_badge: of("task", "TaskBadge", vec![]),
            admin_cap: of("admin", "AdminCap", vec![]),
            coin,
        })
    }
}

impl ChainClient {
    /// Checks that the chain answers and that the market's database is there, with this package and coin.
    pub async fn connect(deployment: Deployment) -> Result<Self, ChainError> {
        let client = Box::pin(Self::open(deployment)).await?;
        client.check_market().await?;
        Ok(client)
    }

    /// The same for whoever deploys: the market need not be there yet.
    pub async fn open(deployment: Deployment) -> Result<Self, ChainError> {
        let types = Types::new(&deployment)?;
        let rpc = sui_rpc::Client::new(deployment.rpc_url.as_str())
            .map_err(|status| ChainError::Deployment { reason: format!("rpc url: {}", status.message()) })?
            .with_response_headers_timeout(RPC_TIMEOUT)
            .with_max_decoding_message_size(MESSAGE_BYTES_MAX);
        let info = retry(|| {
            let mut rpc = rpc.clone();
            async move { rpc.ledger_client().get_service_info(pb::GetServiceInfoRequest::default()).await }
        });
        let info = info.await.map_err(|status| rpc_error(&deployment.rpc_url, &status))?.into_inner();
        Ok(Self::new(deployment, types, rpc, info.chain_id()))
    }

    pub fn deployment(&self) -> &Deployment {
        &self.inner.deployment
    }

    /// Digest of the genesis checkpoint: which chain this is.
    pub fn chain_id(&self) -> &str {
        &self.inner.chain_id
    }

    /// What the network charges, in MIST a unit.
    pub async fn reference_gas_price(&self) -> Result<u64, ChainError> {
        Ok(self.gas_price().await?.mist)
    }

    /// `None` if it never existed or was deleted; an object of another type or market is an error.
    pub async fn stack(&self, id: Address) -> Result<Option<Stack>, ChainError> {
        let Some(object) = self.object(id).await? else { return Ok(None) };
        let stack: Stack = decode("stack", contents_of(&object, &self.types().stack)?)?;
        self.check_db(id, "a stack", stack.db)?;
        Ok(Some(stack))
    }

    /// The same for a dispute.
    pub async fn dispute(&self, id: Address) -> Result<Option<Dispute>, ChainError> {
        let Some(object) = self.object(id).await? else { return Ok(None) };
        let dispute: Dispute = decode("dispute", contents_of(&object, &self.types().dispute)?)?;
        self.check_db(id, "a dispute", dispute.db)?;
        Ok(Some(dispute))
    }

    pub async fn beacon(&self) -> Result<BeaconRound, ChainError> {
        /// The beginning of the object; the seeds are fields of their own.
        #[derive(Deserialize)]
        struct Header {
            _id: Address,
            _version: u64,
            _db: Address,
            round: u64,
            last_ms: u64,
            _seeds: (Address, u64),
        }
        let id = self.deployment().beacon;
        let object = self.object(id).await?.ok_or(ChainError::NotFound { id })?;
        let header: Header = decode("beacon", contents_of(&object, &self.types().beacon)?)?;
        Ok(BeaconRound { round: header.round, at_ms: header.last_ms })
    }

    pub async fn balances(&self, owner: Address) -> Result<Balances, ChainError> {
        let (gas, coin) = futures::try_join!(
            self.balance(owner, gas_type()),
            self.balance(owner, self.types().coin.clone())
        )?;
        Ok(Balances { gas, coin: Amount(coin) })
    }

    /// The nodes whose badge `owner` holds.
    pub async fn owned_nodes(&self, owner: Address) -> Result<Vec<NodeId>, ChainError> {
        let badges = self.held_of(owner, &self.types().node_badge, node_badge).await?;
        let node = |(held, _)| if let Held::Node(node) = held { Some(node) } else { None };
        Ok(badges.into_iter().filter_map(node).collect())
    }

    /// The chain's clock.
    pub async fn now_ms(&self) -> Result<u64, ChainError> {
        #[derive(Deserialize)]
        struct Clock {
            _id: Address,
            timestamp_ms: u64,
        }
        let object = self.object(CLOCK).await?.ok_or(ChainError::NotFound { id: CLOCK })?;
        let contents = object.as_struct().map_or(&[][..], |data| data.contents());
        Ok(decode::<Clock>("clock", contents)?.timestamp_ms)
    }

    fn check_db(&self, id: Address, what: &str, found: Address) -> Result<(), ChainError> {
        let expected = self.deployment().db;
        if found == expected {
            return Ok(());
        }
        Err(ChainError::WrongObject {
            id,
            expected: format!("{what} of database {expected}"),
            found: format!("one of {found}"),
        })
    }

    /// Refuses a chain that has no such market.
    pub async fn check_market(&self) -> Result<(), ChainError> {
        let id = self.deployment().db;
        let object = self.object(id).await?.ok_or(ChainError::NotFound { id })?;
        contents_of(&object, &self.types().db)?;
        self.initial_version(id).await.map(|_| ())
    }

    async fn balance(&self, owner: Address, coin: TypeTag) -> Result<u64, ChainError> {
        let (owner, coin) = (owner.to_string(), coin.to_string());
        let answer = self.read(|mut rpc| {
            let request = pb::GetBalanceRequest::default().with_owner(&owner).with_coin_type(&coin);
            async move { rpc.state_client().get_balance(request).await }
        });
        Ok(answer.await?.into_inner().balance().balance())
    }
}

/// For the rest of the crate.
impl ChainClient {
    fn new(deployment: Deployment, types: Types, rpc: sui_rpc::Client, chain_id: &str) -> Self {
        let chain_id = chain_id.to_owned();
        let (shared, price) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { deployment, types, rpc, chain_id, shared, price }) }
    }

    /// A client of nothing, for tests of what it does with answers.
    #[cfg(test)]
    #[expect(clippy::unwrap_used, reason = "tests")]
    pub(crate) fn unconnected(deployment: Deployment) -> Self {
        let types = Types::new(&deployment).unwrap();
        let rpc = sui_rpc::Client::new(deployment.rpc_url.as_str()).unwrap();
        Self::new(deployment, types, rpc, "test chain")
    }

    pub(crate) fn types(&self) -> &Types {
        &self.inner.types
    }

    pub(crate) fn rpc(&self) -> sui_rpc::Client {
        self.inner.rpc.clone()
    }

    pub(crate) fn rpc_error(&self, status: &Status) -> ChainError {
        rpc_error(&self.inner.deployment.rpc_url, status)
    }

    /// A read that is repeated while the full node cannot be reached.
    pub(crate) async fn read<T, F>(&self, call: impl Fn(sui_rpc::Client) -> F) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        retry(|| call(self.rpc())).await.map_err(|status| self.rpc_error(&status))
    }

    pub(crate) async fn object(&self, id: Address) -> Result<Option<Object>, ChainError> {
        let answer = retry(|| {
            let mut rpc = self.rpc();
            let request = pb::GetObjectRequest::new(&id).with_read_mask(FieldMask::from_str("bcs"));
            async move { rpc.ledger_client().get_object(request).await }
        });
        match answer.await {
            Ok(answer) => {
                let bcs = answer.get_ref().object().bcs().value();
                decode("object", bcs).map(Some)
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.rpc_error(&status)),
        }
    }

    /// The version at which a shared object was shared, which names it as a transaction's input.
    pub(crate) async fn initial_version(&self, id: Address) -> Result<u64, ChainError> {
        if id == CLOCK {
            return Ok(1); // since genesis, on every Sui network
        }
        if let Some(version) = self.shared().get(&id) {
            return Ok(*version);
        }
        let object = self.object(id).await?.ok_or(ChainError::NotFound { id })?;
        let Owner::Shared(version) = object.owner() else {
            let found = "not a shared object".to_owned();
            return Err(ChainError::WrongObject { id, expected: "a shared object".to_owned(), found });
        };
        self.remember_shared(id, *version);
        Ok(*version)
    }

    pub(crate) fn remember_shared(&self, id: Address, version: u64) {
        let mut shared = self.shared();
        if shared.len() >= SHARED_MAX {
            shared.clear();
        }
        shared.insert(id, version);
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, HashMap<Address, u64>> {
        self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn gas_price(&self) -> Result<GasPrice, ChainError> {
        let known = *self.price();
        if let Some((at, price)) = known
            && at.elapsed() < PRICE_LIFE
        {
            return Ok(price);
        }
        self.read_gas_price().await
    }

    async fn read_gas_price(&self) -> Result<GasPrice, ChainError> {
        let answer = self.read(|mut rpc| {
            let mask = FieldMask::from_paths(["epoch", "reference_gas_price"]);
            let request = pb::GetEpochRequest::default().with_read_mask(mask);
            async move { rpc.ledger_client().get_epoch(request).await }
        });
        let answer = answer.await?.into_inner();
        let price =
            GasPrice { mist: answer.epoch().reference_gas_price().max(1), epoch: answer.epoch().epoch() };
        *self.price() = Some((Instant::now(), price));
        Ok(price)
    }

    /// The epoch at this moment: what is believed for a while will not do for terms.
    pub(crate) async fn epoch(&self) -> Result<u64, ChainError> {
        Ok(self.read_gas_price().await?.epoch)
    }

    /// Forgets the epoch: something was refused that should not have been.
    pub(crate) fn forget_gas_price(&self) {
        *self.price() = None;
    }

    fn price(&self) -> std::sync::MutexGuard<'_, Option<(Instant, GasPrice)>> {
        self.inner.price.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every object of one type that `owner` has, with what `mask` names.
    pub(crate) async fn owned(
        &self,
        owner: Address,
        object_type: &StructTag,
        mask: &str,
    ) -> Result<Vec<pb::Object>, ChainError> {
        let (owner, object_type) = (owner.to_string(), object_type.to_string());
        let mut objects = Vec::new();
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let answer = self.read(|mut rpc| {
                let mut request = pb::ListOwnedObjectsRequest::default()
                    .with_owner(&owner)
                    .with_object_type(&object_type)
                    .with_page_size(PAGE_OBJECTS)
                    .with_read_mask(FieldMask::from_str(mask));
                request.page_token = token.clone();
                async move { rpc.state_client().list_owned_objects(request).await }
            });
            let page = answer.await?.into_inner();
            objects.extend(page.objects);
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(objects)
    }

    /// What `owner` has of the kind of `wanted`, of this market, with the objects as they are now. One listed
    /// object stands for many: badges are asked for together.
    pub(crate) async fn held(
        &self,
        owner: Address,
        wanted: Held,
    ) -> Result<Vec<(Held, ObjectReference)>, ChainError> {
        let types = self.types();
        match wanted {
            Held::Node(_) => self.held_of(owner, &types.node_badge, node_badge).await,
            Held::Task(_) => self.held_of(owner, &types.task_badge, task_badge).await,
            Held::Admin => self.held_of(owner, &types.admin_cap, admin_cap).await,
            Held::Object(id) => {
                let object = self.object(id).await?;
                let own = object.filter(|object| *object.owner() == Owner::Address(owner));
                Ok(own.iter().map(|object| (wanted, reference(object))).collect())
            }
        }
    }

    async fn held_of(
        &self,
        owner: Address,
        object_type: &StructTag,
        read: ReadHeld,
    ) -> Result<Vec<(Held, ObjectReference)>, ChainError> {
        let mut found = Vec::new();
        for object in self.owned(owner, object_type, "bcs").await? {
            let object: Object = decode("badge", object.bcs().value())?;
            let (db, held) = read(object.as_struct().map_or(&[][..], |data| data.contents()))?;
            if db == self.deployment().db {
                found.push((held, reference(&object)));
            }
        }
        Ok(found)
    }
}

/// Reads whose database an object is of, and what it permits, from its contents.
type ReadHeld = fn(&[u8]) -> Result<(Address, Held), ChainError>;

fn node_badge(contents: &[u8]) -> Result<(Address, Held), ChainError> {
    let badge: Badge = decode("node badge", contents)?;
    Ok((badge.db, Held::Node(NodeId(badge.row))))
}

fn task_badge(contents: &[u8]) -> Result<(Address, Held), ChainError> {
    let badge: Badge = decode("task badge", contents)?;
    Ok((badge.db, Held::Task(TaskId(badge.row))))
}

fn admin_cap(contents: &[u8]) -> Result<(Address, Held), ChainError> {
    let cap: AdminCap = decode("admin cap", contents)?;
    Ok((cap.db, Held::Admin))
}

fn reference(object: &Object) -> ObjectReference {
    ObjectReference::new(object.object_id(), object.version(), object.digest())
}

/// The bytes of an object that must be of this type.
pub(crate) fn contents_of<'a>(object: &'a Object, expected: &StructTag) -> Result<&'a [u8], ChainError> {
    let found = match object.as_struct() {
        Some(data) if data.object_type() == expected => return Ok(data.contents()),
        Some(data) => data.object_type().to_string(),
        None => "a package".to_owned(),
    };
    Err(ChainError::WrongObject { id: object.object_id(), expected: expected.to_string(), found })
}

/// `0x2::sui::SUI`.
pub(crate) fn gas_type() -> TypeTag {
    TypeTag::Struct(Box::new(StructTag::sui()))
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, ChainError> {
    bcs::from_bytes(bytes).map_err(|error| ChainError::Malformed { what, reason: error.to_string() })
}

/// Whether the call may not have arrived, or its answer may have been lost.
pub(crate) fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::Internal
            | Code::ResourceExhausted
    )
}

async fn retry<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut pause = READ_BACKOFF;
    for _ in 1..READ_ATTEMPTS {
        match call().await {
            Err(status) if is_transient(&status) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    call().await
}

fn rpc_error(url: &str, status: &Status) -> ChainError {
    if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown) {
        return ChainError::Unreachable { url: shown_url(url), reason: reason(status) };
    }
    ChainError::Rpc { code: format!("{:?}", status.code()), reason: reason(status) }
}

/// The innermost cause says most: "connection refused" rather than "transport error".
fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
