//! Bounds of every argument. They are constants of the package, not parameters.

use crate::Result;
use atoma_types::PublicKey;
use atoma_types::onchain::Abort;

/// Largest unit count, price, or unit weight.
pub const QUANTITY_MAX: u64 = 1_000_000_000_000;
/// Largest minimum of collateral that a task may ask for.
pub const COLLATERAL_MINIMUM_MAX: u64 = 1_000_000_000_000_000;
pub const LABEL_BYTES_MAX: usize = 64;
pub const ENDPOINT_BYTES_MAX: usize = 256;
pub const CREATOR_FEE_PERMILLE_MAX: u64 = 200;
pub const SURCHARGE_PERMILLE_MAX: u64 = 200;
/// Highest role and modality: chat, embedding, vision, image, speech out, speech in, fine-tuning, training.
pub const ROLE_MAX: u8 = 7;
/// Security levels that the package judges. Levels 1 and 2 need attestation and claims.
pub const LEVELS: &[u8] = &[0];
pub const ECHELONS_MAX: u64 = 16;
pub const WHITELIST_MAX: usize = 64;
pub const CHANNELS_MAX: usize = 64;
/// Most openings by nodes that a purchase prepays.
pub const OPENS_MAX: u64 = 64;
/// Most nodes that a Limited purchase draws.
pub const DRAWN_MAX: u64 = 16;
pub const REPUTATION_MAX: u64 = 100;
/// Reputation at registration.
pub const REPUTATION_BASE: u64 = 50;

/// Aborts with `abort` unless `condition` holds.
pub(crate) fn ensure(condition: bool, abort: Abort) -> Result {
    if condition { Ok(()) } else { Err(abort) }
}

/// A text of 1 to `bytes_max` bytes.
pub(crate) fn check_text(text: &str, bytes_max: usize) -> Result {
    ensure(!text.is_empty() && text.len() <= bytes_max, Abort::BadArgument)
}

/// An `http://` or `https://` URL of printable ASCII without spaces. Whether it answers, clients find out.
pub(crate) fn check_endpoint(endpoint: &str) -> Result {
    check_text(endpoint, ENDPOINT_BYTES_MAX)?;
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    ensure(has_host && endpoint.bytes().all(|byte| byte.is_ascii_graphic()), Abort::BadArgument)
}

/// A unit count, price or weight of at most [`QUANTITY_MAX`].
pub(crate) fn check_quantity(value: u64) -> Result {
    ensure(value <= QUANTITY_MAX, Abort::BadArgument)
}

/// 32 bytes that are a point and not of small order: anyone could sign for a key of small order.
pub(crate) fn check_key(bytes: &[u8]) -> Result<PublicKey> {
    let key = PublicKey(check_bytes(bytes)?);
    ensure(key.is_usable(), Abort::BadArgument)?;
    Ok(key)
}

/// A byte vector of exactly `N` bytes.
pub(crate) fn check_bytes<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Abort::BadArgument)
}
