//! What a wallet can ask of the contract. Ids and amounts only: versions, badges, coins and gas are found
//! when the transaction is built.

use atoma_types::amount::UnitWeights;
use atoma_types::onchain::Selection;
use atoma_types::{
    Address, Amount, Hash32, ModelId, NodeId, Price, PublicKey, Signature, Signed, TaskId, Units, Voucher,
};

/// One intent, sent as one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    RegisterNode(RegisterNode),
    /// The wallet holds `node`'s badge, here and below.
    SetEndpoint {
        node: NodeId,
        endpoint: String,
    },
    DisableNode {
        node: NodeId,
    },
    WithdrawCollateral {
        node: NodeId,
    },
    AddModel(AddModel),
    CreateTask(CreateTask),
    Subscribe(Subscribe),
    AcquireStack(AcquireStack),
    OpenChannel(OpenChannel),
    /// The newest voucher of each of many channels, at most [`Call::SETTLE_MAX`], settled in one
    /// transaction: one refused voucher refuses all.
    Settle(Vec<Signed<Voucher>>),
    ReleaseChannel {
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
    /// Sends the market's coin.
    TransferCoin {
        to: Address,
        amount: Amount,
    },
    /// Sends SUI, in MIST.
    TransferGas {
        to: Address,
        amount: u64,
    },
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
    pub price_ceiling: Price,
    pub weights: UnitWeights,
    pub surcharge_permille: u64,
    pub min_collateral: Amount,
    pub min_reputation: u64,
    /// Everyone if empty.
    pub whitelist: Vec<NodeId>,
}

/// Offers `node` for `task`; the wallet holds the node's badge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub node: NodeId,
    pub task: TaskId,
    pub price: Price,
    pub max_units: Units,
    pub echelon: u64,
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

impl Call {
    /// Most vouchers that one transaction settles.
    pub const SETTLE_MAX: usize = 64;

    /// Name for logs and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RegisterNode(_) => "register node",
            Self::SetEndpoint { .. } => "set endpoint",
            Self::DisableNode { .. } => "disable node",
            Self::WithdrawCollateral { .. } => "withdraw collateral",
            Self::AddModel(_) => "add model",
            Self::CreateTask(_) => "create task",
            Self::Subscribe(_) => "subscribe",
            Self::AcquireStack(_) => "acquire stack",
            Self::OpenChannel(_) => "open channel",
            Self::Settle(_) => "settle",
            Self::ReleaseChannel { .. } => "release channel",
            Self::RequestClose { .. } => "request close",
            Self::Refund { .. } => "refund",
            Self::Withdraw { .. } => "withdraw",
            Self::Sweep { .. } => "sweep",
            Self::TransferCoin { .. } => "transfer coin",
            Self::TransferGas { .. } => "transfer gas",
        }
    }
}
