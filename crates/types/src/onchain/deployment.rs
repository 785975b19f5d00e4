//! Where the contract lives on one network.

use crate::Address;
use serde::{Deserialize, Serialize};

/// Addresses a client needs to talk to one deployment. `coin_type` is a canonical type tag
/// (`0x…::module::NAME`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// `devnet`, `testnet`, `mainnet`, or a private name.
    pub network: String,
    /// gRPC endpoint of a full node.
    pub rpc_url: String,
    /// As first published: types and events are its.
    pub package: Address,
    /// Its newest version, if it was upgraded: calls go there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded: Option<Address>,
    pub db: Address,
    pub treasury: Address,
    pub beacon: Address,
    /// Walrus's package, and its `System` object.
    pub walrus_package: Address,
    pub walrus_system: Address,
    pub coin_type: String,
}

impl Deployment {
    /// The package that calls go to.
    pub fn code(&self) -> Address {
        self.upgraded.unwrap_or(self.package)
    }
}
