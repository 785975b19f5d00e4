//! What the contract asks of a blob. That it is Walrus's own `Blob` and not another package's, its Move type
//! says; what it holds, who reads it finds out.

use crate::Result;
use crate::limits::ensure;
use atoma_types::onchain::{Abort, Blob};

/// Encoding RS2, the only one there is.
const ENCODING_RS2: u8 = 1;
/// A blob stays at least to the end of the epoch after the one in which the dispute was opened.
const EPOCHS_MIN: u64 = 2;

/// The opener's blob, and the Walrus epoch as its `System` object says.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    pub blob: &'a Blob,
    pub walrus_epoch: u32,
}

/// A certified blob that nobody can delete, and that stays for two epochs from the dispute's opening on.
pub(crate) fn check_blob(blob: &Blob, walrus_epoch: u32) -> Result {
    let end_epoch = u64::from(walrus_epoch) + EPOCHS_MIN;
    ensure(blob.size > 0 && blob.encoding_type == ENCODING_RS2, Abort::BadBlob)?;
    ensure(blob.certified_epoch.is_some() && !blob.deletable, Abort::BadBlob)?;
    ensure(u64::from(blob.end_epoch) >= end_epoch, Abort::BadBlob)
}
