//! What a wallet can ask of the contract. Ids and amounts only: versions, badges, coins and gas are found
//! when the transaction is built.

mod level2;

pub use level2::{Case, ClaimStep, DisputeCall, Shown, Target};

use crate::DeployCall;
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::{AuditTerms, Params, Selection};
use atoma_types::{
    Address, Amount, Hash32, ModelId, NodeId, Price, PublicKey, Signature, Signed, TaskId, Units, Voucher,
};

/// One intent, sent as one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    RegisterNode(RegisterNode),
    /// The wallet holds `node`'s badge, here and below, unless it says otherwise.
    SetEndpoint {
        node: NodeId,
        endpoint: String,
    },
    SetPayout {
        node: NodeId,
        payout: Address,
    },
    SetAnswerInterval {
        node: NodeId,
        interval_ms: u64,
    },
    AddCollateral {
        node: NodeId,
        amount: Amount,
    },
    RotateReceiptKey {
        node: NodeId,
        receipt_key: PublicKey,
    },
    RotateKey(RotateKey),
    DisableNode {
        node: NodeId,
    },
    /// Takes the collateral of a disabled node, once it may.
    ExitNode {
        node: NodeId,
    },
    /// By anyone.
    SettleBookings {
        node: NodeId,
    },
    /// What the database owes the sender: compensations, fees.
    WithdrawDue,
    /// By anyone: what slashes burned and gave to the treasury.
    Collect,
    AddModel(AddModel),
    CreateTask(CreateTask),
    /// The wallet holds `task`'s badge.
    DeprecateTask {
        task: TaskId,
    },
    SetWhitelist {
        task: TaskId,
        nodes: Vec<NodeId>,
    },
    Subscribe(Subscribe),
    /// From the next epoch on.
    Reprice {
        node: NodeId,
        task: TaskId,
        price: Price,
        max_units: Units,
    },
    SetVerifier {
        node: NodeId,
        task: TaskId,
        verifier: bool,
    },
    /// To a free position before its own, so that the list gets shorter.
    MoveVerifier {
        node: NodeId,
        task: TaskId,
    },
    Unsubscribe {
        node: NodeId,
        task: TaskId,
    },
    /// By anyone: what is over of a node's offers.
    Evict {
        node: NodeId,
        task: TaskId,
    },
    AcquireStack(AcquireStack),
    /// More units at the stack's own terms. What `payment` has too much comes back.
    TopUp {
        stack: Address,
        units: Units,
        payment: Amount,
    },
    OpenChannel(OpenChannel),
    Grow(Grow),
    /// The newest voucher of each of many channels, at most [`Call::SETTLE_MAX`], settled in one
    /// transaction: one refused voucher refuses all. Levels 0 and 1.
    Settle(Vec<Signed<Voucher>>),
    /// The stack's owner ends the node's grant.
    RevokeChannel {
        stack: Address,
        node: NodeId,
    },
    /// The node gives up what it has not settled.
    ReleaseChannel {
        stack: Address,
        node: NodeId,
    },
    /// By anyone: what an ended channel did not use can be granted again.
    Reclaim {
        stack: Address,
        node: NodeId,
    },
    RequestClose {
        stack: Address,
    },
    Refund {
        stack: Address,
    },
    Withdraw {
        stack: Address,
    },
    Sweep {
        stack: Address,
    },
    /// By anyone: the beacon's next round.
    Beat,
    /// [`Call::Settle`] at level 2, by the node's owner.
    Claim(Vec<Signed<Voucher>>),
    /// Moves a claim on.
    OnClaim {
        target: Target,
        step: ClaimStep,
    },
    Dispute(DisputeCall),
    Admin(AdminCall),
    /// Publishing, making the market, upgrading.
    Deploy(DeployCall),
    /// Sends the market's coin.
    TransferCoin {
        to: Address,
        amount: Amount,
    },
    /// Gives the market's `AdminCap` away, and these objects with it.
    HandOver {
        to: Address,
        objects: Vec<Address>,
    },
    /// Sends SUI, in MIST.
    TransferGas {
        to: Address,
        amount: u64,
    },
}

/// What the holder of the market's `AdminCap` may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCall {
    /// From the next epoch on.
    SetParams(Box<Params>),
    SetPaused(bool),
    DisableModel(ModelId),
    /// Database, treasury and beacon to the package's version.
    Migrate,
    PayFromTreasury {
        to: Address,
        amount: Amount,
    },
}

/// A seal key for `node` and, of a confidential node, what attests it; else all but key and counter are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateKey {
    pub node: NodeId,
    pub evidence: Vec<u8>,
    pub blob: Vec<u8>,
    pub seal_key: Vec<u8>,
    pub device_types: Vec<u8>,
    pub counter: u64,
    pub expires_ms: u64,
}

/// Registers the sender as a node's owner. `payment` covers the registration fee; the rest is collateral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterNode {
    pub payout: Address,
    pub endpoint: String,
    pub receipt_key: PublicKey,
    pub payment: Amount,
}

/// Adds a model with the sender as its creator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddModel {
    pub label: String,
    pub modality: u8,
    pub weights_root: Hash32,
    pub creator_fee_permille: u64,
}

/// Offers a model under fixed terms; the sender receives the task's badge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTask {
    pub role: u8,
    pub model: ModelId,
    pub level: u8,
    /// Whether answers are bit-reproducible.
    pub exact: bool,
    pub price_ceiling: Price,
    pub weights: UnitWeights,
    pub surcharge_permille: u64,
    pub min_collateral: Amount,
    pub min_reputation: u64,
    /// Everyone if empty.
    pub whitelist: Vec<NodeId>,
    /// Kinds of hardware whose answers agree with each other.
    pub echelons: Vec<u64>,
    /// Of each term and the parameter the larger value holds.
    pub audit: AuditTerms,
}

/// Offers `node` for `task`; the wallet holds the node's badge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub node: NodeId,
    pub task: TaskId,
    pub price: Price,
    pub max_units: Units,
    /// One of the task's, and that of the node's first offer for ever.
    pub echelon: u64,
    /// Whether the node also re-executes what others answered.
    pub verifier: bool,
}

/// Buys units of `task`. `payment` is what is handed in; what the escrow does not need comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireStack {
    pub task: TaskId,
    pub request_key: PublicKey,
    pub units: Units,
    pub max_price: Price,
    pub selection: Selection,
    /// Nodes to draw under `Selection::Limited`; 1 under `Single`, 0 under `Any`.
    pub nodes: u64,
    pub max_opens: u64,
    /// Accepted hardware; all of the task's if empty, as of exact tasks.
    pub echelons: Vec<u64>,
    pub payment: Amount,
}

/// Opens or extends a channel: by the stack's owner without a signature, by the node's owner with the
/// signature of the user's `Grant` over the same fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenChannel {
    pub stack: Address,
    pub node: NodeId,
    pub units: Units,
    pub max_price: Price,
    pub nonce: u64,
    pub signature: Option<Signature>,
}

/// Tops a stack up and hands its units to nodes, all or nothing; by its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grow {
    pub stack: Address,
    /// Bought first, at the stack's own terms; none if 0. What `payment` has too much comes back.
    pub units: Units,
    pub payment: Amount,
    /// Of this stack, without signatures.
    pub opens: Vec<OpenChannel>,
}

impl Call {
    /// Most vouchers that one transaction settles.
    pub const SETTLE_MAX: usize = 64;

    /// Name for logs and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RegisterNode(_) => "register node",
            Self::SetEndpoint { .. } => "set endpoint",
            Self::SetPayout { .. } => "set payout",
            Self::SetAnswerInterval { .. } => "set answer interval",
            Self::AddCollateral { .. } => "add collateral",
            Self::RotateReceiptKey { .. } => "rotate receipt key",
            Self::RotateKey(_) => "rotate key",
            Self::DisableNode { .. } => "disable node",
            Self::ExitNode { .. } => "exit node",
            Self::SettleBookings { .. } => "settle bookings",
            Self::WithdrawDue => "withdraw due",
            Self::Collect => "collect",
            Self::AddModel(_) => "add model",
            Self::CreateTask(_) => "create task",
            Self::DeprecateTask { .. } => "deprecate task",
            Self::SetWhitelist { .. } => "set whitelist",
            Self::Subscribe(_) => "subscribe",
            Self::Reprice { .. } => "reprice",
            Self::SetVerifier { .. } => "set verifier",
            Self::MoveVerifier { .. } => "move verifier",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Evict { .. } => "evict",
            Self::AcquireStack(_) => "acquire stack",
            Self::TopUp { .. } => "top up",
            Self::OpenChannel(_) => "open channel",
            Self::Grow(_) => "grow",
            Self::Settle(_) => "settle",
            Self::RevokeChannel { .. } => "revoke channel",
            Self::ReleaseChannel { .. } => "release channel",
            Self::Reclaim { .. } => "reclaim",
            Self::RequestClose { .. } => "request close",
            Self::Refund { .. } => "refund",
            Self::Withdraw { .. } => "withdraw",
            Self::Sweep { .. } => "sweep",
            Self::Beat => "beat",
            Self::Claim(_) => "claim",
            Self::OnClaim { step, .. } => step.name(),
            Self::Dispute(dispute) => dispute.name(),
            Self::Admin(admin) => admin.name(),
            Self::Deploy(deploy) => deploy.name(),
            Self::TransferCoin { .. } => "transfer coin",
            Self::HandOver { .. } => "hand over",
            Self::TransferGas { .. } => "transfer gas",
        }
    }
}

impl AdminCall {
    fn name(&self) -> &'static str {
        match self {
            Self::SetParams(_) => "set params",
            Self::SetPaused(_) => "set paused",
            Self::DisableModel(_) => "disable model",
            Self::Migrate => "migrate",
            Self::PayFromTreasury { .. } => "pay from treasury",
        }
    }
}
