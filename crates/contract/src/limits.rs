//! Bounds of every argument. They are constants of the package, not parameters.

use crate::{Result, ed25519};
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
/// Highest security level: none, confidential compute, sampling consensus.
pub const LEVEL_MAX: u8 = 2;
pub const ECHELONS_MAX: usize = 16;
/// Highest label of an echelon.
pub const ECHELON_MAX: u64 = 65_535;
pub const WHITELIST_MAX: usize = 64;
pub const CHANNELS_MAX: usize = 64;
/// Most openings by nodes that a purchase prepays.
pub const OPENS_MAX: u64 = 64;
/// Most nodes that a Limited purchase draws.
pub const DRAWN_MAX: u64 = 16;
pub const SEAL_KEY_BYTES_MAX: usize = 2_048;
pub const DEVICE_TYPES_MAX: usize = 16;
/// Most registry writes of one node in one epoch.
pub const WRITES_MAX: u64 = 8;
/// Most compensations booked against one node.
pub const BOOKINGS_MAX: usize = 32;
/// Where a revealed record is stored.
pub const LOCATION_BYTES_MAX: usize = 128;
/// A part of a record or body in one call.
pub const PART_BYTES_MAX: usize = 12_288;
/// A body that can be demanded on chain.
pub const BODY_BYTES_MAX: usize = 98_304;
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

/// 32 bytes that are not a point of small order: anyone could sign for such a key. Bytes that are no point at all
/// verify nothing, to the harm of whoever names them; the chain cannot tell.
pub(crate) fn check_key(bytes: &[u8]) -> Result<PublicKey> {
    let key = PublicKey(check_bytes(bytes)?);
    // R the neutral element and s zero verify for exactly those.
    let mut neutral = [0; 64];
    neutral[0] = 1;
    ensure(!ed25519::verify(&key, &[], &neutral), Abort::BadArgument)?;
    Ok(key)
}

/// At most [`ECHELONS_MAX`] distinct labels.
pub(crate) fn check_echelons(echelons: &[u64]) -> Result {
    ensure(echelons.len() <= ECHELONS_MAX, Abort::BadArgument)?;
    for (i, echelon) in echelons.iter().enumerate() {
        ensure(*echelon <= ECHELON_MAX, Abort::BadArgument)?;
        ensure(!echelons[..i].contains(echelon), Abort::BadArgument)?;
    }
    Ok(())
}

/// A byte vector of exactly `N` bytes.
pub(crate) fn check_bytes<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Abort::BadArgument)
}
