//! Typed events: one per state change, enough to rebuild every balance. Move names them
//! `<package>::events::<Name>`; BCS as written here.

use super::object::Selection;
use crate::{Address, Amount, Hash32, ModelId, NodeId, Price, PublicKey, TaskId, Units};
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])* #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)] pub struct $name { $(pub $field: $type),* })*

        /// Any event of the package.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "event")]
        pub enum Event { $($name($name)),* }

        impl Event {
            /// Move struct name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }

            /// BCS of the Move struct.
            pub fn contents(&self) -> Result<Vec<u8>, bcs::Error> {
                match self { $(Self::$name(event) => bcs::to_bytes(event)),* }
            }

            /// Decodes the struct called `name`; `None` if this version knows no such event.
            pub fn decode(name: &str, contents: &[u8]) -> Option<Result<Self, bcs::Error>> {
                match name { $(stringify!($name) => Some(bcs::from_bytes(contents).map(Self::$name)),)* _ => None }
            }
        }

        $(impl From<$name> for Event { fn from(event: $name) -> Self { Self::$name(event) } })*
    };
}

/// Module that declares the events.
pub const EVENT_MODULE: &str = "events";

events! {
    NodeRegistered { node: NodeId, owner: Address, payout: Address, endpoint: String, receipt_key: PublicKey, collateral: Amount, fee: Amount }
    NodeEndpointChanged { node: NodeId, endpoint: String }
    NodeDisabled { node: NodeId, at_ms: u64 }
    CollateralWithdrawn { node: NodeId, to: Address, amount: Amount }
    ModelAdded { model: ModelId, label: String, creator: Address, creator_fee_permille: u64 }
    TaskCreated { task: TaskId, owner: Address, role: u8, model: ModelId, level: u8, price_ceiling: Price }
    Subscribed { task: TaskId, node: NodeId, price: Price, max_units: Units, echelon: u64 }
    StackAcquired {
        stack: Address, owner: Address, task: TaskId, request_key: PublicKey, units: Units, max_price: Price,
        selection: Selection, drawn: Vec<NodeId>, balance: Amount, expires_ms: u64,
    }
    ChannelOpened { stack: Address, node: NodeId, price: Price, granted: Units, nonce: u64, by: Address, open_fee: Amount }
    /// `paid` went to the node, `creator_fee` to the model's creator, `surcharge` to the treasury.
    Settled {
        stack: Address, node: NodeId, units: Units, count: u64, root: Hash32,
        paid: Amount, creator_fee: Amount, surcharge: Amount,
    }
    ChannelReleased { stack: Address, node: NodeId, returned: Units }
    CloseRequested { stack: Address, at_ms: u64 }
    /// `credited` if somebody else than the owner called and the owner must withdraw.
    Refunded { stack: Address, owner: Address, amount: Amount, credited: bool }
    Withdrawn { stack: Address, to: Address, amount: Amount }
    Swept { stack: Address, amount: Amount }
    StackDeleted { stack: Address }
}
