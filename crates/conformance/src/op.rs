//! Every call of the contract's entry points, as data: what the model plays is what the Move VM plays.
//!
//! Objects are named by what both sides know: markets, caps, locks and badges by the order in which they were
//! made, shared stacks and disputes by their address. BCS of an [`Op`] is what the Move driver decodes: the
//! variants' order here is the order of its branches.

use crate::plan::{Spoil, Spoiler, one_of};
use atoma_types::Address;
use serde::{Deserialize, Serialize};

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Names the transaction: ids of what it makes derive from it. Kept when other steps are taken away.
    pub tx: u64,
    pub sender: Address,
    pub epoch: u64,
    pub clock_ms: u64,
    pub op: Op,
}

impl std::fmt::Display for Step {
    /// As for debugging, long lists of bytes in hex.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{self:?}");
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('[') {
            let (list, after) = after.split_once(']').unwrap_or((after, ""));
            let bytes: Option<Vec<u8>> = list.split(", ").map(|byte| byte.parse().ok()).collect();
            match bytes.filter(|bytes| bytes.len() > 8) {
                Some(bytes) => {
                    write!(f, "{before}0x")?;
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                }
                None => write!(f, "{before}[{list}]")?,
            }
            rest = after;
        }
        f.write_str(rest)
    }
}

/// What holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    Channel { stack: Address, node: u64 },
    Dispute(Address),
}

/// A leaf as a caller shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub record: Vec<u8>,
    pub index: u64,
    pub proof: Vec<Vec<u8>>,
}

/// A voucher's fields beside its stack, and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    pub units: u64,
    pub count: u64,
    pub root: Vec<u8>,
    pub signature: Vec<u8>,
}

/// A Walrus blob that the call brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobSpec {
    pub blob_id: [u8; 32],
    pub size: u64,
    pub encoding_type: u8,
    pub registered_epoch: u32,
    pub certified_epoch: Option<u32>,
    pub end_epoch: u32,
    pub deletable: bool,
}

/// Which object gets another version (a control of the tests: the chain has no such call).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aged {
    Db(u8),
    Treasury(u8),
    Beacon(u8),
    Stack(Address),
    Dispute(Address),
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident $entry:literal { $($field:ident: $type:ty),* $(,)? })*) => {
        /// A call. `db`, `treasury`, `beacon`, `cap`, `lock` and `badge` are positions in the order of creation;
        /// `coin` is what the coin handed in is worth.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Op { $($(#[$doc])* $name { $($field: $type),* }),* }

        impl Op {
            /// Entry points by variant, in order. `*` stands for `claim`, `audit` or `dispute`, whatever holds
            /// the claim.
            pub const ENTRIES: &'static [(&'static str, &'static str)] = &[$((stringify!($name), $entry)),*];

            pub fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => stringify!($name)),* }
            }

            fn pattern(&self) -> &'static str {
                match self { $(Self::$name { .. } => $entry),* }
            }

            /// Makes one argument wrong.
            pub(crate) fn spoil(&mut self, spoiler: &mut Spoiler) {
                match self { $(Self::$name { $($field),* } => one_of(&mut [$($field as &mut dyn Spoil),*], spoiler)),* }
            }
        }
    };
}

ops! {
    // Administration.
    NewCap "admin::init" {}
    Create "admin::create" { cap: u8, params: Vec<u64> }
    SetParams "admin::set_params" { db: u8, cap: u8, params: Vec<u64> }
    SetPaused "admin::set_paused" { db: u8, cap: u8, paused: bool }
    DisableModel "admin::disable_model" { db: u8, cap: u8, model: u64 }
    PayFromTreasury "admin::pay_from_treasury" { treasury: u8, cap: u8, to: Address, amount: u64 }
    Migrate "admin::migrate" { db: u8, cap: u8 }
    MigrateTreasury "admin::migrate_treasury" { db: u8, treasury: u8 }
    MigrateBeacon "admin::migrate_beacon" { db: u8, beacon: u8 }
    Lock "upgrade::lock" { db: u8, cap: u8, package: Address }
    Propose "upgrade::propose" { db: u8, lock: u8, cap: u8, digest: Vec<u8> }
    /// Authorizes, publishes, and commits on `commit` (another lock refuses the receipt).
    Authorize "upgrade::authorize+commit" { db: u8, lock: u8, cap: u8, commit: u8 }
    Cancel "upgrade::cancel" { db: u8, lock: u8, cap: u8 }

    // Nodes.
    Register "node::register" {
        db: u8, treasury: u8, coin: u64, payout: Address, endpoint: String, receipt_key: Vec<u8>,
    }
    SetEndpoint "node::set_endpoint" { db: u8, badge: u16, endpoint: String }
    SetPayout "node::set_payout" { db: u8, badge: u16, payout: Address }
    SetAnswerInterval "node::set_answer_interval" { db: u8, badge: u16, interval_ms: u64 }
    AddCollateral "node::add_collateral" { db: u8, badge: u16, coin: u64 }
    RotateReceiptKey "node::rotate_receipt_key" { db: u8, badge: u16, receipt_key: Vec<u8> }
    RotateKey "node::rotate_key" {
        db: u8, badge: u16, evidence: Vec<u8>, blob: Vec<u8>, seal_key: Vec<u8>, device_types: Vec<u8>,
        counter: u64, expires_ms: u64,
    }
    Disable "node::disable" { db: u8, badge: u16 }
    Exit "node::exit" { db: u8, badge: u16 }
    SettleBookings "node::settle_bookings" { db: u8, node: u64 }
    WithdrawDue "node::withdraw_due" { db: u8 }
    Collect "treasury::collect" { db: u8, treasury: u8 }

    // Models, tasks, offers.
    AddModel "model::add" {
        db: u8, label: String, modality: u8, weights_root: Vec<u8>, creator_fee_permille: u64,
    }
    CreateTask "task::create" {
        db: u8, role: u8, model: u64, level: u8, exact: bool, price_ceiling: u64, weight_input: u64,
        weight_output: u64, surcharge_permille: u64, min_collateral: u64, min_reputation: u64,
        whitelist: Vec<u64>, echelons: Vec<u64>, p_min_ppb: u64, p_stat_ppb: u64, verifiers: u64, records: u64,
        min_claim: u64, challenge_ms: u64, hold_ms: u64,
    }
    DeprecateTask "task::deprecate" { db: u8, badge: u16 }
    SetWhitelist "task::set_whitelist" { db: u8, badge: u16, nodes: Vec<u64> }
    Subscribe "offer::subscribe" {
        db: u8, badge: u16, task: u64, price: u64, max_units: u64, echelon: u64, verifier: bool,
    }
    Reprice "offer::reprice" { db: u8, badge: u16, task: u64, price: u64, max_units: u64 }
    SetVerifier "offer::set_verifier" { db: u8, badge: u16, task: u64, verifier: bool }
    MoveVerifier "offer::move_verifier" { db: u8, badge: u16, task: u64 }
    Unsubscribe "offer::unsubscribe" { db: u8, badge: u16, task: u64 }
    Evict "offer::evict" { db: u8, node: u64, task: u64 }

    // Stacks.
    Acquire "stack::acquire" {
        db: u8, seed: [u8; 32], coin: u64, task: u64, request_key: Vec<u8>, units: u64, max_price: u64,
        selection: u8, nodes: u64, max_opens: u64, echelons: Vec<u64>,
    }
    TopUp "stack::top_up" { db: u8, stack: Address, coin: u64, units: u64 }
    OpenChannel "stack::open_channel" {
        db: u8, stack: Address, node: u64, units: u64, max_price: u64, nonce: u64, signature: Vec<u8>,
    }
    Settle "stack::settle" { db: u8, stack: Address, node: u64, voucher: Signed }
    RevokeChannel "stack::revoke_channel" { stack: Address, node: u64 }
    ReleaseChannel "stack::release_channel" { db: u8, stack: Address, badge: u16 }
    Reclaim "stack::reclaim" { db: u8, stack: Address, node: u64 }
    RequestClose "stack::request_close" { stack: Address }
    Refund "stack::refund" { stack: Address }
    Withdraw "stack::withdraw" { stack: Address }
    Sweep "stack::sweep" { stack: Address, treasury: u8 }
    MigrateStack "stack::migrate" { db: u8, stack: Address }

    // Claims and audits.
    Beat "beacon::beat" { db: u8, beacon: u8, seed: [u8; 32] }
    SettleClaim "claim::settle" { db: u8, beacon: u8, stack: Address, node: u64, voucher: Signed }
    ResolvePay "claim::resolve_pay" { db: u8, beacon: u8, target: Target }
    ResolveAudit "claim::resolve_audit" { db: u8, beacon: u8, target: Target }
    ChallengeRecord "claim::challenge_record" { db: u8, beacon: u8, target: Target, coin: u64, shown: Shown }
    ReleaseClaim "claim::release_claim" { db: u8, beacon: u8, target: Target }
    /// The channel is the badge's; `target.node` says nothing.
    RevealRecord "audit::reveal_record" {
        target: Target, badge: u16, which: u64, shown: Shown, location: Vec<u8>,
    }
    PostRecordPart "audit::post_record_part" { target: Target, badge: u16, which: u64, part: Vec<u8> }
    CommitVerdict "audit::commit_verdict" { target: Target, badge: u16, hash: Vec<u8> }
    RevealVerdict "audit::reveal_verdict" {
        db: u8, target: Target, badge: u16, verdicts: Vec<u8>, digests: Vec<u8>, salt: Vec<u8>,
    }
    MarkAuditLate "audit::mark_late" { target: Target }
    ExpireAudit "audit::expire" { db: u8, target: Target }

    // Disputes.
    OpenDispute "dispute::open" {
        db: u8, stack: Address, blob: BlobSpec, coin: u64, node: u64, hops: u8, nonce: u64,
        body_hash: Vec<u8>, max_units: u64, expires_ms: u64, signature: Vec<u8>,
    }
    AnswerServed "dispute::answer_served" {
        db: u8, beacon: u8, stack: Address, dispute: Address, badge: u16, blob: BlobSpec, record: Vec<u8>,
    }
    AnswerRefused "dispute::answer_refused" {
        db: u8, stack: Address, dispute: Address, badge: u16, coin: u64, reason: u8,
    }
    ShowAcknowledged "dispute::show_acknowledged" {
        db: u8, stack: Address, dispute: Address, badge: u16, node: u64, voucher: Signed, shown: Shown,
    }
    DemandBody "dispute::demand_body" { db: u8, dispute: Address, badge: u16 }
    PostBody "dispute::post_body" { dispute: Address, offset: u64, part: Vec<u8>, is_last: bool }
    MarkDisputeLate "dispute::mark_late" { dispute: Address }
    ExpireDispute "dispute::expire" { db: u8, stack: Address, dispute: Address }
    WithdrawDispute "dispute::withdraw" { dispute: Address }
    MigrateDispute "dispute::migrate" { db: u8, dispute: Address }

    // Not entries.
    /// Gives an object another version.
    SetVersion "(version)" { object: Aged, version: u64 }
}

impl Op {
    /// `module::function` of the entry point called.
    pub fn entry(&self) -> &'static str {
        let is_dispute = matches!(self.target(), Some(Target::Dispute(_)));
        match (is_dispute, self.pattern()) {
            (true, pattern) => of_dispute(pattern),
            (false, pattern) => pattern,
        }
    }

    /// What holds the claim that the call is about.
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::ResolvePay { target, .. }
            | Self::ResolveAudit { target, .. }
            | Self::ChallengeRecord { target, .. }
            | Self::ReleaseClaim { target, .. }
            | Self::RevealRecord { target, .. }
            | Self::PostRecordPart { target, .. }
            | Self::CommitVerdict { target, .. }
            | Self::RevealVerdict { target, .. }
            | Self::MarkAuditLate { target }
            | Self::ExpireAudit { target, .. } => Some(*target),
            _ => None,
        }
    }

    /// What the coin handed in is worth.
    pub fn coin(&self) -> u64 {
        match self {
            Self::Register { coin, .. }
            | Self::AddCollateral { coin, .. }
            | Self::Acquire { coin, .. }
            | Self::TopUp { coin, .. }
            | Self::ChallengeRecord { coin, .. }
            | Self::OpenDispute { coin, .. }
            | Self::AnswerRefused { coin, .. } => *coin,
            _ => 0,
        }
    }
}

/// The same call on a dispute's claim.
pub fn of_dispute(entry: &'static str) -> &'static str {
    match entry {
        "claim::resolve_pay" => "dispute::resolve_pay",
        "claim::resolve_audit" => "dispute::resolve_audit",
        "claim::challenge_record" => "dispute::challenge_record",
        "claim::release_claim" => "dispute::release_claim",
        "audit::reveal_record" => "dispute::reveal_record",
        "audit::post_record_part" => "dispute::post_record_part",
        "audit::commit_verdict" => "dispute::commit_verdict",
        "audit::reveal_verdict" => "dispute::reveal_verdict",
        "audit::mark_late" => "dispute::mark_audit_late",
        "audit::expire" => "dispute::expire_audit",
        other => other,
    }
}
