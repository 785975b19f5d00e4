//! What the contract asks of a blob. That it is Walrus's own `Blob` and not another package's, its Move type
//! says; what it holds, who reads it finds out.

use crate::Result;
use crate::limits::ensure;
use atoma_types::onchain::{Abort, Blob};

/// Encoding RS2, the only one there is.
const ENCODING_RS2: u8 = 1;
/// A blob stays at least to the end of the epoch after the one in which the opener's was certified.
const EPOCHS_MIN: u64 = 2;

/// The Walrus epoch of a dispute over what this blob holds: the one in which it was certified, as Walrus wrote. The
/// epoch of now is at least that; `System` says it only to the Walrus package that it was upgraded to, and disputes must
/// not wait for an upgrade of ours. An old blob hurts only its opener, from whom the node demands the body.
pub(crate) fn epoch_of(blob: &Blob) -> Result<u32> {
    let walrus_epoch = blob.certified_epoch.ok_or(Abort::BadBlob)?;
    check_blob(blob, walrus_epoch)?;
    Ok(walrus_epoch)
}

/// A certified blob that nobody can delete, and that stays for two epochs from `walrus_epoch` on.
pub(crate) fn check_blob(blob: &Blob, walrus_epoch: u32) -> Result {
    let end_epoch = u64::from(walrus_epoch) + EPOCHS_MIN;
    ensure(blob.size > 0 && blob.encoding_type == ENCODING_RS2, Abort::BadBlob)?;
    ensure(blob.certified_epoch.is_some() && !blob.deletable, Abort::BadBlob)?;
    ensure(u64::from(blob.end_epoch) >= end_epoch, Abort::BadBlob)
}
