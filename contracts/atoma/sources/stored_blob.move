/// What the contract asks of a Walrus blob. That it is Walrus's own `Blob` and not another package's, its type says;
/// what it holds, who reads it finds out.
module atoma::stored_blob;

use atoma::errors;
use std::bcs;
use walrus::blob::Blob;

/// Encoding RS2, the only one there is.
const ENCODING_RS2: u8 = 1;
/// A blob stays at least to the end of the epoch after the one in which the dispute was opened.
const EPOCHS_MIN: u64 = 2;

/// What was read of a blob.
public struct StoredBlob has copy, drop {
    object: address,
    /// Little-endian bytes.
    blob_id: vector<u8>,
    size: u64,
    encoding_type: u8,
    certified: bool,
    end_epoch: u32,
    deletable: bool,
}

public(package) fun read(blob: &Blob): StoredBlob {
    StoredBlob {
        object: object::id_address(blob),
        blob_id: bcs::to_bytes(&blob.blob_id()),
        size: blob.size(),
        encoding_type: blob.encoding_type(),
        certified: blob.certified_epoch().is_some(),
        end_epoch: blob.end_epoch(),
        deletable: blob.is_deletable(),
    }
}

/// A certified blob that nobody can delete, and that stays for two epochs from the dispute's opening on, which was in
/// `walrus_epoch`, else `EBadBlob`.
public(package) fun check(self: &StoredBlob, walrus_epoch: u32) {
    assert!(self.size > 0 && self.encoding_type == ENCODING_RS2, errors::bad_blob());
    assert!(self.certified && !self.deletable, errors::bad_blob());
    assert!((self.end_epoch as u64) >= (walrus_epoch as u64) + EPOCHS_MIN, errors::bad_blob());
}

public(package) fun object(self: &StoredBlob): address { self.object }

public(package) fun blob_id(self: &StoredBlob): vector<u8> { self.blob_id }
