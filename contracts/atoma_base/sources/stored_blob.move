/// What the contract asks of a Walrus blob. That it is Walrus's own `Blob` and not another package's, its type says to
/// `atoma`, which reads it; what it holds, who reads the blob finds out.
module atoma_base::stored_blob;

use atoma_base::errors::{Self, require};

/// Encoding RS2, the only one there is.
const ENCODING_RS2: u8 = 1;
/// A blob stays at least to the end of the epoch after the one in which the opener's was certified.
const EPOCHS_MIN: u64 = 2;

/// What was read of a blob.
public struct StoredBlob has copy, drop {
    object: address,
    /// Little-endian bytes.
    blob_id: vector<u8>,
    size: u64,
    encoding_type: u8,
    certified_epoch: Option<u32>,
    end_epoch: u32,
    deletable: bool,
}

public fun new(
    object: address,
    blob_id: vector<u8>,
    size: u64,
    encoding_type: u8,
    certified_epoch: Option<u32>,
    end_epoch: u32,
    deletable: bool,
): StoredBlob {
    StoredBlob { object, blob_id, size, encoding_type, certified_epoch, end_epoch, deletable }
}

public fun object(self: &StoredBlob): address { self.object }

public fun blob_id(self: &StoredBlob): &vector<u8> { &self.blob_id }

/// The Walrus epoch of a dispute over what this blob holds: the one in which it was certified, as Walrus wrote, else
/// `EBadBlob`. The epoch of now is at least that; `System` says it only to the Walrus package that it was upgraded to,
/// and disputes must not wait for an upgrade of ours. An old blob hurts only its opener, from whom the node demands the
/// body.
public fun epoch(self: &StoredBlob): u32 {
    require(self.certified_epoch.is_some(), errors::bad_blob!());
    *self.certified_epoch.borrow()
}

/// A certified blob that nobody can delete, and that stays for two epochs from `walrus_epoch` on, else `EBadBlob`.
public fun check(self: &StoredBlob, walrus_epoch: u32) {
    require(self.size > 0 && self.encoding_type == ENCODING_RS2, errors::bad_blob!());
    require(self.certified_epoch.is_some() && !self.deletable, errors::bad_blob!());
    require((self.end_epoch as u64) >= (walrus_epoch as u64) + EPOCHS_MIN, errors::bad_blob!());
}
