//! The parameters: one list, in the order in which `set_params` takes them.

use crate::Amount;
use serde::{Deserialize, Serialize};

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        /// Parameters of the protocol. Windows in ms are multiples of `unit_ms`; shares are permille,
        /// chances parts of 10^9.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Params { $($(#[$doc])* pub $name: $type),* }

        impl Params {
            /// Names in order, as Move calls their accessors.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// All values in order.
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$name.into()),*]
            }

            /// Takes all values in order; `None` if there are more or fewer than [`Params::NAMES`].
            pub fn from_values(values: &[u64]) -> Option<Self> {
                let [$($name),*] = *values else { return None };
                Some(Self { $($name: $name.into()),* })
            }
        }
    };
}

params! {
    // Windows: 17 values.
    unit_ms: u64,
    stack_life_ms: u64,
    close_delay_ms: u64,
    exit_ms: u64,
    beat_min_ms: u64,
    reveal_ms: u64,
    commit_ms: u64,
    verdict_ms: u64,
    grace_ms: u64,
    challenge_ms: u64,
    hold_ms: u64,
    dispute_window_ms: u64,
    answer_window_ms: u64,
    body_window_ms: u64,
    queue_max_ms: u64,
    answer_interval_max_ms: u64,
    timelock_ms: u64,
    // Amounts: 10 values.
    min_collateral: Amount,
    /// Most a single draw weighs: a multiple of the minimum collateral.
    weight_cap: Amount,
    registration_fee: Amount,
    open_fee: Amount,
    bond: Amount,
    answer_fee: Amount,
    resolve_fee: Amount,
    min_claim: Amount,
    compensation_max: Amount,
    verifier_pay_min: Amount,
    // Rates: 14 values.
    fraud_permille: u64,
    timeout_permille: u64,
    verdict_permille: u64,
    no_commit_permille: u64,
    burn_permille: u64,
    compensation_times: u64,
    p_min_ppb: u64,
    p_stat_ppb: u64,
    cost_permille: u64,
    collusion_permille: u64,
    safety_permille: u64,
    /// Verifiers of an audit's first round.
    verifiers: u64,
    /// Offsets that an audit draws.
    records: u64,
    min_verifiers: u64,
}

/// Parameters that replace the present ones from `epoch` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingParams {
    pub params: Params,
    pub epoch: u64,
}
