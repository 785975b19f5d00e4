//! How signed messages travel over HTTP: BCS in URL-safe base64 without padding, in headers and in one
//! SSE comment line. Shapes only; the node and the client decide what they mean.

use crate::NodeId;
use crate::message::{Forward, Grant, Message as _, Receipt, RequestAuth, Signed, Voucher};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Request header with an [`Authorization`].
pub const AUTH_HEADER: &str = "x-atoma-auth";
/// Response header with a `Signed<Receipt>`; streams carry it as a comment line instead.
pub const RECEIPT_HEADER: &str = "x-atoma-receipt";
/// Request header with the nodes, by [`encode_nodes`], that may answer in place of the one that is asked. It goes with a
/// request whose `hops` is 1.
pub const ALTERNATES_HEADER: &str = "x-atoma-alternates";
/// Most alternates of a request.
pub const ALTERNATES_MAX: usize = 8;
/// Header with a `Signed<Forward>`: of the request as one node passes it on to another, and of the answer that comes of
/// it.
pub const FORWARD_HEADER: &str = "x-atoma-forward";
/// What precedes the receipt in its SSE comment line, which ends with an empty line.
pub const RECEIPT_COMMENT: &str = ": atoma-receipt ";
/// Last SSE event of a stream; not part of what the receipt covers.
pub const SSE_DONE: &str = "data: [DONE]\n\n";
/// Longest encoded value that is decoded.
pub const ENCODED_MAX: usize = 16 * 1024;
/// Most grants one request may bring.
pub const GRANTS_MAX: usize = 8;

/// An endpoint of OpenAI's API that a node answers for units. Paths, bodies and answers are OpenAI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Responses,
    Embeddings,
    Images,
}

impl Endpoint {
    pub const ALL: [Self; 5] =
        [Self::ChatCompletions, Self::Completions, Self::Responses, Self::Embeddings, Self::Images];

    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Images => "/v1/images/generations",
        }
    }

    /// Whether tasks of this role answer it: 0 chat, 1 embedding, 2 vision, 3 image.
    pub const fn is_of_role(self, role: u8) -> bool {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses => role == 0 || role == 2,
            Self::Embeddings => role == 1,
            Self::Images => role == 3,
        }
    }
}

/// Side of an image for which the request names no size.
const IMAGE_SIDE: u64 = 1_024;

/// Pixels of one image of a request's `size` (`"512x768"`), which is what its units count. Sizes that name none
/// (`"auto"`, or nothing) count 1024 × 1024.
pub fn image_pixels(size: Option<&str>) -> u64 {
    let named = size.and_then(|size| size.split_once('x')).and_then(|(width, height)| {
        let (width, height): (u64, u64) = (width.parse().ok()?, height.parse().ok()?);
        width.checked_mul(height)
    });
    named.unwrap_or(IMAGE_SIDE * IMAGE_SIDE)
}

/// What a paying request carries beside its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    pub auth: Signed<RequestAuth>,
    /// The newest acknowledgement of this channel, if there is anything to acknowledge.
    pub voucher: Option<Signed<Voucher>>,
    /// Grants for this node or for alternates, at most [`GRANTS_MAX`].
    pub grants: Vec<Signed<Grant>>,
}

/// Why encoded bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("longer than {ENCODED_MAX} characters")]
    TooLong,
    #[error("not url-safe base64 without padding")]
    Base64,
    #[error("not the expected BCS: {0}")]
    Bcs(String),
    #[error("more than {GRANTS_MAX} grants")]
    TooManyGrants,
}

/// BCS in URL-safe base64.
pub fn encode<T: Serialize>(value: &T) -> String {
    #[expect(clippy::expect_used, reason = "BCS of protocol messages into memory cannot fail")]
    let bytes = bcs::to_bytes(value).expect("protocol message");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`encode`] writes; trailing bytes are an error.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    if text.len() > ENCODED_MAX {
        return Err(DecodeError::TooLong);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| DecodeError::Base64)?;
    bcs::from_bytes(&bytes).map_err(|error| DecodeError::Bcs(error.to_string()))
}

/// Node ids in decimal between commas, at most [`ALTERNATES_MAX`].
pub fn encode_nodes(nodes: &[NodeId]) -> String {
    let ids = nodes.iter().take(ALTERNATES_MAX).map(NodeId::to_string);
    ids.collect::<Vec<_>>().join(",")
}

/// Reads what [`encode_nodes`] writes; `None` if it is anything else.
pub fn decode_nodes(text: &str) -> Option<Vec<NodeId>> {
    let ids = text.split(',').take(ALTERNATES_MAX.saturating_add(1));
    let nodes = ids.map(|id| id.trim().parse().map(NodeId)).collect::<Result<Vec<_>, _>>().ok()?;
    (nodes.len() <= ALTERNATES_MAX).then_some(nodes)
}

impl Forward {
    /// Whether it passes on just this request, which allows it, to another node.
    pub fn is_of(&self, request: &RequestAuth) -> bool {
        let Self { db, stack, request_hash, from, to } = self;
        request.hops == 1
            && from != to
            && (db, stack, from) == (&request.db, &request.stack, &request.node)
            && *request_hash == request.signed_hash()
    }
}

impl Authorization {
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let authorization: Self = decode(text)?;
        if authorization.grants.len() > GRANTS_MAX {
            return Err(DecodeError::TooManyGrants);
        }
        Ok(authorization)
    }
}

/// The SSE comment that carries a receipt: `: atoma-receipt <base64>` and an empty line.
pub fn receipt_comment(receipt: &Signed<Receipt>) -> String {
    format!("{RECEIPT_COMMENT}{}\n\n", encode(receipt))
}
