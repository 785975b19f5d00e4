//! Sui as a client of the market sees it: reading what the contract stores, building and signing the
//! calls that change it, following its events, and keeping a wallet's coins usable by many transactions
//! at once. One code path serves the devnet, testnet and mainnet; only the [`Deployment`] differs.
//!
//! This crate never decides what is due to whom (the contract does), never serves anything, and never
//! sends a second transaction for one intent while the first may still execute. Start with
//! [`ChainClient`] for reading, [`Call`] for what can be done, [`Wallet`] for doing it.

mod build;
mod call;
mod client;
mod cursor;
mod deploy;
mod error;
mod events;
mod executed;
mod faucet;
mod keystore;
mod pool;
mod profile;
mod reserve;
mod submit;
mod transfers;
mod views;
mod wallet;

pub use atoma_types::onchain::Deployment;
pub use call::{
    AcquireStack, AddModel, AdminCall, Call, Case, ClaimStep, CreateTask, DisputeCall, Grow, OpenChannel,
    RegisterNode, RotateKey, Shown, Subscribe, Target,
};
pub use client::{Balances, BeaconRound, ChainClient};
pub use cursor::{CursorError, CursorFile};
pub use deploy::{DeployCall, UpgradeCap, UpgradeLock, UpgradeProposal};
pub use error::ChainError;
pub use events::{ChainEvent, EventCursor, EventFrame};
pub use executed::{Created, Executed, SignedTransaction};
pub use faucet::{faucet, faucet_at, fetch_deployment};
pub use keystore::WalletError;
pub use profile::{Deployed, Profile, ProfileError, Published, shown_url, toml_reason};
pub use sui_sdk_types::{Digest, Owner};
pub use transfers::CoinTransfer;
pub use views::{Database, Epoch};
pub use wallet::{Wallet, publishing_mist};
