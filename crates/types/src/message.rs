//! The signed messages. Signed bytes are ASCII `atoma/1/<Name>`, a zero byte, then BCS of the struct,
//! under pure ed25519; one message can therefore never pass for another.
//!
//! ```
//! use atoma_types::{Address, NodeId, SecretKey, Units, Voucher, Hash32, message::Message};
//! let key = SecretKey::from_seed([7; 32]);
//! let voucher = Voucher {
//!     db: Address::TWO, stack: Address::THREE, node: NodeId(1),
//!     units: Units(120), count: 2, root: Hash32::ZERO,
//! };
//! let signed = voucher.clone().sign(&key);
//! assert!(signed.verify(&key.public_key()).is_ok());
//! assert!(voucher.signed_bytes().starts_with(b"atoma/1/Voucher\0"));
//! ```

use crate::key::SignatureError;
use crate::{Address, Hash32, NodeId, Price, PublicKey, SecretKey, Signature, Units};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Prefix of every domain: protocol and major version.
const DOMAIN: &str = "atoma/1/";

/// A struct that parties sign.
pub trait Message: Serialize + DeserializeOwned + Clone {
    /// Its name in the signing domain.
    const NAME: &'static str;

    /// `atoma/1/<Name>` ‖ 0x00 ‖ BCS(self).
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DOMAIN.len() + Self::NAME.len() + 256);
        bytes.extend_from_slice(DOMAIN.as_bytes());
        bytes.extend_from_slice(Self::NAME.as_bytes());
        bytes.push(0);
        #[expect(clippy::expect_used, reason = "BCS of these flat structs into memory cannot fail")]
        bcs::serialize_into(&mut bytes, self).expect("flat struct");
        bytes
    }

    /// H(signed bytes); for a `RequestAuth` this is the `request_hash`.
    fn signed_hash(&self) -> Hash32 {
        Hash32::of(&self.signed_bytes())
    }

    fn sign(self, key: &SecretKey) -> Signed<Self> {
        let signature = key.sign_bytes(&self.signed_bytes());
        Signed { message: self, signature }
    }
}

/// A message with its signature; the signer's key is known from elsewhere (the stack, the node's row).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<M> {
    pub message: M,
    pub signature: Signature,
}

impl<M: Message> Signed<M> {
    pub fn verify(&self, key: &PublicKey) -> Result<&M, SignatureError> {
        key.verify_bytes(&self.message.signed_bytes(), &self.signature)?;
        Ok(&self.message)
    }
}

macro_rules! message {
    ($($name:ident),*) => { $(impl Message for $name { const NAME: &'static str = stringify!($name); })* };
}
message!(Grant, RequestAuth, Forward, Voucher, Receipt);

/// The user lets `node` serve up to `units` of `stack`, cumulative over the channel's life. Signed with
/// the stack's request key; of two grants for one node the one with the higher nonce holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    pub units: Units,
    pub max_price: Price,
    pub nonce: u64,
}

/// The user asks `node` for one answer to the body with this hash, for at most `max_units`. Signed with
/// the stack's request key. `hops` is 1 if the node may pass the request on, else 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestAuth {
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    #[serde(deserialize_with = "at_most_one_hop")]
    pub hops: u8,
    /// Unique within the stack.
    pub nonce: u64,
    /// H of the HTTP body bytes as received.
    pub body_hash: Hash32,
    pub max_units: Units,
    pub expires_ms: u64,
}

fn at_most_one_hop<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        hops @ 0..=1 => Ok(hops),
        hops => Err(serde::de::Error::custom(format!("hops must be 0 or 1, not {hops}"))),
    }
}

/// The longest life a node accepts for a `RequestAuth`.
pub const AUTH_LIFE_MAX_MS: u64 = 600_000;
/// The life clients give theirs.
pub const AUTH_LIFE_MS: u64 = 60_000;

/// `from` passes a request on to `to`. Signed with `from`'s receipt key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub db: Address,
    pub stack: Address,
    pub request_hash: Hash32,
    pub from: NodeId,
    pub to: NodeId,
}

/// The user acknowledges everything on its channel with `node` up to leaf `count`: `units` in total under
/// transcript `root`. Signed with the stack's request key; only the newest matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    pub units: Units,
    pub count: u64,
    pub root: Hash32,
}

/// How a request ended. One byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Status {
    /// A stop token, stop string or the length ended it.
    Complete = 0,
    /// The client went away; it pays for what was sent.
    Aborted = 1,
    /// The engine failed; zero units.
    Failed = 2,
    /// The node declined; zero units.
    Refused = 3,
}

impl From<Status> for u8 {
    fn from(status: Status) -> Self {
        match status {
            Status::Complete => 0,
            Status::Aborted => 1,
            Status::Failed => 2,
            Status::Refused => 3,
        }
    }
}

impl TryFrom<u8> for Status {
    type Error = String;
    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        match byte {
            0 => Ok(Self::Complete),
            1 => Ok(Self::Aborted),
            2 => Ok(Self::Failed),
            3 => Ok(Self::Refused),
            other => Err(format!("unknown status {other}")),
        }
    }
}

impl Status {
    /// Whether units may be charged.
    pub fn is_billable(self) -> bool {
        matches!(self, Self::Complete | Self::Aborted)
    }
}

/// The node's signed account of one answer, with the transcript it extends. Signed with the node's
/// receipt key as it stands on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    pub request_hash: Hash32,
    /// H of all response body bytes up to the receipt's SSE comment line (framing included, receipt and
    /// `[DONE]` excluded); after an abort, of the bytes written.
    pub response_hash: Hash32,
    pub input: u64,
    pub output: u64,
    /// Units of this answer.
    pub units: Units,
    /// Units of the channel including this answer.
    pub total_units: Units,
    /// Leaves of the transcript including this one.
    pub count: u64,
    /// Root of the transcript including this leaf.
    pub root: Hash32,
    /// Digest that only executing the request gives; zeros where the task is not exact.
    pub work: Hash32,
    /// `H(BCS(output token ids per choice) ‖ u64_le(node))`; zeros unless replication was asked for.
    pub replica_hash: Hash32,
    pub status: Status,
    pub finished_ms: u64,
}

impl Receipt {
    /// The leaf that this receipt adds to the transcript.
    pub fn record(&self) -> Record {
        Record {
            request_hash: self.request_hash,
            response_hash: self.response_hash,
            input: self.input,
            output: self.output,
            units: self.units,
            total_units: self.total_units,
            count: self.count,
            status: self.status,
            work: self.work,
        }
    }
}

/// A leaf of the transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub request_hash: Hash32,
    pub response_hash: Hash32,
    pub input: u64,
    pub output: u64,
    pub units: Units,
    pub total_units: Units,
    pub count: u64,
    pub status: Status,
    pub work: Hash32,
}

impl Record {
    /// BCS, as the transcript hashes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "BCS of a flat struct into memory cannot fail")]
        bcs::to_bytes(self).expect("flat struct")
    }
}
